"""What a model can call besides the tools: final_answer, undo, timeline, ask_human.

They are tools like any other (docs/tools.md) but that no rule of a policy is asked about them: they reach nothing but
the run that the action belongs to. An undo that is asked for happens when its action has ended, for the action runs in
the memory that is taken back. An answer keeps its type as a tool's argument does: JSON's types exactly, and tuples,
sets, bytes, dates, decimals, paths and UUIDs; arrays, data frames and models become lists and dictionaries; what has
no such form is a TypeError where it was called, and no class is ever made of it here."""

from __future__ import annotations

import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mulligan.runtime.errors import SessionBusy
from mulligan.runtime.session import Session
from mulligan.sandbox.printable import one_line, printable
from mulligan.sandbox.tools.declared import control
from mulligan.sandbox.tools.tool import Tool

#: seconds that a person may take to answer
PATIENCE = 24 * 3600.0
#: lines of the timeline that a model is shown, the newest
LINES = 60

#: characters of a tool's docstring that a model is shown, and of its signature
DOC, SIGNATURE = 2000, 2000
#: what is run in a session before an agent's first action there
SETUP = "from tools import *"


@dataclass(frozen=True, slots=True)
class Answer:
    value: Any


class Controls:
    """Those of one session. Its `functions` are called from the sandbox, on any thread; the rest by the loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._ground = 0
        self._ask: Callable[[str], str] | None = None
        self._undo: int | None = None
        self._answer: Answer | None = None

    @property
    def functions(self) -> tuple[Callable[..., Any], ...]:
        return (self.final_answer, self.undo, self.timeline, self.ask_human)

    # -- for the model -----------------------------------------------------------------------------------------------

    @control()
    def final_answer(self, value: Any) -> None:
        """The task is done, and this is its answer: any value, with its type."""
        with self._lock:
            self._at_work()
            self._answer = Answer(value)

    @control()
    def undo(self, n: int = 1) -> str:
        """Take back this action and the n before it, when this action has ended: files and variables."""
        with self._lock:
            session = self._at_work()
            timeline = session.timeline
            most = len(timeline.path(timeline.cursor)) - len(timeline.path(self._ground))
            if not 0 <= n <= most:
                raise ValueError(f"{n} actions cannot be taken back: this task has {most} before this one")
            self._undo = n
        return f"when this action has ended, it and the {n} before it are taken back"

    @control()
    def timeline(self) -> str:
        """The steps until now, as text; the arrow is where you are."""
        with self._lock:
            lines = str(self._at_work().timeline).split("\n")
        left_out = [f"... {len(lines) - LINES} earlier lines"] if len(lines) > LINES else []
        return "\n".join(left_out + lines[-LINES:])

    @control(timeout=PATIENCE)
    def ask_human(self, question: str) -> str:
        """Ask the user, in words; only for what you cannot find out. The answer is theirs, as text."""
        with self._lock:
            self._at_work()
            ask = self._ask
        if ask is None:
            raise RuntimeError("nobody is there to be asked: decide by yourself")
        return str(ask(question))

    def _at_work(self) -> Session:
        if self._session is None:
            raise RuntimeError("no agent is at work in this session")
        return self._session

    # -- for the loop ------------------------------------------------------------------------------------------------

    @contextmanager
    def at_work(self, session: Session, ground: int, ask: Callable[[str], str] | None) -> Iterator[None]:
        """Meanwhile they may be called. `ground` is the step that no undo goes before."""
        with self._lock:
            if self._session is not None:
                raise SessionBusy(
                    "an agent is at work with these agent_tools()", hint="give each session its own"
                )
            self._session, self._ground, self._ask = session, ground, ask
            self._undo = self._answer = None
        try:
            yield
        finally:
            with self._lock:
                self._session = None

    def taken(self) -> tuple[int | None, Answer | None]:
        """What the action that has just ended asked for: how many steps before it to undo, and its answer."""
        with self._lock:
            asked = self._undo, self._answer
            self._undo = self._answer = None
        return asked


def find(session: Session) -> Controls | None:
    """Those that the session was opened with."""
    for tool in session.tools:
        owner = getattr(tool.function, "__self__", None)
        if isinstance(owner, Controls):
            return owner
    return None


def agent_tools() -> tuple[Callable[..., Any], ...]:
    """With these a model can answer, undo and ask: mulligan.open(tools=[*mulligan.agent_tools(), ...]). Each session
    has its own."""
    return Controls().functions


def described(session: Session) -> Sequence[str]:
    """The other tools, each as its signature and its docstring."""
    ours = find(session)
    others = [
        tool for tool in session.tools if getattr(tool.function, "__self__", None) is not ours or ours is None
    ]
    return [_described(tool) for tool in others]


def _described(tool: Tool) -> str:
    how = "async def" if tool.is_async else "def"
    doc = textwrap.indent(printable(tool.doc)[:DOC], "    ")
    return f"{how} {tool.name}{one_line(str(tool.signature))[:SIGNATURE]}:" + (f"\n{doc}" if doc else "")
