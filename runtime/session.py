"""The session as callers hold it: the same verbs for threads that wait and for event loops that must not.

Each session has one thread of its own, on which its `Story` is told; every verb is a job for that thread, in the
order of the calls. `run` answers as soon as the outcome is in, while the thread goes on to take the checkpoint;
the next verb waits for that by standing in line.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from mulligan.policies.decision import Verdict
from mulligan.policies.errors import PolicyError
from mulligan.policies.exclusion import Exclusion
from mulligan.policies.loading import find_policy
from mulligan.policies.policy import Budgets, Policy
from mulligan.policies.protection import Protection, check_glob
from mulligan.runtime import commit as committing
from mulligan.runtime import insight
from mulligan.runtime.approvals import Approvals, Asking, on_loop
from mulligan.runtime.bringing import STARTED, Brought, bring, engine_sees_mounts
from mulligan.runtime.checkpoint import Checkpoints, Restoration
from mulligan.runtime.commit import Commit
from mulligan.runtime.databases.database import Database
from mulligan.runtime.diffs.diff import Diff
from mulligan.runtime.diffs.parsing import Parsing
from mulligan.runtime.effects import Effect, Effects
from mulligan.runtime.errors import (
    CommitFailed,
    DatabaseLost,
    NoLibrary,
    NothingToUndo,
    SessionBusy,
    SessionClosed,
)
from mulligan.runtime.folder import transfer
from mulligan.runtime.grants import (
    bounds_outcomes,
    check_enforced,
    grant_limits,
    grant_network,
    grant_secrets,
    ungranted,
)
from mulligan.runtime.history import History
from mulligan.runtime.importing import Count, Progress
from mulligan.runtime.insight import Completions, Variable, Wholeness
from mulligan.runtime.layering import Place, unlay
from mulligan.runtime.ledger import Ledger
from mulligan.runtime.matter import Decided
from mulligan.runtime.network import Network
from mulligan.runtime.outbox import Held, Outbox
from mulligan.runtime.outside import Outside
from mulligan.runtime.past import sessions_folder
from mulligan.runtime.question import Approve
from mulligan.runtime.quota import DiskQuota
from mulligan.runtime.remains import KEPT, LAYER, WAITING, Owner, remove_files, remove_remains
from mulligan.runtime.standing import Standing
from mulligan.runtime.step import Action, Reach, Step
from mulligan.runtime.story import Story, Ticket
from mulligan.runtime.timeline import Timeline
from mulligan.runtime.transcript import Transcripts
from mulligan.runtime.unfolding import unfold
from mulligan.runtime.usage import SessionUsage, measure
from mulligan.runtime.user import claim_user
from mulligan.runtime.workspace import Baseline, await_tick, tick
from mulligan.sandbox.client import Exchange
from mulligan.sandbox.confined import Confined, enter, prepare_files
from mulligan.sandbox.engines import choose
from mulligan.sandbox.errors import SnapshotError
from mulligan.sandbox.isolation import LIBRARY, WRITABLE, Engine, Isolation, Limits, Mount, Report
from mulligan.sandbox.kernel import GRACE
from mulligan.sandbox.messages import Event
from mulligan.sandbox.snapshots import SnapshotStore
from mulligan.sandbox.snapshots.removal import remove_folder

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from mulligan.runtime.databases.databases import Databases
    from mulligan.runtime.judging import OutcomeJudge
    from mulligan.runtime.library.given import Given
    from mulligan.runtime.library.kept import Keeping, SessionLibrary
    from mulligan.runtime.protected import Protected
    from mulligan.runtime.tools import Offered, Tools
    from mulligan.sandbox.egress.judgement import Judge
    from mulligan.sandbox.egress.secrets import Secrets
    from mulligan.sandbox.tools.tool import Offer, Tool

T = TypeVar("T")
#: a folder of routines, or several
Shelves = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

#: seconds that a checkpoint under way may take to end by itself when its session is closed
CHECKPOINTING = 1.0
#: seconds between two looks at what the files hold while no action runs
LOOKING = 0.5


@dataclass(frozen=True, slots=True)
class Order:
    """What a sandbox is started from. `warm` is Python that is run before the first twin is taken; a `judge` gives it
    a network; `kernel` names a kernelspec, where the kernel is not to be ours. `offer` are functions of the host that
    may be called from inside where `tool_rules` allow it, coroutine functions on `loop` where there is one, and
    `databases` what statements may be run in."""

    isolation: str
    image: str | None
    python: Path | None
    limits: Limits
    warm: str = ""
    judge: Judge | None = None
    asking: Asking = field(default_factory=Asking)
    budgets: Budgets = field(default_factory=Budgets)
    tracer: Tracer | None = None
    secrets: Secrets | None = None
    kernel: str = ""
    offer: Offer | None = None
    databases: tuple[Database, ...] = ()
    tool_rules: Policy | None = None
    loop: asyncio.AbstractEventLoop | None = None
    library: Given | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """What a session is for: what `open_session` is told besides the order."""

    workspace: Path | None
    policy: Policy
    progress: Progress | None
    keep: bool
    exclude: Exclusion
    staging: str = "auto"


@dataclass(frozen=True, slots=True)
class Folders:
    """A session's place on the host."""

    root: Path

    @property
    def files(self) -> Path:
        return self.root / "files"

    @property
    def workspace(self) -> Path:
        return self.files / "workspace"

    @property
    def layer(self) -> Path:
        """Where the workspace is an overlay: what was written over the user's folder."""
        return self.root / LAYER

    @property
    def written(self) -> tuple[Path, ...]:
        """The folders whose files are the session's own, on the disk."""
        if not self.layer.is_dir():
            return (self.files,)
        beside = (self.files / name for name in WRITABLE if name != self.workspace.name)
        return (*beside, self.layer / "upper")

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def output(self) -> Path:
        return self.root / "output"

    @property
    def journal(self) -> Path:
        return self.root / "commits"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.db"


