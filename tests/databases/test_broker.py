"""One transaction a session, one savepoint a step: against a real server."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from mulligan.runtime.databases.broker import Broker
from mulligan.runtime.databases.database import Database
from mulligan.runtime.errors import DatabaseLost, DatabaseRefused, StatementFailed
from mulligan.sandbox.errors import ToolInvalid

from .conftest import Run

Admin = psycopg.Connection[tuple[object, ...]]


def kinds(broker: Broker, text: str, parameters: Any = None, step: int = 1) -> set[str]:
    return set(broker.run(step, text, parameters, lambda kinds: None).kinds)


def test_what_a_statement_did_is_what_the_server_counted_and_not_what_its_text_says(broker: Broker) -> None:
    assert kinds(broker, "CREATE TABLE t (a int, b text)") == {"define"}
    assert kinds(broker, "INSERT INTO t VALUES (1, 'x'), (2, 'y')") == {"insert"}
    assert kinds(broker, "SELECT * FROM t") == {"read"}
    assert kinds(broker, "WITH gone AS (DELETE FROM t WHERE a = 1 RETURNING a) SELECT * FROM gone") == {
        "delete"
    }
    assert kinds(broker, "/* SELECT /* */ */ -- x\n UPDATE t SET b = 'z'") == {"update"}
    wipe = "CREATE FUNCTION wipe() RETURNS int LANGUAGE sql AS 'DELETE FROM t RETURNING a'"
    assert kinds(broker, wipe) == {"define"}
    assert kinds(broker, "SELECT wipe()") == {"delete"}
    assert kinds(broker, "DO $$ BEGIN CREATE TABLE u (a int); INSERT INTO u VALUES (1); END $$") == {
        "define",
        "insert",
    }
    assert kinds(broker, "TRUNCATE t") == {"define"}
    assert kinds(broker, "UPDATE t SET b = 'nobody'") == {"update"}


def test_parameters_and_values_keep_their_types(run: Run) -> None:
    import datetime
    from decimal import Decimal

    given = [1, "it's 100 %", Decimal("1.50"), None, datetime.date(2026, 1, 2), b"\0\xff", True, [1, 2]]
    names = ["int", "text", "numeric", "text", "date", "bytea", "bool", "int[]"]
    text = "SELECT " + ", ".join(f"%s::{name}" for name in names)
    assert run(1, text, given) == [tuple(given)]
    assert run(1, "SELECT %(a)s::int + %(a)s::int, 5 %% 3, '100%%'", {"a": 2}) == [(4, 2, "100%")]
    assert run(1, "SELECT 5 % 3") == [(2,)]


@pytest.mark.parametrize(
    ("text", "parameters", "says"),
    [
        ("SELECT %s", [], "more places"),
        ("SELECT 1", [1], "1 parameters for 0"),
        ("SELECT %(x)s", [1], "no place"),
        ("SELECT %(x)s", {"y": 1}, "no parameter 'x'"),
        ("SELECT %d", [1], "'%d' is no place"),
        ("SELECT * FROM nowhere", None, "nowhere"),
        ("FETCH 1", None, "begin with 'FETCH'"),
        ("SELECT 1; DROP TABLE t", None, "multiple commands"),
    ],
)
def test_a_statement_that_is_wrong_says_why_and_changes_nothing(
    broker: Broker, run: Run, text: str, parameters: Any, says: str
) -> None:
    run(1, "CREATE TABLE t (a int)")
    with pytest.raises((StatementFailed, DatabaseRefused), match=says):
        run(1, text, parameters)
    assert run(1, "SELECT count(*) FROM t") == [(0,)]


def test_going_back_is_exact_and_nobody_else_sees_anything_before_the_commit(
    broker: Broker, run: Run, admin: Admin
) -> None:
    admin.execute("CREATE TABLE sales (id int, amount numeric); INSERT INTO sales VALUES (1, 10), (2, 20)")
    admin.execute("GRANT ALL ON sales TO agent")
    run(1, "UPDATE sales SET amount = amount + 1")
    run(3, "DELETE FROM sales WHERE id = 1")
    run(3, "CREATE TABLE other (a int)")
    assert admin.execute("SELECT * FROM sales ORDER BY id").fetchall() == [(1, 10), (2, 20)]
    assert broker.go_to([1, 2]) == ()
    assert run(2, "SELECT * FROM sales ORDER BY id") == [(1, 11), (2, 21)]
    assert run(2, "SELECT to_regclass('other')") == [(None,)]
    assert broker.go_to([]) == ()
    assert run(4, "SELECT * FROM sales ORDER BY id") == [(1, 10), (2, 20)]


def test_going_forward_runs_the_statements_again_and_names_what_is_otherwise(
    broker: Broker, run: Run, admin: Admin
) -> None:
    admin.execute("CREATE TABLE t (a int); GRANT ALL ON t TO agent")
    run(1, "INSERT INTO t VALUES (1)")
    run(2, "INSERT INTO t SELECT max(a) + 1 FROM t RETURNING a")
    broker.go_to([1])
    assert broker.go_to([1, 2]) == ("database shop: the statements of step 2 were run again",)
    assert run(3, "SELECT a FROM t ORDER BY a") == [(1,), (2,)]
    broker.go_to([])
    admin.execute("INSERT INTO t VALUES (70)")
    said = broker.go_to([1, 2])
    assert any("gave something else now" in line and "max(a)" in line for line in said), said


def test_a_branch_has_its_own_rows(broker: Broker, run: Run) -> None:
    run(1, "CREATE TABLE t (a text)")
    run(2, "INSERT INTO t VALUES ('left')")
    broker.go_to([1])
    run(3, "INSERT INTO t VALUES ('right')")
    broker.go_to([1, 2])
    assert run(4, "SELECT a FROM t") == [("left",)]
    broker.go_to([1, 3])
    assert run(5, "SELECT a FROM t") == [("right",)]


def test_what_was_committed_is_seen_by_all_and_named_when_undo_cannot_reach_it(
    broker: Broker, run: Run, admin: Admin
) -> None:
    run(1, "CREATE TABLE t (a int)")
    run(2, "INSERT INTO t VALUES (1)")
    assert broker.pending
    broker.commit()
    assert (broker.pending, run(2, "SELECT 1")) == (False, [(1,)])
    assert admin.execute("SELECT a FROM t").fetchall() == [(1,)]
    run(3, "INSERT INTO t VALUES (2)")
    assert broker.go_to([1]) == ("database shop: what step 2 wrote was committed and stays",)
    assert run(4, "SELECT a FROM t") == [(1,)]
    assert broker.go_to([1, 2]) == ()


def test_a_sequence_that_moved_is_named(broker: Broker, run: Run) -> None:
    run(1, "CREATE TABLE t (a serial)")
    run(2, "INSERT INTO t DEFAULT VALUES")
    assert broker.go_to([1]) == ("database shop: sequence public.t_a_seq stays at 1",)


def test_what_a_judge_forbids_leaves_no_trace(broker: Broker, run: Run) -> None:
    run(1, "CREATE TABLE t (a int)")
    run(1, "INSERT INTO t VALUES (1)")

    def deny(kinds: frozenset[str]) -> None:
        assert kinds == {"delete"}
        raise PermissionError("no deletions")

    with pytest.raises(PermissionError, match="no deletions"):
        broker.run(1, "DELETE FROM t", None, deny)
    assert run(1, "SELECT a FROM t") == [(1,)]


def test_too_many_rows_are_an_error_and_no_memory(broker: Broker, run: Run) -> None:
    with pytest.raises(StatementFailed, match="more than 1,000 rows"):
        run(1, "SELECT generate_series(1, 1000000000)")
    with pytest.raises(StatementFailed, match="bytes"):
        run(1, "SELECT repeat('x', 10000000) FROM generate_series(1, 900)")
    assert run(1, "SELECT 1") == [(1,)]


def test_a_statement_can_be_ended_from_another_thread(broker: Broker, run: Run) -> None:
    ended = threading.Event()
    said: list[BaseException] = []

    def sleep() -> None:
        try:
            run(1, "SELECT pg_sleep(600)")
        except StatementFailed as error:
            said.append(error)
        ended.set()

    threading.Thread(target=sleep, daemon=True).start()
    while not ended.wait(0.05):
        broker.cancel()
    assert "cancel" in str(said[0])
    assert run(1, "SELECT 1") == [(1,)]


def test_of_a_connection_that_broke_it_is_said_which_steps_went_with_it_and_a_redo_runs_them_again(
    broker: Broker, run: Run, admin: Admin
) -> None:
    run(1, "CREATE TABLE t (a int)")
    run(2, "INSERT INTO t VALUES (2)")
    pid = run(2, "SELECT pg_backend_pid()")[0][0]
    admin.execute("SELECT pg_terminate_backend(%s)", [pid])
    with pytest.raises(DatabaseLost, match="what step 1, 2 wrote"):
        run(3, "SELECT 1")
    assert run(3, "SELECT to_regclass('t')") == [(None,)]
    run(3, "CREATE TABLE later (a int)")
    with pytest.raises(DatabaseLost, match="not committed: what step 1, 2 wrote"):
        broker.commit()
    assert admin.execute("SELECT to_regclass('later')").fetchall() == [(None,)]
    broker.go_to([1])
    assert "database shop: the statements of step 2 were run again" in broker.go_to([1, 2])
    assert run(4, "SELECT a FROM t") == [(2,)]
    broker.commit()
    assert admin.execute("SELECT a FROM t").fetchall() == [(2,)]


def test_a_constraint_that_is_only_checked_at_the_commit_says_that_nothing_was_committed(
    broker: Broker, run: Run, admin: Admin
) -> None:
    run(1, "CREATE TABLE t (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    broker.commit()
    run(2, "INSERT INTO t VALUES (1), (1)")
    with pytest.raises(DatabaseLost, match=r"rolled back.*unique"):
        broker.commit()
    assert admin.execute("SELECT * FROM t").fetchall() == []


@pytest.mark.parametrize("role", ["SUPERUSER", "CREATEROLE", "REPLICATION", "BYPASSRLS"])
def test_a_role_that_could_do_what_no_rollback_takes_back_is_refused(
    admin: Admin, url: str, role: str
) -> None:
    name = f"mighty_{role.lower()}"
    admin.execute(f"DROP ROLE IF EXISTS {name}")
    admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x' {role}")
    broker = Broker(Database("shop", psycopg.conninfo.make_conninfo(url, user=name, password="x")))
    try:
        with pytest.raises(DatabaseRefused, match=name):
            broker.open()
    finally:
        broker.close()
        admin.execute(f"DROP ROLE {name}")


@pytest.mark.parametrize(
    "url",
    ["postgresql://agent:hidden@127.0.0.1:1/x", "host=/nowhere user=agent password=hidden", "no url at all"],
)
def test_a_server_that_does_not_answer_is_an_error_without_the_password(url: str) -> None:
    broker = Broker(Database("shop", url))
    with pytest.raises(DatabaseLost) as caught:
        broker.open()
    assert "hidden" not in str(caught.value) and "hidden" not in repr(Database("shop", url))


@pytest.mark.parametrize("name", ["", "a b", "_x", "1a", "über", "a.b"])
def test_a_name_that_is_no_variable_is_refused(name: str) -> None:
    with pytest.raises(ToolInvalid, match="no name"):
        Database(name, "postgresql://x")
