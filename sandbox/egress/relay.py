"""Carries bytes both ways until both sides have ended: for tunnels and WebSockets."""

from __future__ import annotations

import select
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial

from mulligan.sandbox.egress.splicing import Pipe, can_splice
from mulligan.sandbox.egress.wire import PIECE, Gone, Wire

Count = Callable[[int, int], None]
#: bytes at once from which on it is worth a pipe
_MUCH = 64 * 1024


def relay(near: Wire, far: Wire, count: Count) -> None:
    """`count` is told how many bytes go out and come in, before they do; where it raises, they do not.

    Raises Gone where it ends otherwise than by both hanging up.
    """
    poll, ways = select.poll(), {near.raw.fileno(): (near, far), far.raw.fileno(): (far, near)}
    pipe: Pipe | None = None
    for number in ways:
        poll.register(number, select.POLLIN)
    with ExitStack() as stack:
        while ways:
            for number in _readable(poll, ways, near.quiet):
                source, target = ways[number]
                passed = _passed(source, target, pipe, partial(_told, count, source is near))
                if not passed:
                    poll.unregister(number)
                    del ways[number]
                    target.finish()
                elif pipe is None and passed >= _MUCH and can_splice(near, far) and can_splice(far, near):
                    pipe = stack.enter_context(closing(Pipe()))


def _told(count: Count, out: bool, passes: int) -> None:
    count(*((passes, 0) if out else (0, passes)))


def _passed(source: Wire, target: Wire, pipe: Pipe | None, passes: Callable[[int], None]) -> int:
    if pipe is not None:
        passes(passed := pipe.fill(source))
        pipe.drain(target, passed)
        return passed
    piece = source.some(PIECE)
    passes(len(piece))
    target.send(piece)
    return len(piece)


def _readable(poll: select.poll, ways: dict[int, tuple[Wire, Wire]], quiet: float) -> list[int]:
    """Those with something to read; of TLS that may be decrypted already, and not on the socket any more."""
    if ready := [number for number, (source, _) in ways.items() if source.ready()]:
        return ready
    if found := [number for number, _ in poll.poll(quiet * 1000)]:
        return found
    raise Gone(f"nothing was said for {quiet:g} s")