class Session:
    """One agent's continuous life: an isolation, a kernel, a timeline. Made by `mulligan.open`.

    Every method may be called from any thread; calls take their turns. `close` ends it, as leaving its `with`
    block does.
    """

    def __init__(self, id: str, folders: Folders, resources: ExitStack) -> None:
        self.id = id
        self.folders = folders
        self._resources = resources
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"mulligan-{id}")
        self._story: Story
        self._store: SnapshotStore
        self._enter: Callable[[], Confined]
        self._confined: Confined
        self._policy: Policy
        self._baseline: Baseline
        self._brought = Brought(Baseline(source=None), "empty")
        self._ledger: Ledger
        self._protected: Protected | None = None
        self._outcomes: OutcomeJudge | None = None
        self._outside: Outside | None = None
        self._approvals: Approvals
        self._offer: Offer | None = None
        self._commits: list[Commit] = []
        #: one for each call that is not answered yet
        self._calls: deque[None] = deque()
        self._parsing = Parsing()
        self._keeping: Keeping | None = None
        self._library: SessionLibrary | None = None
        self._uid, self._gid = 0, 0
        self._closed = False
        self._ended = threading.Event()

    # -- running -----------------------------------------------------------------------------------------------

    def run(
        self,
        source: str | Action,
        *,
        timeout: float | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
    ) -> Step:
        """Run one action and return its step as soon as its outcome is in.

        `timeout` is in seconds (the policy's `resources.wall` when None): the action is interrupted then, and
        killed when it does not obey. `on_event` gets each output as it comes, on the session's thread. An
        exception in the action is an outcome, not an exception here. A Ctrl-C here interrupts the action.
        """
        ticket = self._submit(source, timeout, on_event)
        try:
            return ticket.step.result()
        except KeyboardInterrupt:
            self._give_up(ticket)
            raise

    def _submit(
        self,
        source: str | Action,
        timeout: float | None,
        on_event: Callable[[Event], None],
        exchange: Exchange | None = None,
    ) -> Ticket:
        action = source if isinstance(source, Action) else Action(source)
        if not isinstance(action.source, str):
            raise TypeError(f"an action's source is text, not {type(action.source).__name__}")
        if timeout is not None and not timeout > 0:
            raise ValueError(f"a timeout is a number of seconds above 0, not {timeout!r}")
        ticket = Ticket(exchange)
        self._story.stand_in_line(ticket)
        try:
            ticket.job = self._do(partial(self._story.play, action, timeout, on_event, ticket))
        except BaseException:
            self._story.line.remove(ticket)
            raise
        if self._library is not None:
            self._library.follow(ticket.step)
        return ticket

    def _give_up(self, ticket: Ticket) -> None:
        """Its caller waits no more: take it out of the line, or interrupt it when its turn has come."""
        if ticket.job is not None and ticket.job.cancel():
            self._story.line.remove(ticket)
        else:
            self.interrupt()

    def interrupt(self, *, grace: float | None = GRACE) -> None:
        """Interrupt the running action as Ctrl-C would; its step then has raised KeyboardInterrupt.

        One that runs on `grace` seconds later is killed and taken back: its outcome is "lost". With None it may take
        all the time that its step has.
        """
        self._approvals.give_up("the action was interrupted before anybody answered")
        self._story.confined.kernel.interrupt(grace)

    # -- going back and forth ------------------------------------------------------------------------------------

    def undo(self, n: int = 1, *, to: int | None = None) -> Restoration:
        """Take back the last `n` steps, or every step after step `to`: files, memory and processes.

        Raises NothingToUndo, StepUnknown, StepLetGo. What could not be taken back is in the result's `stands`.
        """
        return self._do(lambda: self._story.undo(n, to)).result()

    def redo(self, n: int = 1) -> Restoration:
        """Go forward again along the line that was undone. Raises NothingToRedo."""
        return self._do(lambda: self._story.redo(n)).result()

    def goto(self, step: int) -> Restoration:
        """To the state after any step of the timeline; 0 is the beginning. Raises StepUnknown, StepLetGo."""
        return self._do(lambda: self._story.goto(step)).result()

    def reset(self) -> Restoration:
        """Back to a clean kernel and the files as they were staged. The timeline keeps what was."""
        return self._do(self._story.reset).result()

    def restart(self) -> int:
        """A fresh kernel on the files as they are. The number of the step that stands for it: undo takes it back, and
        then the variables of before are there again."""
        return self._do(self._story.restart).result()

    # -- looking ---------------------------------------------------------------------------------------------------

    @property
    def timeline(self) -> Timeline:
        """The tree of steps with its cursor, as the ledger tells it."""
        return self._story.timeline

    @property
    def report(self) -> Report:
        """What confines this session, and which bounds the operating system enforces."""
        report = replace(self._story.confined.report, workspace=self._brought.how)
        if self._protected is None:
            return report
        return replace(report, bounds={**report.bounds, "protect": self._protected.wire.bound()})

    @property
    def ungranted(self) -> tuple[str, ...]:
        """What the policy lets be done and nothing carries out yet, such as "network (2 rules)": it cannot be done."""
        return ungranted(self._policy, asks=self._approvals.can_ask, library=self._library is not None)

    @property
    def library(self) -> SessionLibrary:
        """Searches the library that it was opened with, and keeps what its steps made. Raises NoLibrary."""
        if self._library is None:
            raise NoLibrary("the session has no library", hint="open it with mulligan.open(library=FOLDER)")
        return self._library

    @property
    def policy(self) -> Policy:
        """What it was opened under."""
        return self._policy

    def effects(self, step: int) -> tuple[Effect, ...]:
        """What a step did elsewhere, and what of that was denied. Raises StepUnknown."""
        return self._effects_of(self.timeline.node(step).id)

    @property
    def held(self) -> tuple[Held, ...]:
        """What waits for a commit: each request that was held, or is on its way, by the steps that led to here."""
        return self._do(self._waiting).result()

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The functions of the host that may be called from inside, in the order in which they were handed over."""
        return () if self._offer is None else tuple(self._offer.tools.values())

    @property
    def workspace(self) -> Path:
        """What the session has of the user's folder, on the host. What is in it was written by the agent's code."""
        return self.folders.workspace

    def usage(self) -> SessionUsage:
        """What the session takes up now: memory, twins, processor time, processes, disk. It waits for its turn: while
        an action runs, until that has ended."""
        return self._do(self._usage).result()

    def _usage(self) -> SessionUsage:
        return measure(self._story.usage(), self.folders)

    def diff(self, a: int = 0, b: int | None = None) -> Diff:
        """What turns the files after step `a` into those after step `b` (where the cursor is, when None).

        A sequence of changes that can be read more closely while the session is open: `text` is all of it for
        people, `files` are the paths with what differs in each.
        """

        def difference() -> Diff:
            moments = (a, self.timeline.cursor if b is None else b)
            (old, before), (new, after) = map(self._story.snapshot_of, moments)
            read = (partial(self._read, old), partial(self._read, new))
            return Diff(before, after, self._store.diff(old, new), read, self._parsing)

        return self._do(difference).result()

    def reach(self, step: int) -> Reach:
        """What a return to the state after a step would bring back, as of now: `Step.reach` was, when it was taken.
        Raises StepUnknown."""
        return self._do(partial(self._story.reach, step)).result()

    def complete(
        self, code: str, cursor: int | None = None, *, timeout: float = insight.PATIENCE
    ) -> Completions:
        """How the code may go on at the cursor (its end when None). No step; after `timeout` seconds there are none.

        Of this and the three that follow: raises WorkerLost where the kernel died of it, and then all is as it was
        after the last action.
        """
        return self._do(partial(insight.complete, self._story, code, cursor, timeout)).result()

    def inspect(
        self, code: str, cursor: int | None = None, *, detail: int = 0, timeout: float = insight.PATIENCE
    ) -> str:
        """What stands at the cursor, in words: its signature, its documentation and, with `detail=1`, its source. Empty
        where nothing is known. Printable."""
        return self._do(partial(insight.inspect, self._story, code, cursor, detail, timeout)).result()

    def is_complete(self, code: str, *, timeout: float = insight.PATIENCE) -> Wholeness:
        """Whether the code can be run as it is, or goes on, and with which indentation."""
        return self._do(partial(insight.is_complete, self._story, code, timeout)).result()

    def variables(self, *, timeout: float = insight.PATIENCE) -> tuple[Variable, ...] | None:
        """The variables of the actions so far. None where they cannot be told in time, or not by this kernel."""
        return self._do(partial(insight.variables, self._story, timeout)).result()

    def _read(self, snapshot: int, path: bytes, limit: int) -> bytes:
        return self._do(partial(self._store.read, snapshot, path, limit)).result()

    # -- the user's folder -------------------------------------------------------------------------------------------

    def commit(self, *, progress: committing.Progress | None = None, send: bool | None = None) -> Commit:
        """Write what changed in the workspace to the user's folder, three-way; then send the requests that are held.

        A path that the user changed meanwhile is listed in the result's `conflicts` and left alone. Then nothing is
        sent, unless `send` is true; where it is false nothing is sent at all. The result's `sent` has what left, once
        and for all, and `held` what waits on, and why.
        """
        return self._do(partial(self._commit, progress, send)).result()

    def uncommit(self) -> Commit:
        """Take the last commit back from the user's folder. What it sent, and what databases it committed, stands: the
        result's `sent` and `databases` have it.

        Raises NothingToUndo when there is none.
        """
        return self._do(self._uncommit).result()

    def _commit(self, progress: committing.Progress | None, send: bool | None = None) -> Commit:
        waiting = self._waiting()
        if (waiting or self._has_databases()) and self._baseline.source is None:  # nothing else
            done = Commit(applied=(), conflicts=(), patch=None, baseline=self._baseline)
            done = self._with_databases(done)
        else:
            done = self._commit_files(progress)
        if waiting and (send or (send is None and not done.conflicts)):
            assert self._outside is not None
            sent, held = self._outside.send()
            done = replace(done, sent=sent, held=held)
        else:
            done = replace(done, held=waiting)
        if self._baseline.source is not None:
            self._commits[-1] = done
        self._story.note("committed", _commit_record(done))
        return done

    def _waiting(self) -> tuple[Held, ...]:
        return () if self._outside is None else self._outside.waiting()

    def _commit_files(self, progress: committing.Progress | None) -> Commit:
        if self._brought.layered is not None:
            self._unfold()
        done = committing.commit(
            self.folders.workspace,
            self._baseline,
            self.folders.journal,
            progress=progress,
            protection=Protection(self._policy.files.protect),
            refusal=self._story.refusal(),
            original=self._original,
        )
        self._baseline = done.baseline
        self._commits.append(done)
        return self._with_databases(done)

    def _has_databases(self) -> bool:
        return self._outside is not None and self._outside.has_databases

    def _with_databases(self, done: Commit) -> Commit:
        """After the files, which can be put back where this fails."""
        if self._outside is None:
            return done
        try:
            return replace(done, databases=self._outside.commit())
        except DatabaseLost as error:
            if self._baseline.source is None:
                raise CommitFailed(error.message, hint=error.hint) from error
            self._uncommit()
            raise CommitFailed(f"{error.message}; your folder was put back", hint=error.hint) from error

    def _unfold(self) -> None:
        try:
            unfold(self.workspace, self.folders.written[-1])
        except OSError as error:
            raise CommitFailed(
                f"a renamed folder could not be taken out of the user's: {error.strerror}; nothing was written",
                hint="make room on the disk, or end what works in the folder, then commit again",
            ) from error

    def _original(self, path: bytes) -> bytes:
        """The digest of what a file of the user's held when the session began; of no file, where that is not known. It
        is kept first, for the commit may overwrite the only one there is."""
        first, _ = self._story.snapshot_of(0)
        inside = os.fsencode(self.workspace.name) + b"/" + path
        try:
            self._store.capture(first, inside)
            with self._store.as_file(first, inside) as file:
                return transfer(file, None)
        except SnapshotError:
            return b"not known"

    def _uncommit(self) -> Commit:
        if not self._commits:
            raise NothingToUndo(
                "no commit to take back", hint="commit() writes the workspace's changes first"
            )
        if self._brought.layered is not None:
            self._unfold()
        done = committing.revert(self._commits[-1], self._baseline)
        gone = self._commits.pop()
        done = replace(done, sent=gone.sent, databases=gone.databases)
        self._baseline = done.baseline
        self._story.note("uncommitted", _commit_record(done))
        return done

    # -- life ----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the sandbox and remove the session's files, unless it was opened to `keep` them; the ledger stays. May
        be called more than once.

        An action that is running is ended with it.
        """
        if self._closed:
            return
        self._closed = self._story.closing = True
        self._ended.set()
        self._approvals.close()  # or the thread might wait for a person
        ended = self._thread.submit(self._resources.close)
        if self._thread_is_busy(ended):
            self._confined.sandbox.stop()  # whatever runs in it; the thread then comes to closing
        try:
            ended.result()
        finally:
            self._thread.shutdown()

    def _abandon(self) -> None:
        """End one that nobody has: what it holds, and all that it left on the disk."""
        self._ended.set()
        try:
            self._thread.submit(self._resources.close).result()
        finally:
            self._thread.shutdown()

    def _thread_is_busy(self, ended: Future[None]) -> bool:
        """Whether closing has to wait for an action that runs on."""
        wait([ended], timeout=CHECKPOINTING)
        return not (ended.done() or ended.running())

    def _look_between_actions(self) -> None:
        """On a thread of its own: have the story look, whenever it has nothing else to do."""
        looked: Future[None] | None = None
        while not self._ended.wait(LOOKING):
            if looked is None or looked.done():
                with suppress(RuntimeError):  # closed meanwhile
                    looked = self._thread.submit(self._story.look)

    def _do(self, job: Callable[[], T]) -> Future[T]:
        if self._closed:
            raise SessionClosed(f"session {self.id} is closed", hint="open a new one with mulligan.open()")
        if threading.current_thread().name.startswith(f"mulligan-{self.id}"):
            raise SessionBusy("called from within on_event", hint="call it after run has returned")
        self._calls.append(None)
        try:
            done = self._thread.submit(job)
        except BaseException:
            self._calls.pop()
            raise
        done.add_done_callback(lambda _: self._calls.pop())
        return done

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- opening -------------------------------------------------------------------------------------------------------

    def _open(self, order: Order, task: Task) -> None:
        """On the session's own thread: everything that it will use belongs to that thread."""
        engine = choose(order.isolation)
        self._prepare(order, engine)
        self._stage(task, _obstacle(task, engine))  # what cannot be one is said before anything is started
        self._start(engine)
        self._begin(task)

    def _get_ready(self, order: Order) -> None:
        """All that can be done before it is known for what; `_take_up` does the rest."""
        engine = choose(order.isolation)
        self._prepare(order, engine)
        self._start(engine)

    def _take_up(self, task: Task) -> None:
        self._stage(task, STARTED)
        staged = tick()
        self._begin(task)
        await_tick(staged)

    def _prepare(self, order: Order, engine: Engine) -> None:
        resources, folders = self._resources, self.folders
        folders.root.mkdir(parents=True, mode=0o700)
        resources.callback(_remove_files, folders)
        resources.enter_context(Owner.claim(folders.root))
        self._uid, self._gid = resources.enter_context(claim_user())
        (folders.root / WAITING).touch(mode=0o600)
        prepare_files(folders.files, self._uid, self._gid)
        self._ledger = resources.enter_context(Ledger.open(folders.ledger))
        if order.tracer is not None:
            resources.callback(self._trace, order.tracer)
        self._approvals = Approvals(self.id, order.asking, self._ledger)
        resources.callback(self._approvals.close)
        described = Isolation(
            session=self.id,
            mounts=() if order.library is None else (self._take_library(order.library),),
            uid=self._uid,
            gid=self._gid,
            limits=order.limits,
            image=order.image,
            python=order.python,
        )
        effects = Effects(self._ledger)
        network = None if order.judge is None else self._open_network(order, order.judge, effects)
        databases = self._open_databases(order) if order.databases else None
        offered = _with_statements(order.offer, databases)
        self._offer = offered
        tools = None if offered is None else self._open_tools(order, offered, effects, databases)
        if network is not None or tools is not None:
            self._outside = Outside(effects, self._approvals, network, tools, databases)
            self._ledger.redactor = self._outside.redactor
            if tools is not None:
                tools.redactor = self._outside.redactor
        self._enter = partial(
            enter,
            engine,
            described,
            folders.files,
            None if network is None else network.outlet,
            tools=None if tools is None else tools.server,
            warm=order.warm,
            other=order.kernel,
        )

    def _take_library(self, given: Given) -> Mount:
        from mulligan.runtime.library.kept import Keeping, SessionLibrary, Whence
        from mulligan.runtime.library.use import Uses

        library = self._resources.enter_context(given.open(self.folders.root / "library"))
        whence = Whence(self.id, lambda: self.timeline, self._effects_of, self._note)
        uses = Uses(library, self.folders.root / "library" / "actions" / "routines.db")
        self._keeping = Keeping(library, given.policy, whence, uses)
        self._library = SessionLibrary(self._keeping, self._do, self._thread.submit)
        return Mount(source=self.folders.root / "library", target=LIBRARY)

    def _note(self, kind: str, body: dict[str, Any]) -> None:
        self._story.note(kind, body)

    def _effects_of(self, step: int) -> tuple[Effect, ...]:
        return () if self._outside is None else self._outside.effects.of(step)

    def _trace(self, tracer: Tracer) -> None:
        from mulligan.runtime.tracing import emit

        emit(self._ledger.entries(), tracer, self.id)

    def _stage(self, task: Task, obstacle: str) -> None:
        place = Place(self.folders.workspace, self.folders.layer)
        self._brought = bring(
            task.workspace,
            place,
            staging=task.staging,
            obstacle=obstacle,
            user=(self._uid, self._gid),
            progress=task.progress,
            exclude=task.exclude.joined(task.policy.files.hidden),
        )
        self._baseline = self._brought.baseline
        if self._brought.layered is not None:
            self._resources.callback(unlay, place)
            self._resources.callback(self._brought.layered.close)

    def _start(self, engine: Engine) -> None:
        engine.reap()
        self._confined = self._enter()
        self._resources.callback(self._leave)
        self._store = SnapshotStore.open(self.folders.files, self.folders.store)
        self._resources.callback(self._store.close)
        if self._brought.layered is not None:
            self._store.lie_on(self._brought.layered.lower, self._brought.layered.watches)

    def _begin(self, task: Task) -> None:
        resources, folders, policy = self._resources, self.folders, task.policy
        self._policy = policy
        if policy.files.protect:
            self._protected = self._protect(policy)
        quota = DiskQuota(folders.written, policy.resources.disk, policy.resources.files)
        if bounds_outcomes(policy):
            self._outcomes = self._judge_outcomes(policy, quota)
        resources.callback(self._parsing.close)
        self._story = Story(
            ledger=self._ledger,
            checkpoints=Checkpoints(self._store, self._confined),
            confined=self._confined,
            policy=policy,
            quota=quota,
            transcripts=Transcripts(folders.output, policy.resources.output, quota.starved),
            history=History(self._store, policy.resources.history),
            protected=self._protected,
            outcomes=self._outcomes,
            outside=self._outside,
            reenter=self._reenter,
            waited_for=lambda: bool(self._calls),
        )
        if self._keeping is not None:
            self._story.on_move = self._keeping.moved
        self._story.begin(self._keeping_files(task.progress))
        resources.callback(self._story.settle)
        if task.keep:  # from here on, also when this process is killed
            (folders.root / KEPT).touch(mode=0o600)
        (folders.root / WAITING).unlink()  # from here on it leaves its ledger, however it ends
        name = f"mulligan-look-{self.id}"
        threading.Thread(target=self._look_between_actions, name=name, daemon=True).start()

    def _keeping_files(self, progress: Progress | None) -> Callable[[int], None] | None:
        """Told of each entry of the first snapshot."""
        sizes = [entry.size for entry in self._baseline.entries.values()]
        return None if progress is None else Count(progress, "keeping", len(sizes), sum(sizes)).add

    def _open_network(self, order: Order, judge: Judge, effects: Effects) -> Network:
        outbox = Outbox(effects, self._ledger, order.budgets.messages)
        outbox.way = lambda: self.timeline.path(self.timeline.cursor)
        bytes_out = order.budgets.bytes_out
        network = Network(judge, effects, self._approvals, outbox, order.secrets, bytes_out)
        self._resources.callback(network.outlet.close)
        return network

    def _open_databases(self, order: Order) -> Databases:
        try:
            from mulligan.runtime.databases.databases import Databases
        except ImportError as error:
            hint = "pip install 'mulligan[databases]'"
            raise DatabaseLost(
                f"databases need a package that is not there: {error.name}", hint=hint
            ) from error
        databases = Databases(order.databases, order.tool_rules)
        self._resources.callback(databases.close)
        return databases

    def _open_tools(self, order: Order, offer: Offer, effects: Effects, databases: Databases | None) -> Tools:
        from mulligan.runtime.tools import Tools
        from mulligan.sandbox.tools.runner import Runner

        for each in offer.holds:
            each.acquire()
            self._resources.callback(each.release)
        tools = Tools(
            offer,
            effects,
            self._ledger,
            self._approvals,
            session=self.id,
            runner=Runner(order.loop, f"mulligan-{self.id}-tools"),
            policy=order.tool_rules,
            databases=databases,
        )
        self._resources.callback(tools.server.close)
        return tools

    def _protect(self, policy: Policy) -> Protected:
        from mulligan.runtime.protected import Protected

        protection = Protection(policy.files.protect)
        protected = Protected(self.folders.workspace, protection, self._ring)
        self._resources.callback(protected.end)
        return protected

    def _judge_outcomes(self, policy: Policy, quota: DiskQuota) -> OutcomeJudge:
        from mulligan.runtime.judging import OutcomeJudge

        def ask(step: int, verdict: Verdict, paths: Sequence[str]) -> Decided:
            return self._approvals.ask_about_step(step, verdict, paths, lambda: quota.exceeded() is not None)

        return OutcomeJudge(policy, self._baseline.excluded, ask)

    def _ring(self) -> None:
        self._confined.kernel.ring()

    def _reenter(self) -> Confined:
        self._confined = self._enter()
        return self._confined

    def _leave(self) -> None:
        self._confined.close()


