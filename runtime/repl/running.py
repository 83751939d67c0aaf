"""One action, from the typed text to its step: the main thread waits for it, passes Ctrl-C on and asks what it asks."""

from __future__ import annotations

import queue
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

from mulligan.runtime.insight import request
from mulligan.runtime.step import Action, Step
from mulligan.sandbox.client import Exchange
from mulligan.sandbox.messages import Envelope
from mulligan.sandbox.printable import one_line

if TYPE_CHECKING:
    from mulligan.runtime.repl.screen import Screen
    from mulligan.runtime.session import Session

#: seconds between two words on how long it has taken
TICK = 0.25
_LONGEST_PROMPT = 2000

#: given the words that the action asks with, and whether what is typed is hidden; None where nothing more will come
Reads = Callable[[str, bool], str | None]


@dataclass(frozen=True, slots=True)
class _Asked:
    prompt: str
    hidden: bool


class _Listener:
    """On the session's thread. The action's output comes by another way."""

    def __init__(self, put: Callable[[_Asked], None]) -> None:
        self._put = put

    def heard(self, message: Envelope) -> None:
        pass

    def asked(self, question: Envelope) -> None:
        prompt = question.content.get("prompt")
        said = one_line(prompt[:_LONGEST_PROMPT]) if isinstance(prompt, str) else ""
        self._put(_Asked(said, question.content.get("password") is True))

    def answered(self, reply: Envelope) -> None:
        pass


def run(session: Session, source: str, screen: Screen, reads: Reads | None, proposer: str = "repl") -> Step:
    """Run it and show what it says; `reads` answers its `input()`, which without it fails."""
    waiting: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
    content = {
        "code": source,
        "silent": False,
        "store_history": True,
        "user_expressions": {},
        "allow_stdin": reads is not None,
    }
    exchange = Exchange(request("execute_request", content), _Listener(waiting.put))
    screen.begin(len(session.timeline.nodes))
    started = time.monotonic()
    with interrupting(session.interrupt):
        ticket = session._submit(Action(source, proposer), None, screen.event, exchange)
        ticket.step.add_done_callback(lambda _: waiting.put(None))
        while not ticket.step.done():
            try:
                asked = waiting.get(timeout=TICK)
            except queue.Empty:
                screen.tick(time.monotonic() - started)
                continue
            if asked is not None and reads is not None:
                screen.pause()
                line = reads(asked.prompt, asked.hidden)
                session._story.confined.kernel.answer("\x04" if line is None else line)
        step = ticket.step.result()
    screen.step(step.id, step)
    return step


@contextmanager
def interrupting(interrupt: Callable[[], object]) -> Iterator[None]:
    """A Ctrl-C calls it, any number of times, and ends nothing else."""
    before = signal.getsignal(signal.SIGINT)

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        interrupt()

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
