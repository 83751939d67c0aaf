"""A session's life, told in order on one thread: propose, judge, run, observe, judge, keep or undo, checkpoint.

Nothing here knows of threads, callers or event loops; `session.py` does. The ledger has every proposal before
the code runs and every outcome after it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mulligan.policies.decision import Decision, Finding, Verdict
from mulligan.policies.judge import judge_proposal, unjudged
from mulligan.policies.policy import Policy
from mulligan.runtime.changes import present
from mulligan.runtime.checkpoint import Capture, Checkpoint, Checkpoints, Restoration
from mulligan.runtime.collector import Collector, Stray
from mulligan.runtime.commit import Refusal
from mulligan.runtime.errors import NothingToUndo, SessionBroken, SessionClosed
from mulligan.runtime.guard import Guard
from mulligan.runtime.history import History
from mulligan.runtime.ledger import Entry, Fresh, Ledger
from mulligan.runtime.outcome import (
    Completed,
    Lost,
    Outcome,
    Output,
    Raised,
    Refused,
    Reverted,
    TimedOut,
    left_by,
)
from mulligan.runtime.quota import DiskQuota
from mulligan.runtime.redacting import Redacting, outcome_without
from mulligan.runtime.replay import Replay, bounded_answers
from mulligan.runtime.step import Action, Reach, Step, reach_of
from mulligan.runtime.timeline import Fold, Timeline
from mulligan.runtime.transcript import Transcripts
from mulligan.sandbox.client import Exchange
from mulligan.sandbox.confined import Confined
from mulligan.sandbox.errors import SandboxError, SandboxLost, SnapshotError
from mulligan.sandbox.kernel import Execution, Usage, WorkerLost
from mulligan.sandbox.messages import Envelope, Event, Stream
from mulligan.sandbox.printable import one_line

if TYPE_CHECKING:
    from mulligan.runtime.judging import OutcomeJudge
    from mulligan.runtime.outside import Outside
    from mulligan.runtime.protected import Protected

Watcher = Callable[[Event], None]
#: stands for the source of a step that is a restart
RESTARTED = "# the kernel was restarted"


@dataclass(slots=True)
class Ticket:
    """What a caller holds while its action is played: first the step, then its checkpoint. `exchange` is with the
    Jupyter client that asks for it, if it is one."""

    exchange: Exchange | None = None
    job: Future[None] | None = None
    step: Future[Step] = field(default_factory=Future)
    settled: Future[Checkpoint | str] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class _Unsettled:
    """A step whose files are captured and whose twin is on its way."""

    step: int
    ticket: Ticket
    capture: Capture


@dataclass(frozen=True, slots=True)
class Clients:
    """Of a session that is a Jupyter kernel. `on_loose` is called with what belongs to no request under way; `is_full`
    says whether they are behind."""

    on_loose: Callable[[Envelope], None]
    is_full: Callable[[], bool]


class Story:
    def __init__(
        self,
        *,
        ledger: Ledger,
        checkpoints: Checkpoints,
        confined: Confined,
        policy: Policy,
        quota: DiskQuota,
        transcripts: Transcripts,
        history: History,
        protected: Protected | None,
        outcomes: OutcomeJudge | None,
        outside: Outside | None,
        reenter: Callable[[], Confined],
        waited_for: Callable[[], bool],
    ) -> None:
        self._ledger = ledger
        self._checkpoints = checkpoints
        self.confined = confined
        self._policy = policy
        self._quota = quota
        self._transcripts = transcripts
        self._history = history
        self._waited_for = waited_for
        self._protected = protected
        self._outcomes = outcomes
        self._outside = outside
        self._reenter = reenter
        self._stray = Stray()
        self._unsettled: _Unsettled | None = None
        #: what the last action was given when it asked for input
        self._typed: tuple[str | None, ...] = ()
        #: whether nothing is done but to wait for a twin
        self._idle = False
        #: the actions that wait for their turn
        self.line: deque[Ticket] = deque()
        self.closing = False
        #: called when the cursor was moved
        self.on_move: Callable[[], None] = lambda: None
        self._told = Fold(Timeline())
        self._stop: str | None = None
        self._clients: Clients | None = None

    def begin(self, looked_at: Callable[[int], None] | None = None) -> None:
        """The first checkpoint; `looked_at` is called with the size of each file in it."""
        if self._outside is not None:
            self._checkpoints.on_again = self._outside.run_again
        self._listen()
        checkpoint = self._checkpoints.begin(looked_at)
        self._history.begin()
        other = {"kernel": self.confined.other} if self.confined.other else {}
        self._record("opened", 0, {"isolation": self.confined.report.engine, **other})
        self._record("checkpointed", 0, _checkpoint_record(checkpoint))
        if self._protected is not None:
            self._protected.begin(self._checkpoints)

    # -- a step ----------------------------------------------------------------------------------------------

    def play(self, action: Action, timeout: float | None, watch: Watcher, ticket: Ticket) -> None:
        """One step. The ticket's step is there as soon as the outcome is; the checkpoint follows, its twin perhaps
        only while the next step runs already."""
        self._play(action, timeout, watch, ticket)
        if self._history.presses:  # nobody ever pauses: then the next action waits
            self.settle()
            self._collect(lambda: False)

    def _play(self, action: Action, timeout: float | None, watch: Watcher, ticket: Ticket) -> None:
        self.line.remove(ticket)
        try:
            self._check_whole()
            self._put_back_protected()
            step = self._propose(action)
            if self._outside is not None:
                self._outside.begin(step)
            verdict = judge_proposal(self._policy, action.source)
            if verdict.decision is not Decision.ALLOW:
                if self._outside is not None:
                    self._outside.end(step)
                self.settle()
                return self._refuse(ticket, step, action, verdict)
            twin = self._checkpoints.name_twin()
            wall = timeout or self._policy.resources.wall
            with Collector(self._transcripts.of(step)) as collector:
                outcome = self._run(action, wall, watch, twin, collector, ticket.exchange)
            if self._outside is not None:
                self._outside.end(step)
                outcome = replace(outcome, notes=self._outside.notices(step))
            self.settle()
            if _must_go_back(outcome):
                return self._take_back(ticket, step, action, outcome)
            if self._protected is not None or self._outcomes is not None:
                return self._keep_if_allowed(ticket, step, action, outcome, twin)
            self._reply(ticket, step, action, outcome)
            self._keep(step, ticket, twin)
        except BaseException as error:
            for future in (ticket.step, ticket.settled):
                if not future.done():
                    future.set_exception(error)
            if not isinstance(error, Exception):
                raise

    def look(self) -> None:
        """Between actions: where the files have come to hold too much, end all that runs and go back to the cursor;
        and put back what is protected. Else let go what is no longer needed, for as long as nobody waits."""
        self.settle()
        with suppress(SessionBroken, SessionClosed, SandboxError):
            self._put_back_protected()
        why = None if self.closing else self._quota.overfilled() or self._starves()
        if why is None:
            return self._collect(self._waited_for)
        self._record("overfilled", None, {"why": why})
        self.confined.close()
        with suppress(SessionBroken, SessionClosed, SandboxError):  # the next call tries again, and says so
            self._revive()
            self._return_to(self._told.cursor, keep=False)

    def _collect(self, give_way: Callable[[], bool]) -> None:
        """What is let go is in the ledger before it is gone."""

        def record(steps: Sequence[int]) -> None:
            for step in steps:
                self._record("let_go", step, {"why": "resources.history"})

        try:
            here = self._nearest_checkpoint(self._told.cursor)
            self._checkpoints.collect(self._history, here, record, lambda: self.closing or give_way())
        except SnapshotError as error:
            self._record("uncollected", None, {"why": error.message})

    def _starves(self) -> str | None:
        """What the host's disk lacks, in a session of which something runs on between actions."""
        here = self._checkpoints[self._nearest_checkpoint(self._told.cursor)]
        return self._quota.starved() if here.children or here.stands else None

    def _put_back_protected(self) -> None:
        """What a process changed between actions: end all processes, and go back to the cursor."""
        found = self._protected.wire.tripped if self._protected is not None and not self.closing else None
        if found is None:
            return
        self._record("tripped", None, {"rule": found.rule, "why": found.reason})
        self._return_to(self._told.cursor, spare=False)
        self._stray.add(Stream("stderr", f"[Between actions {found.reason}. It was put back.]\n"))

    def _propose(self, action: Action, *, fresh: bool = False) -> int:
        step = len(self._told.nodes)  # they are numbered without a gap
        source = action.source.encode("utf-8", "backslashreplace").decode()[: 1 << 20]
        body = {
            "source": source,
            "proposer": action.proposer,
            "why": action.why,
            "parent": self._told.cursor,
            **({"fresh": True} if fresh else {}),
        }
        self._record("proposed", step, body)
        return step

    def _run(
        self,
        action: Action,
        timeout: float,
        watch: Watcher,
        twin: str,
        collector: Collector,
        exchange: Exchange | None,
    ) -> Outcome:
        def show(event: Event) -> None:
            collector.add(event)
            watch(event)

        redactor = None if self._outside is None else self._outside.redactor
        if redactor is None:
            return self._execute(action, timeout, show, twin, collector, exchange)
        redacting = Redacting(redactor, show)
        return outcome_without(
            self._execute(action, timeout, redacting.add, twin, collector, exchange, redacting.end), redactor
        )

    def _execute(
        self,
        action: Action,
        timeout: float,
        observe: Watcher,
        twin: str,
        collector: Collector,
        exchange: Exchange | None,
        ended: Callable[[], None] = lambda: None,
    ) -> Outcome:
        for event in self._stray.take():  # of threads and subprocesses, since the last action
            observe(event)
        started, self._typed = time.monotonic(), ()
        guard = Guard(self._quota, self._protected)
        try:
            execution = self.confined.kernel.execute(
                action.source,
                observe,
                timeout=timeout,
                guard=lambda: self._stop or guard.ask(),
                then=twin,
                exchange=exchange,
                spared=self._spared(),
            )
            ended()
        except SandboxLost:
            ended()
            cause = f"the sandbox ended: {self.confined.last_words()}".rstrip(": ")
            return Lost(output=collector.output(), cause=cause, duration=time.monotonic() - started)
        self._typed = execution.typed
        return _outcome(execution, collector, timeout, guard.found)

    def _spared(self) -> Callable[[], float]:
        """A person who is asked meanwhile does not use up the action's time."""
        if self._outside is None:
            return lambda: 0.0
        waited, before = self._outside.waited, self._outside.waited()
        return lambda: waited() - before

    def _reply(self, ticket: Ticket, id: int, action: Action, outcome: Outcome) -> None:
        if self._typed:
            self._record("typed", id, {"answers": bounded_answers(self._typed)})
        self._record("settled", id, {"outcome": outcome.record()})
        ticket.step.set_result(self._step(id, action, outcome, ticket))

    def _step(self, id: int, action: Action, outcome: Outcome, ticket: Ticket) -> Step:
        effects = () if self._outside is None else self._outside.effects.of(id)
        return Step(id, action, outcome, ticket.settled, self._checkpoints.let_go, effects)

    def _take_back(self, ticket: Ticket, step: int, action: Action, outcome: Outcome) -> None:
        """The kernel died with the action, or was killed: the session is where it was before."""
        cursor = self._told.cursor
        self._as_after(step, cursor)
        self._record("settled", step, {"outcome": outcome.record()})
        if self._told.cursor != cursor:
            self._move(cursor, "revert")
        stands: tuple[str, ...] = ()
        try:
            broken = _broken(outcome)
            full = {rule for rule in broken if rule.startswith("resources.")}
            keep = not (full or "protect.unseen" in broken)  # it may be more than the disk holds twice
            spare = broken == full  # else it is not known which process did it
            back = self._return_to(cursor, spare=spare, keep=keep)
            stands, left = back.stands, left_by(back.memory, ours=not self.confined.other)
        except (SessionBroken, SessionClosed, SandboxLost) as error:
            stands = (error.message,)  # the next call tries again; this one has an outcome to give
            left = f"It is not taken back yet: {one_line(error.message)}."
        self._checkpoints.alias(step, self._nearest_checkpoint(cursor), stands)
        ticket.step.set_result(self._step(step, action, replace(outcome, left=left), ticket))
        ticket.settled.set_result(self._checkpoints[step])

    def _as_after(self, step: int, cursor: int) -> None:
        """A return to `step` is one to `cursor`: what was sent since then stands."""
        if self._outside is not None:
            self._outside.effects.mark(step, like=cursor)
            self._outside.at(cursor)

    def _refuse(self, ticket: Ticket, step: int, action: Action, verdict: Verdict) -> None:
        cursor = self._told.cursor
        self._as_after(step, cursor)
        self._reply(ticket, step, action, Refused(verdict=verdict))
        if cursor not in self._checkpoints:
            return ticket.settled.set_result(f"there is no checkpoint: nor is there one of step {cursor}")
        self._checkpoints.alias(step, cursor)
        ticket.settled.set_result(self._checkpoints[step])

    def _keep_if_allowed(
        self, ticket: Ticket, step: int, action: Action, outcome: Outcome, twin: str
    ) -> None:
        """Where outcomes are judged, nobody is told before it is known what changed. What cannot be known is denied."""
        said: tuple[str, ...] = ()
        try:
            checkpoint = self._checkpoints.complete(step, self._checkpoints.capture(twin))
            verdict, said = self._judge(step, checkpoint)
        except SnapshotError as error:
            verdict = Verdict.of((unjudged(f"what changed could not be looked at: {error.message}"),))
        if verdict.decision is not Decision.ALLOW:
            reverted = Reverted(
                output=outcome.output,
                error=outcome.error,
                duration=outcome.duration,
                notes=outcome.notes,
                verdict=verdict,
            )
            return self._take_back(ticket, step, action, reverted)
        if said:
            outcome = replace(outcome, notes=(*outcome.notes, *said))
        self._reply(ticket, step, action, outcome)
        self._settle(step, ticket, checkpoint)

    def _judge(self, step: int, after: Checkpoint) -> tuple[Verdict, tuple[str, ...]]:
        """Whether what changed since the cursor may stand, and what is to be said of it if it does."""
        before = self._checkpoints[self._told.cursor]
        changes = self._checkpoints.changes(before, after)
        verdict = Verdict.of(())
        if self._protected is not None:
            verdict = self._protected.judge(before, after, changes)
            if verdict.decision is not Decision.ALLOW:
                return verdict, ()
        if self._outcomes is None:
            return verdict, ()
        return self._outcomes.judge(step, self.timeline.path(self._told.cursor), before, after, changes)

    def refusal(self) -> Refusal:
        """Why a commit may not carry a path to the user's folder, where outcomes are judged."""
        if self._outcomes is None:
            return lambda path, did: None
        here = self.timeline.cursor
        return self._outcomes.refusal(self.timeline.path(here), partial(self._checkpoints.files, here))

    def _keep(self, step: int, ticket: Ticket, twin: str) -> None:
        """Have the files; the twin is waited for only when nothing else is to be done."""
        try:
            capture = self._checkpoints.capture(twin)
        except SnapshotError as error:
            return self._uncheck(step, ticket, error)
        self._unsettled = _Unsettled(step, ticket, capture)
        if capture.quiet:
            self._idle = True
            self._checkpoints.await_twin(capture, lambda: bool(self.line))
            self._idle = False
        if not (capture.quiet and self.line):
            self.settle()

    def stand_in_line(self, ticket: Ticket) -> None:
        """The next action, whose turn comes as soon as the files of the one before are captured. From any thread."""
        self.line.append(ticket)
        if self._idle:
            self.confined.kernel.ring()

    def settle(self) -> None:
        """Complete the checkpoint of the last step, if it is not yet. Its ticket says what came of it, also errors."""
        unsettled, self._unsettled = self._unsettled, None
        if unsettled is None:
            return
        step, ticket = unsettled.step, unsettled.ticket
        try:
            self._settle(step, ticket, self._checkpoints.complete(step, unsettled.capture))
        except SnapshotError as error:
            self._uncheck(step, ticket, error)
        except Exception as error:
            if not ticket.settled.done():
                ticket.settled.set_exception(error)

    def _settle(self, step: int, ticket: Ticket, checkpoint: Checkpoint) -> None:
        thinned = self._checkpoints.thin(step)
        self._record_all(
            [
                ("checkpointed", step, _checkpoint_record(checkpoint)),
                *(("discarded", each, {}) for each in thinned),
            ]
        )
        ticket.settled.set_result(checkpoint)

    def _uncheck(self, step: int, ticket: Ticket, error: SnapshotError) -> None:
        self._record("unchecked", step, {"why": error.message})
        ticket.settled.set_result(f"there is no checkpoint: {error.message}")

    # -- for Jupyter clients -------------------------------------------------------------------------------------

    def serve(self, clients: Clients) -> None:
        """From now on they hear what the sandbox says between their requests."""
        self._clients = clients
        self._listen()

    def pass_on(
        self, kind: str, exchange: Exchange, timeout: float | None = None, *, heard: bool = True
    ) -> None:
        """A client's request that is no step: to complete a name, or a widget's message. What its callbacks do belongs
        to the step that follows. Where it kills the kernel, or breaks a bound, all is as at the cursor. After `timeout`
        seconds it is interrupted, and then there may be no answer. If it is `heard`, the next step has its output.

        Raises WorkerLost, SandboxLost.
        """
        self._check_whole()
        self._put_back_protected()
        guard = Guard(self._quota, self._protected)
        try:
            done = self.confined.kernel.pass_on(
                kind,
                exchange,
                guard=lambda: self._stop or guard.ask(),
                timeout=timeout,
                heard=heard,
            )
        except SandboxLost:
            self._check_whole()
            raise
        if done.ended not in ("done", "timeout"):
            self._record("lost", None, {"request": kind, "why": done.cause})
            self._return_to(self._told.cursor, spare=False)
            raise WorkerLost(f"the kernel died: {done.cause}", hint="all is as it was after the last cell")

    def stop(self, why: str | None) -> None:
        """End what runs at once, and what comes, until `stop(None)`. From any thread."""
        self._stop = why
        self.confined.kernel.ring()

    def listen(self) -> None:
        """Take in output that came while nothing runs."""
        if self.confined.kernel.connected():
            self.confined.kernel.listen()

    def restart(self) -> int:
        """A fresh kernel on the files as they are; a step like any other, which can be taken back."""
        self.settle()
        self._check_whole()
        self._put_back_protected()
        step = self._propose(Action(RESTARTED, "restart"), fresh=True)
        checkpoint = self._checkpoints.restart(step)
        checkpoint = self._without_what_was_forbidden(step, checkpoint)
        self._stray.take()
        self._record("settled", step, {"outcome": Completed().record()})
        self._record("checkpointed", step, _checkpoint_record(checkpoint))
        return step

    def _without_what_was_forbidden(self, step: int, checkpoint: Checkpoint) -> Checkpoint:
        """A restart on the cursor's files, where what a process did to them between actions may not stand."""
        if self._protected is None and self._outcomes is None:
            return checkpoint
        verdict, _ = self._judge(step, checkpoint)
        if verdict.decision is Decision.ALLOW:
            return checkpoint
        self._record("put_back", step, {"verdict": verdict.record()})
        self._return_to(self._told.cursor, spare=False)
        return self._checkpoints.restart(step)

    # -- moving ------------------------------------------------------------------------------------------------

    def undo(self, n: int, to: int | None) -> Restoration:
        timeline = self.timeline
        if to is None:
            target = timeline.undo_target(n)
        else:
            target = timeline.node(to).id
            if target not in timeline.path(timeline.cursor):
                raise NothingToUndo(
                    f"step {target} is not behind step {timeline.cursor}",
                    hint="goto(step) reaches every step",
                )
        return self.move(target, "undo")

    def redo(self, n: int) -> Restoration:
        return self.move(self.timeline.redo_target(n), "redo")

    def goto(self, step: int) -> Restoration:
        return self.move(self.timeline.node(step).id, "goto")

    def reset(self) -> Restoration:
        return self.move(0, "reset")

    def move(self, target: int, by: str) -> Restoration:
        self.settle()
        self._check_whole()
        restoration = self._return_to(target)
        self._move(target, by)
        return restoration

    def _move(self, target: int, by: str) -> None:
        self._record("moved", None, {"cursor": target, "by": by})
        self.on_move()

    def _return_to(self, target: int, *, spare: bool = True, keep: bool = True) -> Restoration:
        """To the state after `target`, in a new sandbox if need be; with the processes of then, if they are spared,
        and with the files of now captured, if they are to be kept."""
        base = self._nearest_checkpoint(target)
        if self._outside is None:
            return self._restore(base, target, spare=spare, keep=keep)
        with self._outside.going_back() as left_out:
            path = self.timeline.path(base)
            halted = partial(self._outside.take_back, base, path)
            back = self._restore(base, target, spare=spare, keep=keep, halted=halted)
            self._outside.at(target)
        return self._outside.told(back, path, left_out)

    def _restore(
        self,
        base: int,
        target: int,
        *,
        spare: bool,
        keep: bool,
        halted: Callable[[], None] = lambda: None,
    ) -> Restoration:
        way = self._way(base)
        again = partial(
            self._checkpoints.restore, base, way, lambda event: None, spare=spare, keep=keep, halted=halted
        )
        try:
            back = again()
        except SandboxLost:
            self._revive()
            back = again()
        finally:
            self._stray.take()  # said by what has been taken back
            if self._protected is not None:
                self._protected.wire.forget()  # it was ourselves who wrote
        missing = f"step {target} has no checkpoint: this is the state after step {base}"
        return back if base == target else replace(back, stands=(missing, *back.stands))

    def _nearest_checkpoint(self, target: int) -> int:
        """The step itself, or its latest forerunner whose files could be captured. Raises StepLetGo."""
        if target in self._checkpoints:
            return target
        for step in reversed(self.timeline.path(target)):
            if step in self._checkpoints:
                return step
            if step in self._checkpoints.let_go:
                break
        raise self.timeline.gone(target)

    def snapshot_of(self, step: int) -> tuple[int, int]:
        """The snapshot of the files after a step, and the step whose it is. Raises StepUnknown, StepLetGo."""
        self.settle()
        nearest = self._nearest_checkpoint(self.timeline.node(step).id)
        return self._checkpoints[nearest].snapshot, nearest

    def usage(self) -> Usage:
        """What the sandbox holds."""
        self.settle()
        self._check_whole()
        held = self.confined.kernel.usage()
        self._checkpoints.bury(held.dead)
        return held

    def reach(self, step: int) -> Reach:
        """What a return to the state after a step would bring back, as of now. Raises StepUnknown."""
        self.settle()
        id = self.timeline.node(step).id
        if id not in self._checkpoints:
            return Reach("none", "none", ("there is no checkpoint of this step",))
        effects = () if self._outside is None else self._outside.effects.of(id)
        sent = tuple(str(effect) for effect in effects if effect.stands)
        found = reach_of(self._checkpoints.as_of_now(id))
        if self._outside is None:
            return found
        missing = self._outside.effects.taken_back(self.timeline.path(id))
        return replace(found, stands=(*found.stands, *missing), sent=sent)

    def _way(self, target: int) -> Sequence[Replay]:
        nodes = [self.timeline.nodes[step] for step in self.timeline.path(target)[1:]]
        fresh = max((at for at, node in enumerate(nodes) if node.fresh), default=0)
        kinds = ("completed", "raised", "timed_out")
        return [Replay.of(node) for node in nodes[fresh:] if node.kind in kinds]

    # -- a sandbox that ended ----------------------------------------------------------------------------------

    def _check_whole(self) -> None:
        """Before anything is asked of the sandbox. One that cannot be started again now is tried again next time."""
        if not self.confined.kernel.connected():
            self._revive()
            self._return_to(self._told.cursor)

    def _revive(self) -> None:
        """Start a new sandbox on the same files. Its memory comes back by running the actions again."""
        self.settle()  # what is still to be heard of a checkpoint comes from the old one
        if self.closing:
            raise SessionClosed("the session is being closed")
        self.confined.close()
        try:
            self.confined = self._reenter()
        except SandboxError as error:
            raise SessionBroken(
                f"the sandbox ended and cannot be started again: {error.message}",
                hint="files and history are kept: call again when that is mended, or commit() the files as they are",
            ) from error
        self._listen()
        self._checkpoints.moved_to(self.confined)
        self._record("reentered", None, {"isolation": self.confined.report.engine})

    def _listen(self) -> None:
        self.confined.kernel.on_stray = self._stray.add
        self.confined.kernel.on_forked = self.settle
        if self._clients is not None:
            self.confined.kernel.on_loose = self._clients.on_loose
            self.confined.kernel.is_full = self._clients.is_full

    @property
    def timeline(self) -> Timeline:
        """What a reader of the ledger would make of it. From any thread."""
        return self._told.timeline()

    def _record(self, kind: str, step: int | None, body: dict[str, Any]) -> None:
        self._record_all([(kind, step, body)])

    def _record_all(self, fresh: Sequence[Fresh]) -> None:
        """Write to the ledger, and let the timeline be what a reader of the ledger would make of it."""
        for id, (kind, step, body) in zip(self._ledger.append_all(fresh), fresh, strict=True):
            self._told.add(Entry(id, time.time_ns(), kind, step, body))

    def note(self, kind: str, body: dict[str, Any]) -> None:
        """Record something that is no step: a commit, say."""
        self._record(kind, None, body)


