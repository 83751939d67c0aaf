"""One transaction with PostgreSQL, in which every statement is on trial.

What a statement does is not guessed from its text. It is first run where the server lets nothing be written; if it
wants to write, it is run again in a savepoint, and the server's own counts of this transaction say whether rows were
inserted, updated or deleted, or tables defined. Who judges that may still have it rolled back.

The text is only looked at to keep the transaction whole: what would end or nest it is refused by its first word, and
the server takes but one at a time (execute.py). What a procedure or a DO block might end,
the server refuses by itself inside of a transaction.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import errors as pg

from mulligan.runtime.databases.execute import Answer, Parameters, TooMuch, execute
from mulligan.runtime.errors import DatabaseLost, DatabaseRefused, StatementFailed
from mulligan.sandbox.printable import one_line

#: what may begin a statement, and the kind (policies/patterns.py) that its text alone says it is, "" for what only the
#: server can tell
_KINDS = {
    **dict.fromkeys(("SELECT", "WITH", "VALUES", "TABLE", "SHOW", "EXPLAIN", "MERGE", "CALL", "DO"), ""),
    "INSERT": "insert",
    "UPDATE": "update",
    "DELETE": "delete",
    **dict.fromkeys(("CREATE", "ALTER", "DROP", "TRUNCATE", "COMMENT", "REFRESH", "ANALYZE"), "define"),
}
#: white space and comments; those of the second kind nest, which one level of at a time is looked through
_SPACE = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|\()+")
_LONGEST = 1_000_000
_ODD = re.compile("[\ud800-\udfff]")

#: rows that this transaction has inserted, updated and deleted, in tables and in the catalogs (schema 11), which tables
#: are defined by. All names are whole here and below: what an agent calls pg_class, or =, is not asked
_COUNTS = """
SELECT relnamespace OPERATOR(pg_catalog.=) 11::pg_catalog.oid,
       pg_catalog.sum(pg_catalog.pg_stat_get_xact_tuples_inserted(oid))::pg_catalog.int8,
       pg_catalog.sum(pg_catalog.pg_stat_get_xact_tuples_updated(oid))::pg_catalog.int8,
       pg_catalog.sum(pg_catalog.pg_stat_get_xact_tuples_deleted(oid))::pg_catalog.int8
FROM pg_catalog.pg_class WHERE relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'm']::pg_catalog."char"[]) GROUP BY 1
"""
_KEPT_OUTSIDE = """
SELECT pg_catalog.format('%I.%I', schemaname, sequencename), last_value FROM pg_catalog.pg_sequences
WHERE pg_catalog.has_schema_privilege(schemaname::pg_catalog.text, 'USAGE') ORDER BY 1 LIMIT 1000
"""
_WHO = """
SELECT rolsuper OR rolcreaterole OR rolreplication OR rolbypassrls
       OR pg_has_role(rolname, 'pg_execute_server_program', 'MEMBER')
       OR pg_has_role(rolname, 'pg_write_server_files', 'MEMBER')
       OR pg_has_role(rolname, 'pg_read_server_files', 'MEMBER'), rolname
