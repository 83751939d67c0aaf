"""One message: how long its JSON is and how many parts lie beside it, how long each of them is, and then all of it."""

from __future__ import annotations

import json
import select
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

from mulligan.sandbox.tools.bounds import Bounds
from mulligan.sandbox.tools.errors import Garbled, Gone

_HEAD = struct.Struct("!II")
_PIECE = 1 << 20
#: parts that one message may have
PARTS = 10_000


def receive(sock: socket.socket, bounds: Bounds) -> tuple[bytes, list[bytes]]:
    """The JSON of a message, unread, and its parts. Raises Garbled, Gone."""
    deadline = time.monotonic() + bounds.quiet
    length, count = _HEAD.unpack(_exactly(sock, _HEAD.size, deadline))
    if length > bounds.json or count > PARTS:
        raise Garbled(f"it has more than {bounds.json:,} bytes of JSON, or than {PARTS:,} parts")
    sizes = struct.unpack(f"!{count}I", _exactly(sock, 4 * count, deadline)) if count else ()
    if sum(sizes) > bounds.beside:
        raise Garbled(f"its texts and bytes have more than {bounds.beside:,} bytes together")
    text = bytes(_exactly(sock, length, deadline))
    return text, [bytes(_exactly(sock, size, deadline)) for size in sizes]


def _exactly(sock: socket.socket, size: int, deadline: float) -> bytearray:
    """What has not come takes no memory."""
    found = bytearray()
    while len(found) < size:
        left = deadline - time.monotonic()
        if left <= 0:
            raise Gone("it took too long")
        try:
            sock.settimeout(left)
            piece = sock.recv(min(size - len(found), _PIECE))
        except OSError as error:
            raise Gone(str(error)) from error
        if not piece:
            raise Gone("it ended within a message")
        found += piece
    return found


def frame(message: Any, parts: Sequence[bytes]) -> bytes:
    """Raises ValueError for what is no JSON."""
    text = json.dumps(message, allow_nan=False, separators=(",", ":")).encode()
    sizes = struct.pack(f"!{len(parts)}I", *map(len, parts))
    return b"".join((_HEAD.pack(len(text), len(parts)), sizes, text, *parts))


def send(sock: socket.socket, framed: bytes, patience: float) -> None:
    """Raises Gone, also where nobody reads it within `patience` seconds."""
    try:
        sock.settimeout(patience)
        sock.sendall(framed)
    except OSError as error:
        raise Gone(str(error)) from error


def hung_up(sock: socket.socket) -> bool:
    """Whether nobody waits for an answer any more."""
    poll = select.poll()
    try:
        poll.register(sock, select.POLLRDHUP)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return True
