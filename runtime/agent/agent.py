"""An agent as callers hold it: a session, a model, and the conversation between them.

    agent = mulligan.Agent(session, model="gpt-4o", budgets=Budgets(turns=20))
    final = agent.run("make totals.csv from sales.csv")

`events` and `stream` tell what happens while it happens; `run` and `arun` only how it ended. The session is the
caller's: every step that the agent took is on its timeline, and can be undone, looked at and committed as any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, closing, suppress
from typing import Literal

from mulligan.runtime.agent.budgets import Budgets
from mulligan.runtime.agent.controls import SETUP, described, find
from mulligan.runtime.agent.conversation import Conversation
from mulligan.runtime.agent.errors import AgentMisused
from mulligan.runtime.agent.events import AgentEvent, Final
from mulligan.runtime.agent.judging import Judge, by_command
from mulligan.runtime.agent.loop import Run
from mulligan.runtime.agent.manner import Manner
from mulligan.runtime.agent.model import Model
from mulligan.runtime.agent.observing import SHOWN
from mulligan.runtime.agent.recording import Recorded, Recording
from mulligan.runtime.agent.resuming import again
from mulligan.runtime.agent.retrying import Patience
from mulligan.runtime.agent.served import Served
from mulligan.runtime.errors import SessionBusy
from mulligan.runtime.session import AsyncSession, Session
from mulligan.runtime.step import Action
from mulligan.sandbox.messages import Event


class Agent:
    """Does one task after another in one session. Another thread may call `stop`; one run at a time."""

    def __init__(
        self,
        session: Session | AsyncSession,
        model: str | Model,
        *,
        budgets: Budgets | None = None,
        on_error: Literal["keep", "undo"] = "keep",
        timeout: float | None = None,
        instructions: str = "",
        patience: Patience | None = None,
        shown: int = SHOWN,
        judge: Judge | str | None = None,
        attempts: int = 3,
        ask: Callable[[str], str] | None = None,
        recording: Recording | None = None,
        on_output: Callable[[Event], None] = lambda event: None,
        on_piece: Callable[[str], None] = lambda text: None,
    ) -> None:
        """`model` is a name as litellm has it, or a Model.

        `on_error` is what becomes of an action that failed: "undo" takes it back. `timeout` in seconds is each
        action's; `shown` are the characters shown of what one gave out. A `judge`, a function or a command, says
        whether an answer is accepted (judging.py); one that is not is taken back with all that was done for it, and
        the model tries again, at most `attempts` times. `ask` puts a question of the model's to a person.
        `instructions` are put behind our own. What is said and done is written to the `recording`. `on_output` gets
        what actions give out, as it comes, on the session's thread; `on_piece` what the model says.

        A session that was opened with `tools=[*mulligan.agent_tools()]` lets the model call final_answer, undo,
        timeline and ask_human; in others its answer is a reply without an action."""
        self.session = session.session if isinstance(session, AsyncSession) else session
        self.model: Model = Served(model) if isinstance(model, str) else model
        self.manner = Manner(
            budgets=budgets or Budgets(),
            patience=patience or Patience(),
            on_error=on_error,
            timeout=timeout,
            shown=shown,
            judge=by_command(judge, timeout) if isinstance(judge, str) else judge,
            attempts=attempts,
            ask=ask,
        )
        self.conversation = Conversation(
            controls=find(self.session) is not None,
            tools=described(self.session),
            instructions=instructions,
        )
        self._set_up = -1
        self._on_output, self._on_piece = on_output, on_piece
        self._running: Run | None = None
        self._recording = recording
        if recording is not None:
            self.conversation.on_message = recording.message

    def run(self, task: str) -> Final:
        """Do a task. A model that cannot be asked at all raises ModelUnusable; everything else ends in a Final."""
        for event in self.events(task):
            if isinstance(event, Final):
                return event
        raise AssertionError("a run ends with its Final")

    def events(self, task: str) -> Generator[AgentEvent, None, None]:
        """The same, event by event; the last is a Final. Closing the iterator stops the run."""
        self._begin()
        yield from self._told(task)

    def resume(self, recorded: Recorded, task: str = "") -> Generator[AgentEvent, None, None]:
        """Go on from what was recorded, with a further task or with the last one. The actions that stood are run again
        in this session first, up to one that did something elsewhere: that is not done twice."""
        self._begin()
        self.conversation.go_on(recorded.messages)
        self.conversation.tell(again(self.session, recorded.standing, self._recording))
        yield from self._told(task, recorded.task)

    def _begin(self) -> None:
        if self._running is not None:
            raise SessionBusy("the agent is at work", hint="wait until its task has ended, or stop it")
        self._import_tools()
        if self._recording is not None:
            self._recording.begun(self.session, str(getattr(self.model, "name", type(self.model).__name__)))

    def _import_tools(self) -> None:
        """A step of its own, once for each kernel. Raises AgentMisused where there are none to be had inside."""
        timeline = self.session.timeline
        path = timeline.path(timeline.cursor)
        since = path[path.index(self._set_up) + 1 :] if self._set_up in path else None
        if not self.session.tools or (since is not None and not any(timeline.node(n).fresh for n in since)):
            return
        step = self.session.run(Action(SETUP, proposer="agent", why="what a model can call"))
        if not step.outcome.ok:
            raise AgentMisused(
                f"the tools cannot be had inside: {step.outcome.text}", hint="see docs/tools.md"
            )
        self._set_up = step.id

    def _told(self, task: str, last: str = "") -> Generator[AgentEvent, None, None]:
        if self._recording is not None:
            self._recording.task(task or last)
        run = self._running = Run(
            self.session,
            self.model,
            self.conversation,
            self.manner,
            task or last,
            self._on_output,
            self._on_piece,
        )
        try:
            for event in run.events(begin=bool(task)):
                if self._recording is not None:
                    self._recording.event(self.session, event)
                yield event
        finally:
            self._running = None

    async def arun(self, task: str) -> Final:
        """As `run`, awaited. Cancelling it stops the run."""
        async with aclosing(self.stream(task)) as events:
            async for event in events:
                if isinstance(event, Final):
                    return event
        raise AssertionError("a run ends with its Final")

    async def stream(self, task: str) -> AsyncGenerator[AgentEvent, None]:
        """As `events`, for event loops. Leaving it stops the run."""
        with closing(self.events(task)) as events:
            while True:
                waiting = asyncio.ensure_future(asyncio.to_thread(next, events, None))
                try:
                    event = await asyncio.shield(waiting)
                except asyncio.CancelledError:
                    self.stop()
                    with suppress(Exception):
                        await waiting
                    raise
                if event is None:
                    return
                yield event

    def stop(self) -> None:
        """End the run as soon as can be. Its Final says so."""
        if (run := self._running) is not None:
            run.stop()