FROM pg_roles WHERE rolname = current_user
"""
#: bytes of values that one statement may give
_MOST_BYTES = 64 << 20


class Transaction:
    """From one thread at a time; `cancel` from any."""

    def __init__(self, name: str, url: str, *, most_rows: int) -> None:
        self.name = name
        self._url = url
        self._most = most_rows
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def open(self) -> None:
        """Connect and begin. Raises DatabaseRefused for a role that could do what no rollback takes back,
        DatabaseLost where nobody answers."""
        try:
            connection = psycopg.connect(
                self._url, autocommit=True, connect_timeout=10, prepare_threshold=None
            )
        except psycopg.Error as error:
            raise self._lost(error) from None
        try:
            row = connection.execute(_WHO).fetchone()
            if row is None or row[0]:
                role = one_line(str(row[1])) if row else "unknown"
                raise DatabaseRefused(
                    f"database {self.name}: the role {role} may do what no rollback takes back",
                    hint="use one that is neither superuser nor may make roles, replicate, or read and write the"
                    " server's files: CREATE ROLE agent LOGIN, and GRANT it what actions need",
                )
            connection.execute("SET idle_in_transaction_session_timeout TO 0")
            connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        except psycopg.Error as error:
            connection.close()
            raise self._lost(error) from None
        except DatabaseRefused:
            connection.close()
            raise
        with self._lock:
            self._connection = connection

    def close(self) -> None:
        """All that is not committed is rolled back. May be repeated."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()

    def cancel(self) -> None:
        """End the statement that runs, if one does."""
        with self._lock:
            connection = self._connection
        if connection is not None:
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=5)

    def sever(self) -> None:
        """Break the connection, where the server does not even cancel; whoever waits for it is told. From any."""
        with self._lock:
            connection = self._connection
        if connection is not None:
            with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as sock:
                sock.shutdown(socket.SHUT_RDWR)

    # -- savepoints --------------------------------------------------------------------------------------------

    def mark(self, savepoint: str) -> Mapping[str, int]:
        """Make a savepoint; what no rollback moves is told as it stands: the last value of each sequence in sight."""
        with self._alive() as connection:
            connection.execute(f"SAVEPOINT {savepoint}".encode())
            return {name: value for name, value in connection.execute(_KEPT_OUTSIDE) if value is not None}

    def back_to(self, savepoint: str, then: Mapping[str, int]) -> tuple[str, ...]:
        """Take back all since the savepoint, which stays. What no rollback moves, in words; `then` is what `mark`
        told."""
        with self._alive() as connection:
            try:
                now = dict(connection.execute(_KEPT_OUTSIDE))
            except psycopg.Error:  # a cancel that came late, or the transaction had failed before
                now = None
            connection.execute(f"ROLLBACK TO SAVEPOINT {savepoint}".encode())
            here = {name for name, _ in connection.execute(_KEPT_OUTSIDE)}
        if now is None:
            return (f"database {self.name}: which sequences were moved is not known",)
        return tuple(
            f"database {self.name}: sequence {one_line(str(name))} stays at {value:,}"
            for name, value in now.items()
            if name in here and value is not None and value != then.get(name)
        )

    def commit(self) -> None:
        """Make all of it last, and begin again. Raises DatabaseLost; then whether it was committed is not known.
        Raises StatementFailed where the server has rolled all back instead."""
        with self._alive() as connection:
            if (said := connection.execute("COMMIT").statusmessage) != "COMMIT":
                raise StatementFailed(f"the server said {one_line(said or 'nothing')[:100]}")
            connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")

    # -- statements --------------------------------------------------------------------------------------------

    def run(self, text: str, parameters: Parameters, may: Callable[[frozenset[str]], None]) -> Answer:
        """Run one statement; `may` is called with the kinds of what it did before that is kept, and raises what takes
        it back. Raises StatementFailed, DatabaseRefused, DatabaseLost, and what `may` raises; then nothing of the
        statement remains."""
        kind = _kind(text)
        may_read = True
        with self._alive() as connection:
            try:
                connection.execute("SAVEPOINT mulligan_try; SET LOCAL transaction_read_only TO on")
                answer = self._execute(connection, text, parameters)
            except pg.ReadOnlySqlTransaction:
                may_read = False
                connection.execute("ROLLBACK TO SAVEPOINT mulligan_try")
            except BaseException as error:
                self._abandon(connection, error)
                raise
            if may_read:
                return self._keep(connection, answer, frozenset({"read"}), may)
            try:
                before = self._counts(connection)
                answer = self._execute(connection, text, parameters)
                kinds = _kinds_of(kind, before, self._counts(connection))
            except BaseException as error:
                self._abandon(connection, error)
                raise
            return self._keep(connection, answer, kinds, may)

    def _execute(
        self, connection: psycopg.Connection[tuple[Any, ...]], text: str, parameters: Parameters
    ) -> Answer:
        try:
            return execute(connection, text, parameters, most_rows=self._most, most_bytes=_MOST_BYTES)
        except TooMuch as error:
            raise StatementFailed(
                f"database {self.name}: {error}", hint="ask for fewer rows: LIMIT, or an aggregate"
            ) from None
        except psycopg.ProgrammingError as error:
            if error.sqlstate is not None:
                raise
            raise StatementFailed(one_line(str(error))[:1000]) from None

    def _keep(
        self,
        connection: psycopg.Connection[tuple[Any, ...]],
        answer: Answer,
        kinds: frozenset[str],
        may: Callable[[frozenset[str]], None],
    ) -> Answer:
        try:
            may(kinds)
            connection.execute("RELEASE SAVEPOINT mulligan_try")
        except BaseException as error:
            self._abandon(connection, error)
            raise
        return replace(answer, kinds=kinds)

    def _abandon(self, connection: psycopg.Connection[tuple[Any, ...]], error: BaseException) -> None:
        """Take the statement on trial back. A connection that is gone says so where it is used next."""
        if not connection.closed:
            with suppress(psycopg.Error):
                connection.execute("ROLLBACK TO SAVEPOINT mulligan_try")
                connection.execute("RELEASE SAVEPOINT mulligan_try")

    def _counts(self, connection: psycopg.Connection[tuple[Any, ...]]) -> tuple[int, ...]:
        own, others = (0, 0, 0), (0, 0, 0)
        for is_own, *counts in connection.execute(_COUNTS, prepare=True):
            if is_own:
                own = tuple(counts)
            else:
                others = tuple(counts)
        return (*others, sum(own))

    @contextmanager
    def _alive(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """The connection; what its server says is told in our words, without where it is."""
        connection = self._connection
        if connection is None:
            raise DatabaseLost(f"database {self.name}: there is no connection")
        try:
            yield connection
        except psycopg.Error as error:
            if connection.closed or connection.broken:
                self.close()
                raise self._lost(error) from None
            primary = error.diag.message_primary or str(error).partition("\n")[0]
            raise StatementFailed(one_line(primary)[:1000], state=error.sqlstate or "") from None

    def _lost(self, error: psycopg.Error) -> DatabaseLost:
        said = type(error).__name__ if error.sqlstate is None else (error.diag.message_primary or "")
        return DatabaseLost(
            f"database {self.name}: no connection ({one_line(said)[:300]})",
            hint="is the server up, and are its address and password right? What was not committed is gone",
        )


def _kind(text: str) -> str:
    """What the first word says. Raises DatabaseRefused where a statement must not begin so."""
    if len(text) > _LONGEST or (not text.isascii() and _ODD.search(text)) or "\0" in text:
        raise DatabaseRefused(
            "a statement that is too long, or holds what no text of a database does",
            hint=f"at most {_LONGEST:,} characters, no NUL and no lone surrogate",
        )
    word = re.match(r"[A-Za-z]*", text[_start(text) :])
    first = word[0].upper() if word else ""
    if first not in _KINDS:
        raise DatabaseRefused(
            f"no statement may begin with {one_line(first or text[:20])!r} here",
            hint="the session holds the transaction: it commits when the session commits, and undo takes it back; use"
            " SELECT, INSERT, UPDATE, DELETE, MERGE, CREATE, ALTER, DROP and their like, one at a time",
        )
    return _KINDS[first]


def _start(text: str) -> int:
    """Where the first word begins: after white space, comments and parentheses."""
    at = 0
    while True:
        if found := _SPACE.match(text, at):
            at = found.end()
        elif text.startswith("/*", at):
            at = _end_of_comment(text, at)
        else:
            return at


def _end_of_comment(text: str, at: int) -> int:
    depth = 0
    for found in re.compile(r"/\*|\*/").finditer(text, at):
        depth += 1 if found[0] == "/*" else -1
        if depth == 0:
            return found.end()
    return len(text)


def _kinds_of(kind: str, before: tuple[int, ...], after: tuple[int, ...]) -> frozenset[str]:
    """What a statement did that wanted to write: what its text says, and what the server has counted. One that leaves
    no trace in the counts, a sequence that was moved, say, is an update."""
    names = ("insert", "update", "delete", "define")
    found = {name for name, old, new in zip(names, before, after, strict=True) if new != old}
    if kind:
        found.add(kind)
    return frozenset(found or {"update"})
