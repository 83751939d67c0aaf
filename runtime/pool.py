"""Sandboxes that are started before they are needed, so that a session opens in milliseconds.

What waits is a session without a task: its engine, its self-test, its kernel, its store and its ledger are there, and
its workspace is empty. Taking it up copies the user's folder into the workspace, which the sandbox has mounted
already, and takes the first snapshot. So a session from the pool is one like any other, with a sandbox and a uid of its
own; when it is closed its sandbox ends with it. Nothing is ever handed on (docs/decisions/0018).

    with mulligan.Pool(size=4, warm="import pandas") as pool:
        with pool.open("data/") as session:
            session.run("df = pandas.read_csv('sales.csv')")

A pool that is exhausted starts a sandbox there and then, as `mulligan.open` does; it takes as long as that.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
import warnings
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mulligan.policies.errors import PolicyError
from mulligan.policies.exclusion import Exclusion
from mulligan.policies.policy import Policy
from mulligan.runtime.approvals import Asking
from mulligan.runtime.bringing import STARTED, check_staging
from mulligan.runtime.errors import PoolClosed
from mulligan.runtime.grants import grant_limits, grant_network, grant_secrets
from mulligan.runtime.importing import Progress
from mulligan.runtime.past import sessions_folder
from mulligan.runtime.question import Approve
from mulligan.runtime.remains import remove_remains
from mulligan.runtime.session import AsyncSession, Order, Session, Task, make_session, offer_of, protecting
from mulligan.runtime.standing import Standing
from mulligan.sandbox.engines import choose
from mulligan.sandbox.errors import MulliganError

if TYPE_CHECKING:
    from mulligan.runtime.tools import Offered

#: sandboxes that are started at the same time in the background
FILLERS = 2
#: seconds without an `open` before the pool is filled up again, unless nothing is left: who opens comes first
CALM = 0.25
#: seconds between two looks at those that wait
LOOKING = 5.0
#: seconds after a start that failed, doubled at each further one
RETRY, RARELY = 1.0, 60.0
#: seconds that a waiting sandbox has to answer before it is handed out
ANSWERING = 1.0
_ANOTHER = "make a pool with this policy, or open the session with mulligan.open()"


def _counted(policy: Policy) -> tuple[int | None, int | None]:
    return policy.budgets.messages, policy.budgets.bytes_out


class PoolWarning(RuntimeWarning):
    """The pool cannot be filled up; what waited already is handed out all the same."""


class Pool:
    """Keeps `size` started sandboxes ready. A context manager, also for `async with`; filled from its beginning on.

    `isolation`, `image`, `python`, `policy`, `state`, `approve`, `tools` and `kernel` are those of `mulligan.open`.
    `warm` is code that every session has run before its first action: imports, mostly. Every method may be called from
    any thread.
    """

    def __init__(
        self,
        size: int = 2,
        *,
        isolation: str = "auto",
        image: str | None = None,
        python: str | os.PathLike[str] | None = None,
        policy: Policy | str | os.PathLike[str] | None = None,
        state: str | os.PathLike[str] | None = None,
        warm: str = "",
        approve: Approve | None = None,
        tools: Offered = (),
        kernel: str | None = None,
    ) -> None:
        if size < 1:
            raise ValueError(f"a pool's size is a number from 1 on, not {size!r}")
        self.size = size
        self._policy = protecting(policy, ())
        where = None if python is None else Path(python)
        judge = grant_network(self._policy)
        asking = Asking(self._policy.approvals, approve, Standing.of(policy))
        self._order = Order(
            isolation,
            image,
            where,
            grant_limits(self._policy),
            warm,
            judge,
            asking,
            budgets=self._policy.budgets,
            secrets=grant_secrets(self._policy),
            kernel=kernel or "",
            offer=offer_of(tools),
            tool_rules=None if policy is None else self._policy,
        )
        self._sessions = sessions_folder(None if state is None else Path(state))
        self._ready: deque[Session] = deque()
        self._starting = 0
        self._changed = threading.Condition()
        self._closed = True
        self._asked = -CALM
        self._failed: MulliganError | None = None
        self._reported = True
        self._retry, self._delay = 0.0, RETRY
        self._workers: ThreadPoolExecutor
        self._keeper: threading.Thread

    # -- opening ---------------------------------------------------------------------------------------------------

    def open(
        self,
        workspace: str | os.PathLike[str] | None = None,
        *,
        policy: Policy | str | os.PathLike[str] | None = None,
        protect: Sequence[str] = (),
        exclude: Sequence[str] = (),
        progress: Progress | None = None,
        keep: bool = False,
        staging: str = "auto",
    ) -> Session:
        """A session on a copy of `workspace`, in a sandbox that waits; in a new one where none does.

        `policy` is the pool's when None. Another may differ in all but what an engine enforces, for a sandbox that was
        started cannot be given other limits: PolicyError. Nothing can be laid beneath one either: with `staging`
        "overlay" this raises WorkspaceInvalid. Raises PoolClosed, and what `mulligan.open` does.
        Warns (PoolWarning), once for each reason, when the pool cannot be filled up in the background.
        """
        rules = protecting(self._policy if policy is None else policy, protect)
        self._check_limits(rules)
        source = None if workspace is None else Path(workspace)
        check_staging(
            source, staging, STARTED
        )  # also where one would be started now: what is told is one thing
        task = Task(source, rules, progress, keep, Exclusion(exclude), staging)
        while (session := self._take()) is not None:
            if self._is_sound(session):
                return self._hand_out(session, task)
            self._workers.submit(session._abandon)
        return make_session(self._sessions, partial(Session._open, order=self._order, task=task))

    async def aopen(
        self,
        workspace: str | os.PathLike[str] | None = None,
        *,
        policy: Policy | str | os.PathLike[str] | None = None,
        protect: Sequence[str] = (),
        exclude: Sequence[str] = (),
        progress: Progress | None = None,
        keep: bool = False,
        staging: str = "auto",
    ) -> AsyncSession:
        """As `open`, for event loops."""
        job = partial(
            self.open,
            workspace,
            policy=policy,
            protect=protect,
            exclude=exclude,
            progress=progress,
            keep=keep,
            staging=staging,
        )
        return AsyncSession(await asyncio.to_thread(job))

    def _check_limits(self, policy: Policy) -> None:
        wanted, given = grant_limits(policy), self._order.limits
        differing = [
            f"{name} is {getattr(given, name):,} in the pool and {getattr(wanted, name):,} here"
            for name in ("memory", "cpus", "pids", "open_files", "file_size")
            if getattr(wanted, name) != getattr(given, name)
        ]
        if differing:
            raise PolicyError(
                f"a started sandbox cannot be given other limits: {'; '.join(differing)}",
                hint=_ANOTHER,
            )
        if (policy.approvals, policy.secrets) != (self._policy.approvals, self._policy.secrets):
            raise PolicyError("a started sandbox cannot be given other approvals or secrets", hint=_ANOTHER)
        if policy.layers("network") != self._policy.layers("network"):
            raise PolicyError("a started sandbox cannot be given other network rules", hint=_ANOTHER)
        if _counted(policy) != _counted(self._policy):
            raise PolicyError("a started sandbox cannot be given other budgets of its network", hint=_ANOTHER)
        if self._order.offer is not None and policy.layers("tools") != self._policy.layers("tools"):
            raise PolicyError("a started sandbox cannot be given other rules for its tools", hint=_ANOTHER)

    def _take(self) -> Session | None:
        with self._changed:
            self._check_open()
            self._asked = time.monotonic()
            session = self._ready.popleft() if self._ready else None
            failed, self._reported = (None if self._reported else self._failed), True
            self._changed.notify_all()
        if failed is not None and session is not None:
            warnings.warn(f"the pool could not be filled up: {failed}", PoolWarning, stacklevel=3)
        return session

    def _is_sound(self, session: Session) -> bool:
        return session._do(lambda: session._confined.kernel.waits_unharmed(ANSWERING)).result()

    def _hand_out(self, session: Session, task: Task) -> Session:
        try:
            session._thread.submit(session._take_up, task).result()
        except BaseException:
            session._abandon()
            raise
        return session

    # -- filling ---------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> int:
        """How many sandboxes wait."""
        with self._changed:
            return len(self._ready)

    @property
    def failure(self) -> MulliganError | None:
        """Why the last start in the background failed; None when it did not. It is tried again by itself."""
        return self._failed

    def fill(self, timeout: float | None = None) -> int:
        """Wait until the pool is full, `timeout` seconds at the most; how many wait then. Raises what a start in the
        background raised."""
        with self._changed:
            self._check_open()
            self._asked = -CALM
            self._changed.notify_all()
            self._changed.wait_for(self._is_settled, timeout)
            if self._failed is not None and len(self._ready) < self.size:
                self._reported = True
                raise self._failed
            return len(self._ready)

    def _is_settled(self) -> bool:
        return self._closed or self._failed is not None or len(self._ready) >= self.size

    def _keep_full(self) -> None:
        """On a thread of its own, as long as the pool is open."""
        with suppress(MulliganError):  # what it is, the first start will say
            remove_remains(self._sessions)
            choose(self._order.isolation).reap()
        while (wait := self._see_to_it()) is not None:
            with self._changed:
                if not self._closed:
                    self._changed.wait(wait)

    def _see_to_it(self) -> float | None:
        """Begin what starts are due, and bury the dead; seconds until the next look, None when the pool is closed."""
        with self._changed:
            if self._closed:
                return None
            dead = [each for each in self._ready if not each._confined.kernel.connected()]
            for session in dead:
                self._ready.remove(session)
                self._workers.submit(session._abandon)
            wait = self._due() - time.monotonic()
            if wait > 0:
                return min(wait, LOOKING)
            while self._starting < FILLERS and len(self._ready) + self._starting < self.size:
                self._starting += 1
                self._workers.submit(self._start_one)
            return LOOKING

    def _due(self) -> float:
        """When the pool may be filled up."""
        calm = self._asked + CALM if self._ready else 0.0
        return max(calm, self._retry if self._failed is not None else 0.0)

    def _start_one(self) -> None:
        session: Session | None = None
        failed: MulliganError | None = None
        try:
            session = make_session(self._sessions, partial(Session._get_ready, order=self._order))
        except MulliganError as error:
            failed = error
        except Exception as error:
            failed = MulliganError(f"no sandbox could be started: {error!r}")
        with self._changed:
            self._starting -= 1
            self._note(failed)
            if session is not None and not self._closed:
                self._ready.append(session)
                session = None
            self._changed.notify_all()
        if session is not None:
            session._abandon()

    def _note(self, failed: MulliganError | None) -> None:
        self._reported = failed is None or (self._reported and str(failed) == str(self._failed))
        self._failed = failed
        if failed is None:
            self._delay = RETRY
        else:
            self._retry = time.monotonic() + self._delay
            self._delay = min(2 * self._delay, RARELY)

    # -- life ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the sandboxes that wait; sessions that were handed out live on. May be called more than once."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            waiting = list(self._ready)
            self._ready.clear()
            self._changed.notify_all()
        self._keeper.join()
        for done in [self._workers.submit(session._abandon) for session in waiting]:
            with suppress(MulliganError):
                done.result()
        self._workers.shutdown()

    def _check_open(self) -> None:
        if self._closed:
            raise PoolClosed(
                "the pool is not open", hint="use it in a block: with mulligan.Pool(...) as pool"
            )

    def __enter__(self) -> Self:
        with self._changed:
            if not self._closed:
                raise RuntimeError("the pool is open already")
            self._closed = False
        self._workers = ThreadPoolExecutor(FILLERS + 1, thread_name_prefix="mulligan-pool")
        self._keeper = threading.Thread(target=self._keep_full, name="mulligan-pool-keeper", daemon=True)
        self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)