def _outcome(execution: Execution, collector: Collector, timeout: float, found: Finding | None) -> Outcome:
    output: Output = collector.output()
    error, duration = collector.error_of(execution.error), execution.duration
    match execution.ended:
        case "guarded" if found is None:
            return Lost(output=output, error=error, duration=duration, cause=execution.cause)
        case "guarded":
            verdict = Verdict.of(() if found is None else (found,))
            return Reverted(output=output, error=error, duration=duration, verdict=verdict)
        case "lost":
            return Lost(output=output, error=error, duration=duration, cause=execution.cause)
        case "timeout" | "killed":
            return TimedOut(
                output=output,
                error=error,
                duration=duration,
                after=timeout,
                restored=execution.ended == "killed",
            )
    if execution.ok:
        return Completed(output=output, duration=duration)
    return Raised(output=output, error=error, duration=duration)


def _broken(outcome: Outcome) -> set[str]:
    """The rules because of which an outcome is taken back."""
    return {each.rule for each in outcome.verdict.findings} if isinstance(outcome, Reverted) else set()


def _must_go_back(outcome: Outcome) -> bool:
    return isinstance(outcome, (Lost, Reverted)) or (isinstance(outcome, TimedOut) and outcome.restored)


def _checkpoint_record(checkpoint: Checkpoint) -> dict[str, Any]:
    changes = present(checkpoint.changes)
    return {
        "snapshot": checkpoint.snapshot,
        "twin": checkpoint.twin,
        "changes": {"count": len(changes), "paths": [str(change) for change in changes[:200]]},
        "reach": list(checkpoint.stands[:100]),
        "duration": checkpoint.duration,
    }
