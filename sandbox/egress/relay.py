"""Carries bytes both ways until both sides have ended: for tunnels and WebSockets."""

from __future__ import annotations

import select
import ssl
from collections.abc import Callable

from mulligan.sandbox.egress.wire import PIECE, Gone, Wire

Count = Callable[[int, int], None]


def relay(near: Wire, far: Wire, count: Count) -> None:
    """`count` is told how many bytes went out and came in. Raises Gone where it ends otherwise than by both hanging
    up."""
    open_ways = {near: far, far: near}
    while open_ways:
        for source in _readable(list(open_ways), near.quiet):
            piece = source.some(PIECE)
            target = far if source is near else near
            if not piece:
                del open_ways[source]
                target.finish()
                continue
            target.send(piece)
            count(*((len(piece), 0) if source is near else (0, len(piece))))


def _readable(wires: list[Wire], quiet: float) -> list[Wire]:
    """Those with something to read; of TLS that may be decrypted already, and not on the socket any more."""
    ready = [wire for wire in wires if wire.kept or _pending(wire)]
    if ready:
        return ready
    poll = select.poll()
    for wire in wires:
        poll.register(wire.sock, select.POLLIN)
    found = {number for number, _ in poll.poll(quiet * 1000)}
    if not found:
        raise Gone(f"nothing was said for {quiet:g} s")
    return [wire for wire in wires if wire.sock.fileno() in found]


def _pending(wire: Wire) -> bool:
    return isinstance(wire.sock, ssl.SSLSocket) and wire.sock.pending() > 0
