"""Asking a person, where a rule says `ask` or `on_violation` does.

Whoever needs an answer waits in `ask`, on its own thread. One question at a time is put, to an async function on a
thread of its own: whatever that does, each question is settled by an answer, at its deadline, when nobody waits for it
any more, or when the session closes; and only the first counts. What cannot be asked is denied.

What was answered is in the ledger before it counts, and the ledger is where it is learned from: "session" holds until
the session's ledger ends, whatever becomes of its sandbox. A "no", a silence and a withdrawal hold for the rest of the
step, for all that the same rule asks of the same method and host: nobody is worn down by questions.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, TypedDict

from mulligan.policies.decision import Finding, Verdict
from mulligan.policies.errors import PolicyError
from mulligan.policies.policy import Approvals as Terms
from mulligan.runtime.ledger import Ledger
from mulligan.runtime.matter import Decided, Matter, matter_of
from mulligan.runtime.question import Answer, Approve, Question, fits
from mulligan.runtime.standing import Standing
from mulligan.sandbox.printable import one_line

if TYPE_CHECKING:
    from mulligan.sandbox.egress.judgement import Asked, Judgement, Preview

#: seconds between two looks at whether somebody still waits
LOOK = 0.2
_LONGEST = 500
NOBODY = "nobody is there to be asked, so it is denied"
HINT = (
    "do without; or whoever runs this can be asked, in a terminal or with mulligan.open(..., approve=...), "
    "or can allow it for good with a line under approvals.always in the policy"
)


@dataclass(eq=False, slots=True)
class _Waiting:
    question: Question
    matter: Matter
    askers: int = 0
    put: float | None = None
    decided: Decided | None = None
    end: Callable[[], None] = field(default=lambda: None)


@dataclass(frozen=True, slots=True)
class Asking:
    """How a session asks: `standing` is where an answer for good is written."""

    terms: Terms = field(default_factory=Terms)
    approve: Approve | None = None
    standing: Standing | None = None


class _Common(TypedDict):
    session: str
    step: int
    timeout: float


class Approvals:
    """Of one session; from any thread. `close` may be repeated."""

    def __init__(self, session: str, asking: Asking, ledger: Ledger) -> None:
        self._session = session
        self.terms = asking.terms
        self._ledger = ledger
        self._approve = asking.approve
        self._standing = asking.standing
        self._changed = threading.Condition()
        self._line: list[_Waiting] = []
        self._asked: Counter[int] = Counter()
        self._refused: dict[tuple[int, tuple[str, ...]], Decided] = {}
        self._closed = False
        self._waited, self._since = 0.0, 0.0
        #: lines that were allowed for the session, each with the rule that had asked
        self._allowed: list[tuple[str, str]] = []
        for entry in ledger.entries(kind="answered"):
            self._learn(entry.body)

    @property
    def can_ask(self) -> bool:
        return self._approve is not None

    def waited(self) -> float:
        """Seconds, since the session began, in which a person was waited for."""
        with self._changed:
            return self._waited + (time.monotonic() - self._since if self._line else 0.0)

    def about_request(
        self, step: int, asked: Asked, judgement: Judgement, preview: Preview
    ) -> tuple[Question, Matter]:
        return (
            Question(
                **self._common(step),
                about="request",
                what=str(asked),
                query=asked.query,
                headers=preview.headers,
                opens=asked.both_ways,
                body=preview.beginning,
                length=preview.length,
                rule=judgement.rule,
                reason=judgement.reason,
                scope=judgement.scope if fits(judgement.scope) else "",
            ),
            matter_of(asked, judgement, preview),
        )

    def about_call(self, step: int, tool: str, what: str, finding: Finding) -> tuple[Question, Matter]:
        """Of a tool. Yes for the session is about that tool, whatever its arguments are, where the same rule asks."""
        scope = f"tool {tool}"
        question = Question(
            **self._common(step),
            about="call",
            what=what,
            rule=finding.rule,
            reason=finding.reason,
            scope=scope if fits(scope) else "",
        )
        kind = ("tool", tool, finding.rule)
        return question, Matter(alike=None, kind=kind, covered=lambda line: line == scope)

    def ask_about_step(
        self, step: int, verdict: Verdict, paths: Sequence[str], gone: Callable[[], bool]
    ) -> Decided:
        """Whether a step that broke a rule is kept. Yes is about this step alone."""
        rules = dict.fromkeys(
            f"{each.rule} ({each.place})" if each.place else each.rule for each in verdict.findings
        )
        question = Question(
            **self._common(step),
            about="step",
            what="keep what it did, or take it back?",
            rule="; ".join(rules),
            reason="; ".join(each.reason for each in verdict.findings),
            paths=tuple(paths),
        )
        return self.ask(question, Matter(alike=None, kind=("step",), counts=False), gone)

    def _common(self, step: int) -> _Common:
        return {"session": self._session, "step": step, "timeout": self.terms.timeout}

    def _file_for(self, scope: str) -> str | None:
        if self._approve is None or self._standing is None or not scope:
            return None
        with suppress(Exception):  # what cannot be written is not offered, and is asked all the same
            if self._standing.would_take(scope):
                return str(self._standing.path)
        return None

    def ask(self, question: Question, matter: Matter, gone: Callable[[], bool]) -> Decided:
        """Wait for an answer. `gone` is asked a few times a second whether nobody needs it any more."""
        with self._changed:
            if (known := self._known(question, matter)) is not None:
                return known
            waiting = self._alike(matter)
            if waiting is None:
                if matter.counts and self._asked[question.step] >= self.terms.questions:
                    return self._too_many()
                waiting = self._join(question, matter)
            return self._wait(waiting, gone)

    def give_up(self, why: str) -> None:
        """Deny what is asked about a step: it was interrupted."""
        with self._changed:
            for waiting in [each for each in self._line if each.question.about == "step"]:
                self._settle(waiting, Decided(False, why), says="withdrawn")

    def close(self) -> None:
        with self._changed:
            self._closed = True
            for waiting in list(self._line):
                late = "the session was closed before anybody answered"
                self._settle(waiting, Decided(False, late), says="withdrawn")

    # -- under the lock --------------------------------------------------------------------------------------------

    def _known(self, question: Question, matter: Matter) -> Decided | None:
        for line, rule in self._allowed:
            if rule == question.rule and matter.covered(line):
                return Decided(True, f"a person allowed it for this session: {line}")
        if self._approve is None:
            return Decided(False, NOBODY, HINT)
        if self._closed:
            return Decided(False, "the session is closed")
        if (refused := self._refused.get((question.step, matter.kind))) is not None:
            return refused
        return None

    def _too_many(self) -> Decided:
        most = self.terms.questions
        return Decided(
            False, f"one action may have {most:,} requests asked about (approvals.questions), and had"
        )

    def _alike(self, matter: Matter) -> _Waiting | None:
        if matter.alike is None:
            return None
        return next((each for each in self._line if each.matter.alike == matter.alike), None)

    def _join(self, question: Question, matter: Matter) -> _Waiting:
        if not self._line:
            self._since = time.monotonic()
        waiting = _Waiting(question, matter)
        self._asked[question.step] += matter.counts
        self._line.append(waiting)
        return waiting

    def _put_next(self) -> None:
        """Have the first in the line asked, if it is not yet; those before it that need no asking any more are told."""
        while self._line and self._line[0].put is None:
            first = self._line[0]
            if (known := self._known(first.question, first.matter)) is not None:
                self._settle(first, known)
                continue
            file = self._file_for(first.question.scope) if first.matter.lasts else None
            first.question = replace(first.question, file=file)
            first.put = time.monotonic()
            name = f"mulligan-{self._session}-asks"  # so that no verb of the session waits on itself
            threading.Thread(target=self._hear, args=(first,), name=name, daemon=True).start()

    def _wait(self, waiting: _Waiting, gone: Callable[[], bool]) -> Decided:
        waiting.askers += 1
        try:
            self._put_next()
            while waiting.decided is None:
                self._changed.wait(self._patience(waiting))
                self._keep_time(waiting)
                if gone():
                    decided = Decided(False, "whoever asked waits no more")
                    if waiting.askers > 1:  # others wait for the same answer
                        return decided
                    # a no, or it could be asked in other words just when the answer to it is typed
                    self._settle(waiting, decided, says="withdrawn", refuses=waiting.put is not None)
            return waiting.decided
        finally:
            waiting.askers -= 1
            if waiting.decided is None and not waiting.askers:  # one that stays would stop the clock for good
                self._settle(waiting, Decided(False, "it could not be asked"), says="withdrawn")

    def _patience(self, waiting: _Waiting) -> float:
        if waiting.put is None:
            return LOOK
        return max(0.0, min(LOOK, waiting.put + waiting.question.timeout - time.monotonic()))

    def _keep_time(self, waiting: _Waiting) -> None:
        seconds = waiting.question.timeout
        if waiting.put is not None and time.monotonic() >= waiting.put + seconds:
            late = f"nobody answered within {seconds:g} s, so it is denied"
            self._settle(waiting, Decided(False, late), says="nothing", refuses=True)

    def _settle(
        self, waiting: _Waiting, decided: Decided, *, says: str = "no", refuses: bool = False
    ) -> None:
        """The first word about a question that was put; it counts once it is recorded."""
        if waiting.decided is not None:
            return
        question = waiting.question
        if waiting.put is not None:
            body = {"says": says, "why": decided.why, "scope": question.scope, "rule": question.rule}
            try:
                self._ledger.append(
                    "answered", question.step, {**body, "what": one_line(question.what)[:_LONGEST]}
                )
            except Exception:
                decided = Decided(False, "the answer could not be recorded, so it is denied")
            else:
                self._learn(body)
        if refuses:
            self._refused[question.step, waiting.matter.kind] = replace(
                decided, why=f"{decided.why}, and not asked again in this step"
            )
        waiting.decided = decided
        self._line.remove(waiting)
        if not self._line:
            self._waited += time.monotonic() - self._since
        self._changed.notify_all()
        waiting.end()
        self._put_next()

    def _learn(self, body: Mapping[str, Any]) -> None:
        scope, rule = body.get("scope"), body.get("rule")
        if body.get("says") in ("session", "always") and isinstance(scope, str) and isinstance(rule, str):
            self._allowed.append((scope, rule))

    # -- on the question's own thread ------------------------------------------------------------------------------

    def _hear(self, waiting: _Waiting) -> None:
        question = waiting.question
        try:
            body = {
                "what": question.what[:_LONGEST],
                "rule": question.rule,
                "reason": question.reason[:_LONGEST],
            }
            self._ledger.append("asked", question.step, body)
            answer = asyncio.run(self._put(waiting))
        except (asyncio.CancelledError, Exception) as error:
            return self._give(
                waiting, Decided(False, f"asking failed, so it is denied: {_plain(repr(error))}")
            )
        self._take(waiting, answer)

    async def _put(self, waiting: _Waiting) -> object:
        assert self._approve is not None
        loop = asyncio.get_running_loop()
        asking: asyncio.Task[object] = loop.create_task(_awaited(self._approve, waiting.question))

        def end() -> None:
            with suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(asking.cancel)

        with self._changed:
            waiting.end = end
            if waiting.decided is not None:
                asking.cancel()
        return await asking

    def _take(self, waiting: _Waiting, answer: object) -> None:
        question = waiting.question
        if not isinstance(answer, Answer) or answer.says not in question.choices:
            choices = ", ".join(question.choices)
            said = f"the answer was {_plain(repr(answer))}, which is none of {choices}, so it is denied"
            return self._give(waiting, Decided(False, said))
        why = f": {_plain(answer.why)}" if answer.why else ""
        if answer.says == "no":
            return self._give(waiting, Decided(False, f"a person said no{why}"), refuses=True)
        until = {"once": "once", "session": "for this session", "always": "for good"}[answer.says]
        with self._changed:
            if waiting.decided is None and answer.says == "always":
                why += self._keep(question.scope)
            self._settle(waiting, Decided(True, f"a person allowed it {until}{why}"), says=answer.says)

    def _keep(self, line: str) -> str:
        """Write it to the policy; what is to be said where that fails."""
        try:
            assert self._standing is not None
            self._standing.write(line)
        except Exception as error:
            why = error.message if isinstance(error, PolicyError) else repr(error)
            return f" (for this session alone, as it could not be written: {_plain(why)})"
        return ""

    def _give(self, waiting: _Waiting, decided: Decided, *, says: str = "no", refuses: bool = False) -> None:
        with self._changed:
            self._settle(waiting, decided, says=says, refuses=refuses)


async def _awaited(approve: Approve, question: Question) -> object:
    found = approve(question)
    if not isawaitable(found):
        raise TypeError("approve= is an async function")
    return await found


def on_loop(approve: Approve, loop: asyncio.AbstractEventLoop) -> Approve:
    """The same, called on a loop that runs on another thread."""

    async def asked(question: Question) -> Answer:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_answered(approve, question), loop))

    return asked


async def _answered(approve: Approve, question: Question) -> Answer:
    return await approve(question)


def _plain(text: str) -> str:
    return one_line(text[:_LONGEST])
