"""The story of one run: ask the model, run what it says, show it what came of it, until it has an answer.

A reply may hold several actions: they are run in order, and what follows one that failed, was undone or gave the
answer is not run. A reply without any is no answer yet: the model is told, and a second one in a row is its answer
(where final_answer cannot be called, the first). What cannot be read of a reply is told to the model.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from mulligan.runtime.agent import prompts
from mulligan.runtime.agent.budgets import Spent
from mulligan.runtime.agent.controls import Answer, find
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
from mulligan.runtime.agent.judging import verdict
from mulligan.runtime.agent.manner import Manner
from mulligan.runtime.agent.model import Bounds, Model, Reply
from mulligan.runtime.agent.observing import Observation, observe
from mulligan.runtime.agent.protocol import STOPS, Parsed, parse
from mulligan.runtime.errors import StepLetGo
from mulligan.runtime.outcome import shorten
from mulligan.runtime.step import Action, Step
from mulligan.sandbox.messages import Event
from mulligan.sandbox.printable import one_line

if TYPE_CHECKING:
    from mulligan.runtime.agent.conversation import Conversation
    from mulligan.runtime.checkpoint import Restoration
    from mulligan.runtime.session import Session

#: replies in a row that hold nothing of use, until the run is given up
CONFUSED = 4
#: seconds until an action that is to be stopped is interrupted again
AGAIN = 1.0


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
        self._at_rest = threading.Event()
        self._at_rest.set()
        self._controls = find(session)
        #: where the run began, and to where it goes back; and how many of its answers were not accepted
        self._ground, self._rejected = session.timeline.cursor, 0

    @property
    def spent(self) -> Spent:
        return replace(self._spent, wall=time.monotonic() - self._began)

    def stop(self) -> None:
        """End it as soon as can be: a reply is waited for no longer, an action that runs is interrupted."""
        self._stopping.set()
        self._model.give_up()
        self._interrupt_soon()

    def _interrupt_soon(self) -> None:
        threading.Thread(target=self._interrupt, name="mulligan-stop", daemon=True).start()

    def _interrupt(self) -> None:
        """Again where it came before the action had begun."""
        while not self._at_rest.is_set():
            self._session.interrupt()
            self._at_rest.wait(AGAIN)

    def events(self, *, begin: bool = True) -> Iterator[AgentEvent]:
        """`begin`: the model has not been told of the task yet."""
        if begin:
            self._conversation.begin(self._task, self._session.workspace)
        with ExitStack() as stack:
            if self._controls is not None:
                stack.enter_context(self._controls.at_work(self._session, self._ground, self._manner.ask))
            yield (yield from self._told())

    def _told(self) -> Generator[AgentEvent, None, Final]:
        while not (why := self._over()):
            try:
                reply = yield from self._ask()
            except ModelFailed as error:
                return self._stopped() if self._stopping.is_set() else self._final("failed", why=str(error))
            final = yield from self._take(reply)
            if final is not None and (accepted := (yield from self._judged(final))) is not None:
                return accepted
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
            self._asked_for()  # what code that runs on has called between the actions is nobody's answer
            step = self._run(source)
            yield Acted(turn, step)
            told.append(self._observed(step))
            undone, answer = self._asked_for()
            try:
                back = self._undo_asked(step, undone) if undone is not None else self._undo_failed(step)
            except StepLetGo as error:
                told.append(Observation(f"Nothing was taken back: {one_line(error.message)}"))
                back = None
            if back is not None:
                yield Undone(turn, back, "it failed" if undone is None else "the model asked for it")
                told.append(_said_undone(back, "undone_error" if undone is None else "undone"))
            if answer is not None and step.outcome.ok:
                return self._final("answered", answer.value)
            if answer is not None:
                told.append(Observation(prompts.say("answer_failed")))
            if not step.outcome.ok or undone is not None or self._stopping.is_set():
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
        self._at_rest.clear()
        if self._stopping.is_set():
            self._interrupt_soon()
        try:
            step = self._session.run(action, timeout=timeout, on_event=self._on_output)
        finally:
            self._at_rest.set()
        self._steps.append(step.id)
        return step

    def _observed(self, step: Step) -> Observation:
        folder = self._session.folders.output / str(step.id)
        return observe(step, folder, shown=self._manner.shown, sees=self._model.sees)

    def _asked_for(self) -> tuple[int | None, Answer | None]:
        return (None, None) if self._controls is None else self._controls.taken()

    def _undo_failed(self, step: Step) -> Restoration | None:
        """Taken back where that was asked for, and where the step has not been already."""
        if step.outcome.ok or self._manner.on_error != "undo" or self._session.timeline.cursor != step.id:
            return None
        return self._session.undo()

    def _undo_asked(self, step: Step, n: int) -> Restoration | None:
        """This step, where it stands, and the n before it; never what was there before the run."""
        stands = self._session.timeline.cursor == step.id
        path = self._session.timeline.path(self._session.timeline.cursor)
        to = path[max(path.index(self._ground), len(path) - 1 - n - stands)]
        return None if to == path[-1] else self._session.undo(to=to)

    # -- judging -----------------------------------------------------------------------------------------------------

    def _judged(self, final: Final) -> Generator[AgentEvent, None, Final | None]:
        """The end that it is, if its judge accepts it; if not, all of the run is taken back, and it goes on."""
        manner = self._manner
        if (
            manner.judge is None
            or not final.ok
            or not (wrong := verdict(manner.judge, self._session, final.value))
        ):
            return final
        self._rejected += 1
        told = Observation(prompts.say("judged") + "\n" + fence(shorten(wrong), "what was said against it"))
        if self._session.timeline.cursor != self._ground:
            try:
                back = self._session.undo(to=self._ground)
            except StepLetGo as error:
                return self._final(
                    "failed", why=f"{error.message}; its answer, not accepted, was not taken back"
                )
            yield Undone(self._spent.turns, back, "its answer was not accepted")
            if back.stands:
                told = Observation(f"{told.text}\n{_stands(back)}")
        if self._rejected >= manner.attempts:
            return self._final(
                "failed", why=f"its answer was not accepted, {manner.attempts} times: {one_line(wrong)[:500]}"
            )
        yield from self._tell([told], Parsed())
        return None

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


def _said_undone(back: Restoration, section: str) -> Observation:
    where = f"\n(You are at step {back.step}.)" if section == "undone" else ""
    return Observation(prompts.say(section) + where + (f"\n{_stands(back)}" if back.stands else ""))


def _stands(back: Restoration) -> str:
    return fence("\n".join(back.stands), "what could not be taken back")
