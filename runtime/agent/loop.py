"""The story of one run: ask the model, run what it says, show it what came of it, until it has an answer.

A reply may hold several actions: they are run in order, and what follows one that failed, was undone or gave the
answer is not run. A reply without any is no answer yet: the model is told, and a second one in a row is its answer
(where final_answer cannot be called, the first). What cannot be read of a reply is told to the model.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from mulligan.runtime.agent import prompts
from mulligan.runtime.agent.budgets import Budgets, Spent
from mulligan.runtime.agent.errors import ModelFailed, PromptTooLong
from mulligan.runtime.agent.events import (
    Acted,
    Acting,
    AgentEvent,
    Final,
    Observed,
    Retrying,
    Spending,
    Thought,
    Undone,
)
from mulligan.runtime.agent.fence import fence
from mulligan.runtime.agent.model import Bounds, Model, Reply
from mulligan.runtime.agent.observing import SHOWN, Observation, observe
from mulligan.runtime.agent.protocol import STOPS, Parsed, parse
from mulligan.runtime.agent.retrying import Patience
from mulligan.runtime.step import Action, Step
from mulligan.sandbox.messages import Event

if TYPE_CHECKING:
    from mulligan.runtime.agent.conversation import Conversation
    from mulligan.runtime.checkpoint import Restoration
    from mulligan.runtime.session import Session

#: replies in a row that hold nothing of use, until the run is given up
CONFUSED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How an agent goes about its work. `on_error` says what becomes of an action that failed; `timeout` in seconds is
    each action's; `shown` are the characters of one observation."""

    budgets: Budgets = field(default_factory=Budgets)
    patience: Patience = field(default_factory=Patience)
    on_error: Literal["keep", "undo"] = "keep"
    timeout: float | None = None
    shown: int = SHOWN
    proposer: str = "agent"


