"""The databases of a session: which statements ran in which step, and back and forth between steps.

All that a session writes to a database lies in one transaction, with a savepoint before each step that used it. Going
back is `ROLLBACK TO`, which the server does exactly. Going forward again is not: what was rolled back is gone, so its
statements are run again, and whatever then comes out otherwise is named. A commit of the session commits the
transaction; what came before it can be taken back no more, and that is named too.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from mulligan.runtime.databases.database import Database
from mulligan.runtime.databases.execute import Answer, Parameters
from mulligan.runtime.databases.postgres import Transaction
from mulligan.runtime.errors import DatabaseLost, DatabaseRefused, StatementFailed
from mulligan.sandbox.printable import one_line

#: statements of a session, and characters of their texts, that are kept to be run again
_MOST, _MOST_TEXT = 10_000, 16 << 20
_SHOWN = 20
#: seconds in which the server ends what is cancelled, before the connection is broken
_PATIENCE = 15.0


@dataclass(frozen=True, slots=True)
class Ran:
    """A statement that was kept, and what it gave."""

    text: str
    parameters: Parameters
    digest: bytes


@dataclass(slots=True)
class _Mark:
    """A savepoint before a step, with the sequences as they were."""

    step: int
    savepoint: str
    sequences: Mapping[str, int]


class Broker:
    """One database of one session. From any thread; one statement at a time."""

    def __init__(self, database: Database) -> None:
        self.name = database.name
        self._transaction = Transaction(database.name, database.url, most_rows=database.rows)
        self._lock = threading.Lock()
        #: the savepoints of the transaction, oldest first
        self._marks: list[_Mark] = []
        self._count = 0
        self._ran: dict[int, list[Ran]] = {}
        #: whether tables were defined: rows of temporary ones may be written by what only reads otherwise
        self._defined = False
        #: steps whose statements are no longer all known
        self._forgotten: set[int] = set()
        self._kept = [0, 0]
        self._wrote: set[int] = set()
        self._timeout = database.timeout
        #: steps whose writes went with a connection, and were not run again
        self._lost: set[int] = set()
        #: steps of which something was committed, for good
        self._committed: set[int] = set()

    def open(self) -> None:
        """Raises DatabaseLost, DatabaseRefused."""
        with self._lock:
            self._transaction.open()

    def cancel(self) -> None:
        self._transaction.cancel()

    def settle(self) -> None:
        """End what runs, and wait until it has ended. A server that does not end it is left."""
        patient = time.monotonic() + _PATIENCE
        while not self._lock.acquire(timeout=0.1):
            if time.monotonic() < patient:
                self._transaction.cancel()
            else:
                self._transaction.sever()
        self._lock.release()

    def close(self) -> None:
        """What is not committed is rolled back. May be repeated."""
        self.settle()
        with self._lock:
            self._transaction.close()

    def run(
        self,
        step: int,
        text: str,
        parameters: Parameters,
        may: Callable[[frozenset[str]], None],
        begins: Callable[[], None] = lambda: None,
    ) -> Answer:
        """As Transaction.run; it belongs to this step, which is the last one. After a lost connection the first
        statement says that what was not committed is gone, and those after it begin anew. `begins` is called when its
        turn has come, and raises where it comes too late."""
        with self._lock:
            begins()
            if not self._transaction.is_open:
                self._transaction.open()
            try:
                if not self._marks or self._marks[-1].step != step:
                    self._mark(step)
                answer = self._transaction.run(text, parameters, may)
            except DatabaseLost as error:
                raise self._gone(error) from None
            self._note(step, text, parameters, answer)
            return answer

    def _mark(self, step: int) -> None:
        self._count += 1
        savepoint = f"step_{self._count}"
        self._marks.append(_Mark(step, savepoint, self._transaction.mark(savepoint)))

    def _note(self, step: int, text: str, parameters: Parameters, answer: Answer) -> None:
        self._defined |= "define" in answer.kinds
        wrote = answer.kinds != {"read"} or self._defined
        if wrote:
            self._wrote.add(step)
        size = len(text) + len(repr(parameters))
        if self._kept[0] >= _MOST or self._kept[1] + size > _MOST_TEXT:
            self._forgotten.add(step)
            return
        self._kept = [self._kept[0] + 1, self._kept[1] + size]
        self._ran.setdefault(step, []).append(Ran(text, parameters, _digest(answer)))

    def _forget_transaction(self) -> str:
        """The connection broke: all that was not committed is gone. Of which steps, in words."""
        wrote = [mark.step for mark in self._marks if mark.step in self._wrote]
        self._lost.update(wrote)
        steps = [str(step) for step in wrote]
        self._marks.clear()
        return f"; with it what step {', '.join(steps[:_SHOWN])} wrote" if steps else ""

    def _gone(self, error: DatabaseLost) -> DatabaseLost:
        return DatabaseLost(
            f"{error.message}{self._forget_transaction()}",
            hint="undo to before it and redo: that runs the statements again; the next statement connects anew",
        )

    # -- back and forth ----------------------------------------------------------------------------------------

    def go_to(self, way: Sequence[int]) -> tuple[str, ...]:
        """Make the database what the steps on the way from the root made of it. What could not be, in words."""
        with self._lock:
            try:
                return self._go_to(way)
            except DatabaseLost as error:
                return (f"{self._gone(error).message}: what was not committed is gone",)
            except StatementFailed as error:  # all is rolled back then; what is on the way is run again
                self._transaction.close()
                gone = f"{error.message}; what was not committed was rolled back{self._forget_transaction()}"
                return (f"database {self.name}: {gone}", *self._go_to(way))

    def _go_to(self, way: Sequence[int]) -> tuple[str, ...]:
        wanted = set(way)
        stands = [
            f"database {self.name}: what step {step} wrote was committed and stays"
            for step in sorted(self._committed - wanted)[:_SHOWN]
        ]
        keep = 0
        while keep < len(self._marks) and self._marks[keep].step in wanted:
            keep += 1
        if keep < len(self._marks):
            mark = self._marks[keep]
            stands += self._transaction.back_to(mark.savepoint, mark.sequences)
            del self._marks[keep:]
        here = {mark.step for mark in self._marks} | self._committed
        for step in way:
            if step not in here and step in self._wrote:
                stands += self._again(step)
        self._lost.clear()
        return tuple(stands)

    def _again(self, step: int) -> list[str]:
        """Run a step's statements again."""
        if not self._transaction.is_open:
            self._transaction.open()
        self._mark(step)
        said = [f"database {self.name}: the statements of step {step} were run again"]
        if step in self._forgotten:
            said.append(f"database {self.name}: not all statements of step {step} were kept to be run again")
        for ran in self._ran.get(step, ()):
            try:
                with self._in_time():
                    answer = self._transaction.run(ran.text, ran.parameters, lambda kinds: None)
            except (StatementFailed, DatabaseRefused) as error:
                said.append(f"database {self.name}: {_short(ran.text)} failed now: {error.message}")
                continue
            if _digest(answer) != ran.digest:
                said.append(f"database {self.name}: {_short(ran.text)} gave something else now")
        return said[:_SHOWN]

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """A statement that takes longer is cancelled: it may wait for somebody's lock now."""
        timer = threading.Timer(self._timeout, self._transaction.cancel)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    @property
    def pending(self) -> bool:
        """Whether there is something to commit, or should be."""
        return bool(self._lost) or any(mark.step in self._wrote for mark in self._marks)

    def commit(self) -> None:
        """Raises DatabaseLost; whether it was committed is then not known, but where steps are missing it was not."""
        with self._lock:
            if self._lost:
                steps = ", ".join(map(str, sorted(self._lost)[:_SHOWN]))
                raise DatabaseLost(
                    f"database {self.name}: not committed: what step {steps} wrote went with a connection that broke",
                    hint="undo to before it and redo: that runs the statements again; then commit",
                )
            if not self._marks:
                return
            try:
                self._transaction.commit()
            except StatementFailed as error:  # a constraint that was deferred: the server has rolled all back
                self._transaction.close()
                raise DatabaseLost(
                    f"database {self.name}: not committed, and rolled back: {error.message}"
                    f"{self._forget_transaction()}",
                    hint="undo to before the statements that broke it, and redo what was right",
                ) from None
            except DatabaseLost as error:
                raise self._gone(error) from None
            self._committed |= {mark.step for mark in self._marks if mark.step in self._wrote}
            self._marks.clear()


def _digest(answer: Answer) -> bytes:
    """Of what a statement gave; the order of rows is part of it."""
    text = repr((answer.columns, answer.rows, answer.count, answer.status))
    return hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=16).digest()


def _short(text: str) -> str:
    line = one_line(" ".join(text.split()))
    return repr(line if len(line) <= 80 else f"{line[:80]}...")
