"""A session's databases, as its tools and its story see them.

To the code inside each is a function of the host, `from tools import shop`, or a connection in the manner of Python's
drivers, `from databases import shop`. Statements are taken only while an action runs: what came between two actions
would belong to the state after neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from mulligan.policies.asking import judge_database
from mulligan.policies.decision import Decision, Finding
from mulligan.policies.policy import Policy
from mulligan.runtime.databases.broker import Broker
from mulligan.runtime.databases.database import Database
from mulligan.runtime.errors import DatabaseLost
from mulligan.sandbox.errors import ToolInvalid
from mulligan.sandbox.tools.declared import tool
from mulligan.sandbox.tools.errors import Denied, Refused
from mulligan.sandbox.tools.tool import Tool

#: asks a person whether a statement is kept, given its database, its text, the rule that asks, and what says whether
#: nobody needs the answer any more
Ask = Callable[[str, str, Finding, Callable[[], bool]], Finding]


@dataclass(frozen=True, slots=True)
class Rows:
    """What a statement gave: the names of its columns, its rows, how many it returned or changed (-1 where that is not
    told), and the server's word for it, such as "INSERT 0 1"."""

    columns: list[str]
    rows: list[tuple[Any, ...]]
    count: int
    status: str


class Databases:
    """From any thread; `close` may be repeated."""

    def __init__(self, handed: Iterable[Database], policy: Policy | None) -> None:
        """Connects to each. Raises DatabaseLost, DatabaseRefused, ToolInvalid. Without a policy, what was handed over
        may be used."""
        self._policy, self._handed = policy, tuple(handed)
        self._brokers: dict[str, Broker] = {}
        self._step: int | None = None
        self.ask: Ask = lambda name, text, finding, gone: finding
        for database in self._handed:
            if database.name in self._brokers:
                raise ToolInvalid(f"two databases are called {database.name}", hint="give one another name")
            self._brokers[database.name] = Broker(database)
        try:
            for broker in self._brokers.values():
                broker.open()
        except BaseException:
            self.close()
            raise

    def __contains__(self, name: str) -> bool:
        return name in self._brokers

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._brokers)

    @property
    def taking(self) -> bool:
        """Whether an action runs."""
        return self._step is not None

    def tools(self) -> list[Tool]:
        """The functions that the code inside calls."""
        return [
            Tool.of(tool(timeout=database.timeout)(self._function(broker)), broker.name)
            for database, broker in zip(self._handed, self._brokers.values(), strict=True)
        ]

    def _function(self, broker: Broker) -> Callable[..., Rows]:
        def run(statement: str, parameters: list[Any] | dict[str, Any] | None = None) -> Rows:
            step = self._step
            if step is None:
                raise Refused(_LATE)

            def gone() -> bool:
                return self._step != step

            def in_time() -> None:
                if gone():
                    raise Refused(_LATE)

            def may(kinds: frozenset[str]) -> None:
                in_time()
                self._may(broker.name, statement, kinds, gone)

            answer = broker.run(step, statement, parameters, may, in_time)
            return Rows(
                columns=list(answer.columns), rows=list(answer.rows), count=answer.count, status=answer.status
            )

        run.__doc__ = _DOC.format(name=broker.name)
        return run

    def _may(self, name: str, text: str, kinds: frozenset[str], gone: Callable[[], bool]) -> None:
        """Raises Denied. What would be held until the commit is held by the transaction anyway."""
        for kind in sorted(kinds):
            finding = self._judge(name, kind)
            if finding.decision is Decision.ASK:
                finding = self.ask(name, text, finding, gone)
            if finding.decision not in (Decision.ALLOW, Decision.HOLD):
                instead = f"; instead: {finding.instead}" if finding.instead else ""
                raise Denied(
                    f"{name} was denied by rule {finding.rule}: {finding.reason}{instead}; it was taken back"
                )

    def _judge(self, name: str, kind: str) -> Finding:
        if self._policy is None:
            return HANDED_OVER
        finding = judge_database(self._policy, name, kind).deciding[0]
        place = finding.place.rpartition("/")[2]
        rule = finding.rule.removeprefix("databases: ")
        return replace(finding, rule=f"{rule} ({place})" if place else rule)

    def leave(self, name: str) -> None:
        """Nobody waits for its statement any more."""
        self._brokers[name].cancel()

    # -- for the story -----------------------------------------------------------------------------------------

    def begin(self, step: int) -> None:
        """An action begins."""
        self._step = step

    def end(self) -> None:
        """It has ended: what still runs is ended too, and nothing comes after."""
        self._step = None
        for broker in self._brokers.values():
            broker.settle()

    def go_to(self, way: Sequence[int]) -> tuple[str, ...]:
        """Make of each what the steps on the way from the root made of it. What could not be, in words."""
        return tuple(line for broker in self._brokers.values() for line in broker.go_to(way))

    def commit(self) -> tuple[str, ...]:
        """Commit each that was written to; their names. Raises DatabaseLost: those before it are committed."""
        done: list[str] = []
        for name, broker in self._brokers.items():
            if broker.pending:
                try:
                    broker.commit()
                except DatabaseLost as error:
                    before = f"; {', '.join(done)} had been committed and stays so" if done else ""
                    raise DatabaseLost(f"{error.message}{before}", hint=error.hint) from None
                done.append(name)
        return tuple(done)

    def close(self) -> None:
        """What is not committed is rolled back."""
        self._step = None
        for broker in self._brokers.values():
            with suppress(DatabaseLost):
                broker.close()


_LATE = "no action runs: what is written between two would belong to neither"
HANDED_OVER = Finding(
    decision=Decision.ALLOW, rule="databases", reason="it was handed over, and there is no policy"
)
_DOC = """Run one SQL statement in the PostgreSQL database {name}: SELECT, INSERT, UPDATE, DELETE, CREATE, ... Places
are `%s` with a list of parameters, `%(name)s` with a dict. Its `.rows` are tuples, its `.columns` their names. All
of it lies in one transaction, which is taken back by undo and committed when the session is."""
