"""Statements and moments that are awkward for going back and for committing: neither may be lied about."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

import mulligan
from mulligan import Database
from mulligan.policies.decision import Finding
from mulligan.policies.loading import parse_policy
from mulligan.runtime.databases import broker as broking
from mulligan.runtime.databases.broker import Broker
from mulligan.runtime.databases.databases import Databases
from mulligan.runtime.errors import DatabaseLost
from mulligan.sandbox.tools.errors import Denied, Refused

Admin = psycopg.Connection[tuple[object, ...]]
Run = Callable[..., list[tuple[object, ...]]]
HIDDEN = "WITH x AS (DELETE FROM t RETURNING a) SELECT a FROM x"


@pytest.fixture
def table(admin: Admin) -> Admin:
    admin.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1); GRANT ALL ON t TO agent")
    return admin


def kinds_of(broker: Broker, text: str) -> set[str]:
    seen: set[str] = set()
    broker.run(1, text, None, seen.update)
    return seen


def test_what_a_statement_did_is_not_counted_in_tables_of_the_agents_own(
    table: Admin, broker: Broker
) -> None:
    broker.run(
        1,
        "CREATE TEMP TABLE pg_class (oid oid, relnamespace regnamespace, relkind text)",
        None,
        lambda k: None,
    )
    assert kinds_of(broker, HIDDEN) == {"delete"}


def test_what_a_statement_did_is_not_counted_by_functions_of_the_agents_own(
    table: Admin, broker: Broker
) -> None:
    for text in (
        "SELECT set_config('search_path', 'public, pg_catalog', false)",
        "CREATE FUNCTION pg_stat_get_xact_tuples_deleted(oid) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint'",
        'CREATE FUNCTION same("char", "char") RETURNS bool LANGUAGE sql AS \'SELECT false\'',
        'CREATE OPERATOR = (LEFTARG = "char", RIGHTARG = "char", FUNCTION = same)',
    ):
        broker.run(1, text, None, lambda kinds: None)
    assert kinds_of(broker, HIDDEN) == {"delete"}


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TEMP TABLE pg_sequences (a int)",
        "DO $$ BEGIN EXECUTE 'CREATE SCHEMA \"Odd-Name\"'; EXECUTE 'CREATE SEQUENCE \"Odd-Name\".s'; END $$",
    ],
)
def test_going_back_works_whatever_was_made(table: Admin, broker: Broker, run: Run, text: str) -> None:
    database = table.info.dbname
    table.execute(f'GRANT CREATE ON DATABASE "{database}" TO agent')
    run(1, text)
    run(2, "DELETE FROM t")
    assert broker.go_to([0, 1]) == ()
    assert run(3, "SELECT a FROM t") == [(1,)]
    assert broker.go_to([0]) == ()


def test_a_commit_that_the_server_made_a_rollback_is_none(table: Admin, broker: Broker, run: Run) -> None:
    run(1, "UPDATE t SET a = 2")
    connection = broker._transaction._connection
    assert connection is not None
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.execute("SELECT 1 / 0")
    with pytest.raises(DatabaseLost, match="step 1 wrote"):
        broker.commit()


def test_what_was_written_when_no_more_is_kept_is_committed_and_named(
    table: Admin, broker: Broker, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broking, "_MOST", 1)
    run(1, "SELECT 1")
    run(2, "UPDATE t SET a = 2")
    broker.go_to([0, 1])
    assert broker.go_to([0, 1, 2]) == (
        "database shop: the statements of step 2 were run again",
        "database shop: not all statements of step 2 were kept to be run again",
    )
    run(3, "UPDATE t SET a = 3")
    assert broker.pending
    broker.commit()
    assert table.execute("SELECT a FROM t").fetchall() == [(3,)]
    assert broker.go_to([0, 2]) == ("database shop: what step 3 wrote was committed and stays",)


def test_a_statement_that_waits_when_it_is_run_again_is_ended_in_its_time(url: str, table: Admin) -> None:
    broker = Broker(Database("shop", url, timeout=0.2))
    broker.open()
    broker.run(1, "UPDATE t SET a = 2", None, lambda kinds: None)
    broker.go_to([0])
    with psycopg.connect(table.info.dsn) as other:
        other.execute("UPDATE t SET a = 9")
        said = broker.go_to([0, 1])
    assert "failed now" in said[-1], said
    broker.close()


def test_a_server_that_says_nothing_more_holds_up_no_end(
    url: str, table: Admin, broker: Broker, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broking, "_PATIENCE", 0.3)
    [(pid,)] = run(1, "SELECT pg_backend_pid()")
    lost: list[BaseException] = []

    def wait() -> None:
        try:
            run(1, "SELECT pg_sleep(600)")
        except DatabaseLost as error:
            lost.append(error)

    thread = threading.Thread(target=wait)
    os.kill(int(str(pid)), signal.SIGSTOP)
    try:
        thread.start()
        while not broker._lock.locked():
            pass
        broker.settle()
        thread.join()
        assert len(lost) == 1
    finally:
        os.kill(int(str(pid)), signal.SIGCONT)


def test_a_statement_that_waits_for_its_turn_is_not_run_after_its_step(url: str, table: Admin) -> None:
    databases = Databases([Database("shop", url)], None)
    [tool] = databases.tools()
    databases.begin(1)
    broker = databases._brokers["shop"]
    failed: list[BaseException] = []

    def late() -> None:
        try:
            tool.function("SELECT pg_sleep(600)")
        except Refused as error:
            failed.append(error)

    thread = threading.Thread(target=late)
    with broker._lock:
        thread.start()
        databases._step = None
    thread.join()
    assert len(failed) == 1 and broker._marks == []
    databases.close()


def test_a_person_who_never_answers_holds_up_no_end(url: str, table: Admin) -> None:
    rules = parse_policy("databases:\n  - allow: read shop\n  - ask: update shop\n")
    databases, asked = Databases([Database("shop", url)], rules), threading.Event()
    failed: list[BaseException] = []

    def never(name: str, text: str, finding: Finding, gone: Callable[[], bool]) -> Finding:
        asked.set()
        while not gone():
            threading.Event().wait(0.01)
        return finding

    def run() -> None:
        try:
            tool.function("UPDATE t SET a = 2")
        except Denied as error:
            failed.append(error)

    databases.ask = never
    [tool] = databases.tools()
    databases.begin(1)
    thread = threading.Thread(target=run)
    thread.start()
    asked.wait()
    databases.end()
    thread.join()
    databases.close()
    assert len(failed) == 1


def test_a_session_without_a_folder_commits_its_database(
    url: str, table: Admin, any_isolation: str, tmp_path: Path
) -> None:
    shop = Database("shop", url)
    with mulligan.open(databases=[shop], isolation=any_isolation, state=tmp_path / "state") as session:
        session.run("from databases import shop; shop.execute('UPDATE t SET a = 2')")
        assert session.commit().databases == ("shop",)
        assert table.execute("SELECT a FROM t").fetchall() == [(2,)]
        assert session.run("#" * (2 << 20)).outcome.kind == "refused"
        databases = session._outside._databases  # type: ignore[union-attr]
        assert databases is not None and not databases.taking, "no action runs"
