"""The name in a TLS ClientHello, for tunnels that are not looked into: it has to be the host's that was judged.

An encrypted ClientHello could lead elsewhere behind a name that agrees, so a tunnel with one is refused.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from mulligan.sandbox.egress.errors import Refused
from mulligan.sandbox.egress.hosts import is_address
from mulligan.sandbox.egress.wire import Wire

HANDSHAKE = 22
_CLIENT_HELLO, _SERVER_NAME, _ENCRYPTED = 1, 0, 0xFE0D
_LONGEST = 1 << 16


def check_hello(wire: Wire, host: str, patience: float) -> None:
    """Read the ClientHello, which stays on the wire. Raises Refused where it is not for `host`, Gone."""
    deadline = time.monotonic() + patience
    hello, read = bytearray(), 0
    while not (len(hello) >= 4 and len(hello) >= 4 + int.from_bytes(hello[1:4], "big")):
        if len(wire.kept) > _LONGEST or not wire.fill(deadline):
            raise Refused("its TLS handshake does not begin with a whole ClientHello")
        read = _read_on(wire.kept, read, hello)
    try:
        name = server_name(bytes(hello[: 4 + int.from_bytes(hello[1:4], "big")]))
    except (IndexError, ValueError) as error:
        raise Refused("its ClientHello cannot be read") from error
    if name is None and is_address(host):
        return
    if name is None or name.lower().removesuffix(".") != host:
        raise Refused(f"its TLS handshake is for {name or 'nobody'!r:.100}, the tunnel for {host!r}")


def _read_on(raw: bytearray, at: int, found: bytearray) -> int:
    """Add what the whole records from here on carry, each read once however they trickle in; where the next begins."""
    while len(raw) >= at + 5:
        end = at + 5 + int.from_bytes(raw[at + 3 : at + 5], "big")
        if raw[at] != HANDSHAKE or end == at + 5:
            raise Refused("its TLS handshake begins with another record")
        if len(raw) < end:
            break
        found += raw[at + 5 : end]
        at = end
    return at


def server_name(hello: bytes) -> str | None:
    """ValueError or IndexError for one that is broken, or that hides its name."""
    if hello[0] != _CLIENT_HELLO:
        raise ValueError("no ClientHello")
    at = 4 + 2 + 32
    at += 1 + hello[at]  # the session's id
    at += 2 + int.from_bytes(_whole(hello, at, 2), "big")  # ciphers
    at += 1 + hello[at]  # compressions
    found: list[bytes] = []
    for kind, body in _extensions(hello[at + 2 :]):
        if kind == _ENCRYPTED:
            raise ValueError("an encrypted ClientHello")
        if kind == _SERVER_NAME:
            found.append(_only_name(body))
    if len(found) > 1:
        raise ValueError("two names")
    return found[0].decode("ascii") if found else None


def _extensions(rest: bytes) -> Iterator[tuple[int, bytes]]:
    while rest:
        kind, length = int.from_bytes(_whole(rest, 0, 2), "big"), int.from_bytes(_whole(rest, 2, 2), "big")
        yield kind, _whole(rest, 4, length)
        rest = rest[4 + length :]


def _only_name(body: bytes) -> bytes:
    length = int.from_bytes(_whole(body, 3, 2), "big")
    name = _whole(body, 5, length)
    if body[2] != 0 or len(body) != 5 + length or not name:
        raise ValueError("more or other than one host's name")
    return name


def _whole(data: bytes, at: int, length: int) -> bytes:
    if at + length > len(data):
        raise ValueError("it is cut off")
    return data[at : at + length]