class AsyncSession:
    """A `Session` with the same verbs, awaited. Made by `mulligan.aopen`."""

    def __init__(self, session: Session) -> None:
        self.session = session

    id = property(lambda self: self.session.id)
    timeline = property(lambda self: self.session.timeline)
    report = property(lambda self: self.session.report)
    workspace = property(lambda self: self.session.workspace)

    async def run(
        self,
        source: str | Action,
        *,
        timeout: float | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
    ) -> Step:
        """As `Session.run`; `on_event` is called on the event loop. Cancelling it interrupts the action."""
        loop = asyncio.get_running_loop()

        def hand_over(event: Event) -> None:
            loop.call_soon_threadsafe(on_event, event)

        ticket = self.session._submit(source, timeout, hand_over)
        try:
            return await asyncio.wrap_future(ticket.step)
        except asyncio.CancelledError:
            self.session._give_up(ticket)
            raise

    async def stream(
        self, source: str | Action, *, timeout: float | None = None
    ) -> AsyncIterator[Event | Step]:
        """Run an action and yield each output as it comes, and at last its step."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        running = asyncio.ensure_future(self.run(source, timeout=timeout, on_event=queue.put_nowait))
        running.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (event := await queue.get()) is not None:
                yield event
            yield await running
        finally:
            if not running.done():
                running.cancel()

    async def undo(self, n: int = 1, *, to: int | None = None) -> Restoration:
        return await self._do(lambda: self.session._story.undo(n, to))

    async def redo(self, n: int = 1) -> Restoration:
        return await self._do(lambda: self.session._story.redo(n))

    async def goto(self, step: int) -> Restoration:
        return await self._do(lambda: self.session._story.goto(step))

    async def reset(self) -> Restoration:
        return await self._do(self.session._story.reset)

    async def usage(self) -> SessionUsage:
        return await self._do(self.session._usage)

    async def restart(self) -> int:
        return await self._do(self.session._story.restart)

    async def complete(
        self, code: str, cursor: int | None = None, *, timeout: float = insight.PATIENCE
    ) -> Completions:
        return await self._do(partial(insight.complete, self.session._story, code, cursor, timeout))

    async def inspect(
        self, code: str, cursor: int | None = None, *, detail: int = 0, timeout: float = insight.PATIENCE
    ) -> str:
        return await self._do(partial(insight.inspect, self.session._story, code, cursor, detail, timeout))

    async def is_complete(self, code: str, *, timeout: float = insight.PATIENCE) -> Wholeness:
        return await self._do(partial(insight.is_complete, self.session._story, code, timeout))

    async def variables(self, *, timeout: float = insight.PATIENCE) -> tuple[Variable, ...] | None:
        return await self._do(partial(insight.variables, self.session._story, timeout))

    async def diff(self, a: int = 0, b: int | None = None) -> Diff:
        return await asyncio.to_thread(self.session.diff, a, b)

    async def commit(
        self, *, progress: committing.Progress | None = None, send: bool | None = None
    ) -> Commit:
        return await self._do(partial(self.session._commit, progress, send))

    async def uncommit(self) -> Commit:
        return await self._do(self.session._uncommit)

    def interrupt(self, *, grace: float | None = GRACE) -> None:
        self.session.interrupt(grace=grace)

    async def close(self) -> None:
        await asyncio.to_thread(self.session.close)

    async def _do(self, job: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self.session._do(job))

    async def __aenter__(self) -> AsyncSession:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def open_session(
    workspace: str | os.PathLike[str] | None = None,
    *,
    isolation: str = "auto",
    image: str | None = None,
    python: str | os.PathLike[str] | None = None,
    policy: Policy | str | os.PathLike[str] | None = None,
    protect: Sequence[str] = (),
    exclude: Sequence[str] = (),
    state: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    keep: bool = False,
    approve: Approve | None = None,
    staging: str = "auto",
    kernel: str | None = None,
    tools: Offered = (),
    tools_loop: asyncio.AbstractEventLoop | None = None,
    databases: Iterable[Database] = (),
    library: Shelves | None = None,
    tracer: Tracer | None = None,
) -> Session:
    """Open a session on a copy of `workspace` (an empty one when None).

    `isolation` is "auto", "docker" or "bubblewrap". `image` names a Docker image and `python` an interpreter on
    the host for bubblewrap; None means the default. `policy` is a Policy, the
    name of a preset ("analysis") or a policy file. `protect` are globs, besides the policy's, of paths in the
    workspace that no action may change, such as "data/raw/**" (policies/protection.py); `exclude` are globs of paths
    that are not brought in, and that commit never touches (policies/exclusion.py). `state` is the folder that sessions
    are kept in. `progress` is told, as an `Importing`, how far the workspace is staged and kept for the first time.
    With `keep` the session's files and snapshots outlive it, for `mulligan diff`; `mulligan forget` removes them.
    `approve` is an async function that is given a `Question` where the policy says `ask`, and returns an `Answer`; it
    is awaited on a thread of its own. Without it, what would be asked about is denied.
    `staging` is "auto" (a large folder is laid beneath an overlay where that can be had, as root; what you change in it
    meanwhile shows through), "copy", or "overlay"; `report.workspace` says which it was, and why.
    `kernel` names a kernelspec in the image or the python, for actions in another language than Python: their files
    are taken back, and their memory is not.
    `tools` are functions of yours that the code inside may call, `from tools import send_invoice`; they run here, each
    call on a thread of its own, coroutine functions on `tools_loop` or a loop of their own (docs/tools.md).
    `databases` are those that its actions may use, `from databases import shop`; what they write there is taken back by
    undo and committed by `commit` (docs/databases.md).
    `library` is a folder of routines, or several of which the first has precedence, for `from actions import NAME`;
    which of them may be used is the policy's `library` section to say, and all of them where no policy is given.
    `tracer` is an OpenTelemetry tracer, which has the session as spans when it is closed (runtime/tracing.py).

    Raises PolicyError for a broken glob or policy, or for one with a rule that would not be enforced;
    WorkspaceInvalid, ToolInvalid, DatabaseLost, DatabaseRefused, NoIsolation, ImageMissing, ImageUnusable,
    SelfTestFailed.
    """
    from mulligan.runtime.library.given import Given

    rules, excluded = protecting(policy, protect), Exclusion(exclude)
    sessions = sessions_folder(None if state is None else Path(state))
    remove_remains(sessions)
    interpreter = None if python is None else Path(python)
    order = Order(
        isolation,
        image,
        interpreter,
        grant_limits(rules),
        judge=grant_network(rules),
        asking=Asking(rules.approvals, approve, Standing.of(policy)),
        budgets=rules.budgets,
        tracer=tracer,
        secrets=grant_secrets(rules),
        kernel=kernel or "",
        offer=offer_of(tools),
        databases=tuple(databases),
        tool_rules=None if policy is None else rules,
        loop=tools_loop,
        library=None if library is None else Given.of(library, rules, state, by_name=policy is None),
    )
    task = Task(None if workspace is None else Path(workspace), rules, progress, keep, excluded, staging)
    return make_session(sessions, partial(Session._open, order=order, task=task))


def offer_of(tools: Offered) -> Offer | None:
    """None where there are none: most sessions have none, and do not load what tools take. Raises ToolInvalid."""
    if tools == ():
        return None
    from mulligan.runtime.tools import offer

    return offer(tools)


def _with_statements(offer: Offer | None, databases: Databases | None) -> Offer | None:
    """What is offered, and a function for each database."""
    if databases is None:
        return offer
    from mulligan.sandbox.tools.tool import Offer

    own, holds = (offer.tools.values(), offer.holds) if offer else ((), ())
    return Offer([*own, *databases.tools()], databases.names, holds)


def make_session(sessions: Path, job: Callable[[Session], None]) -> Session:
    """A new session in the folder `sessions`, with `job` done on its own thread; of one that fails nothing is left."""
    id = secrets.token_hex(6)
    with ExitStack() as resources:
        session = Session(id, Folders(sessions / id), resources)
        try:
            session._thread.submit(job, session).result()
        except BaseException:
            session._abandon()
            raise
        session._resources = resources.pop_all()
    return session


async def open_async(
    workspace: str | os.PathLike[str] | None = None,
    *,
    isolation: str = "auto",
    image: str | None = None,
    python: str | os.PathLike[str] | None = None,
    policy: Policy | str | os.PathLike[str] | None = None,
    protect: Sequence[str] = (),
    exclude: Sequence[str] = (),
    state: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    keep: bool = False,
    approve: Approve | None = None,
    staging: str = "auto",
    kernel: str | None = None,
    tools: Offered = (),
    databases: Iterable[Database] = (),
    library: Shelves | None = None,
    tracer: Tracer | None = None,
) -> AsyncSession:
    """As `open`, for event loops; `await` it, or use it in `async with await mulligan.aopen(...)`. `approve`, and tools
    that are coroutine functions, are awaited on the loop that this is called on."""
    loop = asyncio.get_running_loop()
    job = partial(
        open_session,
        workspace,
        isolation=isolation,
        image=image,
        python=python,
        policy=policy,
        protect=protect,
        exclude=exclude,
        state=state,
        progress=progress,
        keep=keep,
        approve=None if approve is None else on_loop(approve, loop),
        staging=staging,
        kernel=kernel,
        tools=tools,
        tools_loop=loop,
        databases=databases,
        library=library,
        tracer=tracer,
    )
    return AsyncSession(await asyncio.to_thread(job))


def protecting(policy: Policy | str | os.PathLike[str] | None, globs: Sequence[str]) -> Policy:
    """The policy that a session is opened with. Raises PolicyError, also where part of it would not be enforced."""
    if isinstance(globs, str):
        raise PolicyError(f"protect is a list of globs, not {globs!r}", hint=f"write protect=[{globs!r}]")
    policy = Policy() if policy is None else policy
    if not isinstance(policy, Policy):
        policy = find_policy(Path(policy) if isinstance(policy, os.PathLike) else policy)
    protect = (*policy.files.protect, *map(check_glob, globs))
    rules = policy.model_copy(update={"files": policy.files.model_copy(update={"protect": protect})})
    check_enforced(rules)
    return rules


def _obstacle(task: Task, engine: Engine) -> str:
    """Why the user's folder cannot lie beneath this session, or ""."""
    if task.keep:
        return "the session's files are to be kept"
    if task.policy.files.protect or bounds_outcomes(task.policy):
        return "what you change in it would be taken for an action's, which the policy bounds"
    if not engine_sees_mounts(engine.name):
        return "the engine has mounts of its own, and does not see ours"
    return ""


def _remove_files(folders: Folders) -> None:
    """Everything but the ledger, which is the session's history, and the record of its commits."""
    if not (folders.root / KEPT).exists():
        remove_files(folders.root)
    if not folders.ledger.exists() or (folders.root / WAITING).exists():
        remove_folder(folders.root)


def _commit_record(done: Commit) -> dict[str, object]:
    applied = [f"{each.did} {each.path.decode('utf-8', 'backslashreplace')}" for each in done.applied[:200]]
    conflicts = [each.path.decode("utf-8", "backslashreplace") for each in done.conflicts[:200]]
    told = {"applied": applied, "conflicts": conflicts, "count": len(done.applied)}
    said = {
        "databases": list(done.databases),
        "sent": [str(each) for each in done.sent],
        "held": [str(each) for each in done.held],
    }
    return told | {key: lines for key, lines in said.items() if lines}
