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
    poll, ways = select.poll(), {near.raw.fileno(): (near, far), far.raw.fileno(): (far, near)}
    pipe: Pipe | None = None
    for number in ways:
        poll.register(number, select.POLLIN)
    with ExitStack() as stack:
        while ways:
            for number in _readable(poll, ways, near.quiet):
                source, target = ways[number]
                passed = _passed(source, target, pipe)
                count(*((passed, 0) if source is near else (0, passed)))
                if not passed:
                    poll.unregister(number)
                    del ways[number]
                    target.finish()
                elif pipe is None and passed >= _MUCH and can_splice(near, far) and can_splice(far, near):
                    pipe = stack.enter_context(closing(Pipe()))


def _passed(source: Wire, target: Wire, pipe: Pipe | None) -> int:
    if pipe is not None:
        pipe.drain(target, passed := pipe.fill(source))
        return passed
    target.send(piece := source.some(PIECE))
    return len(piece)


def _readable(poll: select.poll, ways: dict[int, tuple[Wire, Wire]], quiet: float) -> list[int]:
    """Those with something to read; of TLS that may be decrypted already, and not on the socket any more."""
    if ready := [number for number, (source, _) in ways.items() if source.ready()]:
        return ready
    if found := [number for number, _ in poll.poll(quiet * 1000)]:
        return found
    raise Gone(f"nothing was said for {quiet:g} s")
