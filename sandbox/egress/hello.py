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
    hello = b""
    while not (len(hello) >= 4 and len(hello) >= 4 + int.from_bytes(hello[1:4], "big")):
        if len(wire.kept) > _LONGEST or not wire.fill(deadline):
            raise Refused("its TLS handshake does not begin with a whole ClientHello")
        hello = _handshake(bytes(wire.kept))
    try:
        name = server_name(hello[: 4 + int.from_bytes(hello[1:4], "big")])
    except (IndexError, ValueError) as error:
        raise Refused("its ClientHello cannot be read") from error
    if name is None and is_address(host):
        return
    if name is None or name.lower().removesuffix(".") != host:
        raise Refused(f"its TLS handshake is for {name or 'nobody'!r:.100}, the tunnel for {host!r}")


def _handshake(raw: bytes) -> bytes:
    """What the whole records carry, so far."""
    found = b""
    while len(raw) >= 5:
        length = int.from_bytes(raw[3:5], "big")
        if raw[0] != HANDSHAKE or not length:
            raise Refused("its TLS handshake begins with another record")
        if len(raw) < 5 + length:
            break
        found += raw[5 : 5 + length]
        raw = raw[5 + length :]
    return found


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
