"""Statements that want out of their transaction, their rules or their database: each against a real server."""

from __future__ import annotations

import psycopg
import pytest

from mulligan.runtime.databases.broker import Broker
from mulligan.runtime.errors import DatabaseLost, DatabaseRefused, StatementFailed

Admin = psycopg.Connection[tuple[object, ...]]
WAYS_OUT = {
    "a commit": "COMMIT",
    "a commit behind comments": "/* SELECT /* nested */ 1 */ -- SELECT\n\tcommit",
    "a commit behind parentheses": "(COMMIT)",
    "an end": "END",
    "a rollback": "ROLLBACK",
    "an abort": "ABORT",
    "a savepoint of its own": "SAVEPOINT step_1",
    "the savepoint of the step": "RELEASE SAVEPOINT step_1",
    "a rollback to it": "ROLLBACK TO SAVEPOINT step_1",
    "the savepoint of the trial": "RELEASE mulligan_try",
    "two at once": "UPDATE t SET a = 5; COMMIT",
    "two at once, behind a quoted semicolon": "SELECT ';'; COMMIT",
    "a commit in a block": "DO $$ BEGIN COMMIT; END $$",
    "a commit that a block puts together": "DO $$ BEGIN EXECUTE 'COM' || 'MIT'; END $$",
    "a savepoint that a block puts together": "DO $$ BEGIN EXECUTE 'RELEASE SAVEPOINT step_1'; END $$",
    "a commit in two phases": "PREPARE TRANSACTION 'later'",
    "a prepared commit": "PREPARE p AS COMMIT",
    "a cursor": "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "a copy out": "COPY t TO STDOUT",
    "a copy in": "COPY t FROM STDIN",
    "a program of the server": "COPY t FROM PROGRAM 'id'",
    "a file of the server": "SELECT pg_read_file('/etc/passwd')",
    "a file that it writes": "SELECT lo_export(lo_from_bytea(0, 'x'), '/tmp/from-mulligan')",
    "another role": "SET ROLE postgres",
    "another session": "SET SESSION AUTHORIZATION postgres",
    "another role by a function": "SELECT set_config('role', 'postgres', false)",
    "the right to write": "SELECT set_config('transaction_read_only', 'off', false)",
    "a library of the server": "LOAD 'auto_explain'",
    "a listener": "LISTEN everything",
    "an extension that connects elsewhere": "CREATE EXTENSION dblink",
    "a function in C": "CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'libc.so.6', 'getpid'",
    "a role": "CREATE ROLE another SUPERUSER",
    "a database": "CREATE DATABASE another",
    "a vacuum": "VACUUM",
    "a setting of the server": "ALTER SYSTEM SET log_statement = 'none'",
    "nothing": "",
    "a NUL": "SELECT 1\0; COMMIT",
    "a surrogate": "SELECT '\ud800'",
}


@pytest.fixture
def table(admin: Admin) -> Admin:
    admin.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1); GRANT ALL ON t TO agent")
    return admin


@pytest.mark.parametrize("text", WAYS_OUT.values(), ids=WAYS_OUT)
def test_nothing_leaves_the_transaction_and_going_back_is_exact(
    table: Admin, broker: Broker, text: str
) -> None:
    def run(step: int, text: str) -> list[tuple[object, ...]]:
        return list(broker.run(step, text, None, lambda kinds: None).rows)

    run(1, "UPDATE t SET a = 2")
    with pytest.raises((StatementFailed, DatabaseRefused)):
        run(2, text)
    assert run(2, "SELECT a, current_user = 'agent' FROM t") == [(2, True)]
    assert table.execute("SELECT a FROM t").fetchall() == [(1,)]
    assert broker.go_to([]) == ()
    assert run(3, "SELECT a FROM t") == [(1,)]


def test_what_is_denied_leaves_nothing_whichever_way_it_writes(table: Admin, broker: Broker) -> None:
    def only_reads(kinds: frozenset[str]) -> None:
        if kinds != {"read"}:
            raise PermissionError(sorted(kinds))

    table.execute("CREATE FUNCTION hidden() RETURNS int LANGUAGE sql AS 'UPDATE t SET a = 9 RETURNING a'")
    table.execute("CREATE VIEW looks_harmless AS SELECT hidden() AS a; GRANT ALL ON looks_harmless TO agent")
    table.execute("CREATE SEQUENCE s; GRANT ALL ON s TO agent")
    for text in (
        "UPDATE t SET a = 9",
        "SELECT hidden()",
        "SELECT * FROM looks_harmless",
        "EXPLAIN ANALYZE DELETE FROM t",
        "WITH x AS (DELETE FROM t RETURNING a) SELECT a FROM x",
        "DO $$ BEGIN DELETE FROM t; END $$",
        "CREATE TEMP TABLE mine (a int)",
        "SELECT setval('s', 100)",
        "SELECT lo_create(0)",
        "TRUNCATE t",
        "DROP TABLE IF EXISTS nothing_of_that_name",
    ):
        with pytest.raises(PermissionError):
            broker.run(1, text, None, only_reads)
    assert list(broker.run(1, "SELECT a FROM t", None, only_reads).rows) == [(1,)]


def test_whoever_ends_its_own_connection_loses_what_was_not_committed_and_is_told(
    table: Admin, broker: Broker
) -> None:
    broker.run(1, "UPDATE t SET a = 2", None, lambda kinds: None)
    with pytest.raises(DatabaseLost, match="what step 1 wrote"):
        broker.run(2, "SELECT pg_terminate_backend(pg_backend_pid())", None, lambda kinds: None)
    assert table.execute("SELECT a FROM t").fetchall() == [(1,)]
    assert list(broker.run(3, "SELECT a FROM t", None, lambda kinds: None).rows) == [(1,)]