class Run:
    """One task. `events` is told once; `stop` may be called from any thread."""

    def __init__(
        self,
        session: Session,
        model: Model,
        conversation: Conversation,
        manner: Manner,
        task: str,
        on_output: Callable[[Event], None],
        on_piece: Callable[[str], None],
    ) -> None:
        self._session, self._model, self._conversation = session, model, conversation
        self._manner, self._task = manner, task
        self._on_output, self._on_piece = on_output, on_piece
        self._stopping = threading.Event()
        self._began = time.monotonic()
        self._spent = Spent()
        self._steps: list[int] = []
        self._idle = 0
        self._acting = False

    @property
    def spent(self) -> Spent:
        return replace(self._spent, wall=time.monotonic() - self._began)

    def stop(self) -> None:
        """End it as soon as can be: a reply is waited for no longer, an action that runs is interrupted."""
        self._stopping.set()
        self._model.give_up()
        if self._acting:
            self._session.interrupt()

    def events(self, *, begin: bool = True) -> Iterator[AgentEvent]:
        """`begin`: the model has not been told of the task yet."""
        if begin:
            self._conversation.begin(self._task, self._session.workspace)
        yield (yield from self._told())

    def _told(self) -> Generator[AgentEvent, None, Final]:
        while not (why := self._over()):
            try:
                reply = yield from self._ask()
            except ModelFailed as error:
                return self._stopped() if self._stopping.is_set() else self._final("failed", why=str(error))
            if (final := (yield from self._take(reply))) is not None:
                return final
            yield Spending(self._spent.turns, self.spent, self.spent.left(self._manner.budgets))
        return self._stopped() if self._stopping.is_set() else self._final("stopped", why=why)

    def _over(self) -> str:
        return "it was told to stop" if self._stopping.is_set() else self.spent.exceeded(self._manner.budgets)

    def _stopped(self) -> Final:
        return self._final("stopped", why="it was told to stop")

    def _final(
        self, kind: Literal["answered", "said", "stopped", "failed"], value: object = None, why: str = ""
    ) -> Final:
        return Final(kind=kind, value=value, why=why, spent=self.spent, steps=tuple(self._steps))

    # -- asking ------------------------------------------------------------------------------------------------------

    def _ask(self) -> Generator[AgentEvent, None, Reply]:
        """The next reply that says something. Raises ModelFailed, ModelUnusable."""
        failed = 0
        while True:
            try:
                return self._heard(
                    self._model.reply(self._conversation.messages, self._bounds(), self._on_piece)
                )
            except PromptTooLong:
                if not self._conversation.shorten():
                    raise
                continue
            except ModelFailed as error:
                failure = error
            failed += 1
            seconds = self._manner.patience.wait(failure, failed)
            if seconds is None or self._stopping.is_set():
                raise failure
            yield Retrying(self._spent.turns + 1, failure.message, seconds)
            if self._stopping.wait(min(seconds, self._left())) or self._over():
                raise failure

    def _heard(self, reply: Reply) -> Reply:
        spent = self._spent
        cost = None if spent.cost is None or reply.cost is None else spent.cost + reply.cost
        self._spent = replace(spent, tokens=spent.tokens + reply.tokens, cost=cost)
        if not (reply.text.strip() or reply.reasoning.strip() or reply.finish in ("length", "calls")):
            raise ModelFailed("the model answered with nothing", passing=True)
        self._spent = replace(self._spent, turns=spent.turns + 1)
        return reply

    def _bounds(self) -> Bounds:
        budgets = self._manner.budgets
        tokens = None if budgets.tokens is None else max(1, budgets.tokens - self._spent.tokens)
        return Bounds(stops=STOPS, tokens=tokens, seconds=None if budgets.wall is None else self._left())

    def _left(self) -> float:
        """Seconds of the budget that are left."""
        wall = self._manner.budgets.wall
        return threading.TIMEOUT_MAX if wall is None else max(0.01, wall - self.spent.wall)

    # -- acting ------------------------------------------------------------------------------------------------------

    def _take(self, reply: Reply) -> Generator[AgentEvent, None, Final | None]:
        turn = self._spent.turns
        parsed = parse(reply.text, reply.finish)
        self._conversation.heard(reply.text)
        if not parsed.actions and (final := self._said(reply, parsed)) is not None:
            return final
        if thinking := "\n".join(each for each in (reply.reasoning.strip(), parsed.thinking) if each):
            yield Thought(turn, thinking)
        if not parsed.actions:
            said = prompts.say("no_calls") if reply.finish == "calls" else prompts.say("no_action")
            yield from self._tell([Observation(said)], parsed)
            return None
        self._idle = 0
        told: list[Observation] = []
        for number, source in enumerate(parsed.actions, 1):
            yield Acting(turn, source, number, len(parsed.actions))
            step = self._run(source)
            yield Acted(turn, step)
            told.append(self._observed(step))
            if not step.outcome.ok and (back := self._undo_failed(step)) is not None:
                yield Undone(turn, back, "it failed")
                told.append(self._said_undone(back))
            if not step.outcome.ok or self._stopping.is_set():
                told += [Observation(prompts.say("not_run"))] * (number < len(parsed.actions))
                break
        yield from self._tell(told, parsed)
        return None

    def _run(self, source: str) -> Step:
        wall = self._manner.budgets.wall
        timeout = self._manner.timeout
        if wall is not None:
            timeout = self._left() if timeout is None else min(timeout, self._left())
        action = Action(source, proposer=self._manner.proposer, why=self._task[:500])
        self._acting = True
        try:
            step = self._session.run(action, timeout=timeout, on_event=self._on_output)
        finally:
            self._acting = False
        self._steps.append(step.id)
        return step

    def _observed(self, step: Step) -> Observation:
        folder = self._session.folders.output / str(step.id)
        return observe(step, folder, shown=self._manner.shown, sees=self._model.sees)

    def _undo_failed(self, step: Step) -> Restoration | None:
        """Taken back where that was asked for, and where the step has not been already."""
        if self._manner.on_error != "undo" or self._session.timeline.cursor != step.id:
            return None
        return self._session.undo()

    def _said_undone(self, back: Restoration) -> Observation:
        text = prompts.say("undone_error")
        if back.stands:
            text += "\n" + fence("\n".join(back.stands), "what could not be taken back")
        return Observation(text)

    # -- words without an action -------------------------------------------------------------------------------------

    def _said(self, reply: Reply, parsed: Parsed) -> Final | None:
        """The end that a reply without an action is, if it is one."""
        self._idle += 1
        clean = reply.finish == "stop" and not parsed.complaints and bool(reply.text.strip())
        if clean and self._idle >= (2 if self._conversation.controls else 1):
            return self._final("said", reply.text.strip())
        if self._idle >= CONFUSED:
            return self._final("failed", why=f"the model gave no action in {CONFUSED} replies in a row")
        return None

    def _tell(self, told: list[Observation], parsed: Parsed) -> Iterator[AgentEvent]:
        """Put it into the conversation, with what was wrong and what is left."""
        budgets = self._manner.budgets
        lines = [each.text for each in told]
        lines += [f"(Of your reply: {each}.)" for each in parsed.complaints]
        lines.append(f"({self.spent.left(budgets)})")
        if self._spent.turns == budgets.turns - 1:
            lines.append(prompts.say("last_turn"))
        images = tuple(url for each in told for url in each.images)
        text = "\n\n".join(lines)
        self._conversation.tell(text, images)
        yield Observed(self._spent.turns, text, images)
