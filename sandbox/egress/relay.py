"""Carries bytes both ways until both sides have ended: for tunnels and WebSockets."""

from __future__ import annotations

import select
from collections.abc import Callable
from contextlib import ExitStack, closing

from mulligan.sandbox.egress.splicing import Pipe, can_splice
from mulligan.sandbox.egress.wire import PIECE, Gone, Wire

Count = Callable[[int, int], None]
#: bytes at once from which on it is worth a pipe
_MUCH = 64 * 1024


def relay(near: Wire, far: Wire, count: Count) -> None:
    """`count` is told how many bytes went out and came in. Raises Gone where it ends otherwise than by both hanging
    up."""
    open_ways = {near: far, far: near}
    with ExitStack() as stack:
        pipe: Pipe | None = None
        while open_ways:
            for source in _readable(list(open_ways), near.quiet):
                target = far if source is near else near
                passed = _passed(source, target, pipe)
                count(*((passed, 0) if source is near else (0, passed)))
                if not passed:
                    del open_ways[source]
                    target.finish()
                elif pipe is None and passed >= _MUCH and can_splice(near, far) and can_splice(far, near):
                    pipe = stack.enter_context(closing(Pipe()))


def _passed(source: Wire, target: Wire, pipe: Pipe | None) -> int:
    if pipe is not None:
        pipe.drain(target, passed := pipe.fill(source))
        return passed
    target.send(piece := source.some(PIECE))
    return len(piece)


def _readable(wires: list[Wire], quiet: float) -> list[Wire]:
    """Those with something to read; of TLS that may be decrypted already, and not on the socket any more."""
    ready = [wire for wire in wires if wire.ready()]
    if ready:
        return ready
    poll = select.poll()
    for wire in wires:
        poll.register(wire.raw, select.POLLIN)
    found = {number for number, _ in poll.poll(quiet * 1000)}
    if not found:
        raise Gone(f"nothing was said for {quiet:g} s")
    return [wire for wire in wires if wire.raw.fileno() in found]
