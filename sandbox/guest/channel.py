"""Messages between supervisor and worker over a SOCK_SEQPACKET pair.

Why packets and not a stream: a send of one packet is all or nothing. User code lives in the worker, and its
signal handlers (a `KeyboardInterrupt`, an alarm that raises) may fire anywhere; on a stream that would tear a
message and garble all that follow. Here a torn message can only be a long one, cut between packets, and the
receiver drops it when the next message begins.

One packet: kind (1 byte), flags (1 byte: FIRST, LAST), then a piece of the message's body.
One body: number of parts (u32), their lengths (u32 each), the parts.
"""

from __future__ import annotations

import array
import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence

# kinds of message; the comment says who sends it
SHELL = 1  # both: Jupyter frames of the shell channel
IOPUB = 2  # worker: Jupyter frames for every client
STDIN = 3  # both: Jupyter frames of the stdin channel
STREAM = 4  # worker: name, parent header, text; the supervisor makes the Jupyter message
CHECKPOINT = 5  # supervisor, with a socket for the twin: fork now. worker: id, what it says of itself
WAKE = 6  # supervisor to a twin, with a socket for its successor. worker: what did not come back
READY = 7  # worker: the kernel can take requests; kernel_info as JSON
FROZEN = 8  # a new twin's first word
PROBE = 9  # supervisor: the pid of a twin. worker: whether its memory was out of reach
BEGIN = 10  # worker: header of an execute request whose code begins, and content of its execute_input if it has one
END = 11  # worker: header of an execute request, content of the reply, to whom
RESTLESS = (
    12  # worker, before an END: it runs code between requests. supervisor, of a checkpoint: go on with that
)

FIRST, LAST = 1, 2
#: a packet has to fit in the socket's send buffer, whose default is 208 KiB
PIECE = 64 * 1024
#: more than this in one message is a worker gone wrong, not an output
MOST = 256 * 1024 * 1024
MOST_PARTS = 4096

_FDS = socket.CMSG_SPACE(4 * array.array("i").itemsize)
_CREDENTIALS = socket.CMSG_SPACE(struct.calcsize("3i"))


class Garbled(Exception):
    """What came is not a message."""


class TooLarge(ValueError):
    """The other side would not take this message. Nothing of it was sent."""


class Message:
    """`kind`, `parts`, the descriptors that came with it, and the sender's pid where the kernel vouches for it."""

    __slots__ = ("fds", "kind", "parts", "pid")

    def __init__(self, kind: int, parts: list[bytes], fds: list[int], pid: int) -> None:
        self.kind, self.parts, self.fds, self.pid = kind, parts, fds, pid


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def packets(kind: int, parts: Sequence[bytes]) -> Iterator[bytes]:
    parts = [bytes(part) for part in parts]
    body = b"".join([struct.pack(f"<{1 + len(parts)}I", len(parts), *map(len, parts)), *parts])
    if len(body) <= PIECE:
        yield bytes((kind, FIRST | LAST)) + body
        return
    for start in range(0, len(body), PIECE):
        flags = (FIRST if start == 0 else 0) | (LAST if start + PIECE >= len(body) else 0)
        yield bytes((kind, flags)) + body[start : start + PIECE]


def unpack(body: bytes) -> list[bytes]:
    """The parts of a body. Raises Garbled when its lengths do not add up."""
    try:
        (count,) = struct.unpack_from("<I", body)
        lengths = struct.unpack_from(f"<{min(count, MOST_PARTS)}I", body, 4)
    except struct.error as error:
        raise Garbled("a body shorter than it says") from error
    if count > MOST_PARTS or 4 + 4 * count + sum(lengths) != len(body):
        raise Garbled("a body whose lengths do not add up")
    at, parts = 4 + 4 * count, []
    for length in lengths:
        parts.append(body[at : at + length])
        at += length
    return parts


class Reader:
    """Puts packets together to messages. `receive` never waits unless told to."""

    def __init__(self, sock: socket.socket, *, credentials: bool = False) -> None:
        self._sock = sock
        self._ancillary = _FDS + (_CREDENTIALS if credentials else 0)
        self._kind = 0
        self._body: bytearray | None = None
        if credentials:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def receive(self, *, wait: bool = False) -> Message | None:
        """The next whole message, or None when there is none yet. Raises EOFError at the end, Garbled."""
        while True:
            try:
                data, ancillary, _, _ = self._sock.recvmsg(
                    PIECE + 2, self._ancillary, 0 if wait else socket.MSG_DONTWAIT
                )
            except BlockingIOError:
                return None
            except ConnectionError:
                raise EOFError from None
            fds, pid = _read_ancillary(ancillary)
            if not data:
                close_all(fds)
                raise EOFError
            try:
                parts = self._add(data)
            except BaseException:  # in a worker whose builtins user code has changed, too
                close_all(fds)
                raise
            if parts is not None:
                return Message(self._kind, parts, fds, pid)
            close_all(fds)  # ours come with whole messages only

    def _add(self, packet: bytes) -> list[bytes] | None:
        if len(packet) < 2:
            raise Garbled("a packet without a head")
        kind, flags = packet[0], packet[1]
        if flags & FIRST:
            if flags & LAST:
                self._kind, self._body = kind, None
                return unpack(packet[2:])
            self._kind, self._body = kind, bytearray()
        if self._body is None or kind != self._kind:
            return None  # the rest of a message whose beginning was cut off
        self._body += packet[2:]
        if len(self._body) > MOST:
            raise Garbled(f"a message of more than {MOST} bytes")
        if not flags & LAST:
            return None
        body, self._body = bytes(self._body), None
        return unpack(body)


def close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def _read_ancillary(ancillary: list[tuple[int, int, bytes]]) -> tuple[list[int], int]:
    fds: list[int] = []
    pid = 0
    for level, kind, data in ancillary:
        if level != socket.SOL_SOCKET:
            continue
        if kind == socket.SCM_RIGHTS:
            got = array.array("i")
            got.frombytes(data[: len(data) - len(data) % got.itemsize])
            fds.extend(got)
        elif kind == socket.SCM_CREDENTIALS:
            pid = struct.unpack("3i", data[:12])[0]
    return fds, pid


class Writer:
    """Sends whole messages, waiting when the other side is behind: that is what slows a flood of output down."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.Lock()

    def send(self, kind: int, parts: Sequence[bytes]) -> None:
        """Raises TooLarge."""
        if (size := sum(map(len, parts))) > MOST - PIECE:
            raise TooLarge(f"an output of {size:,} bytes; at most {MOST - PIECE:,} can be shown at once")
        pieces = packets(kind, parts)
        first = next(pieces)
        if first[1] & LAST:
            self._sock.send(first)
            return
        with self._lock:
            self._sock.send(first)
            for piece in pieces:
                self._sock.send(piece)
