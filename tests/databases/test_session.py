"""Databases in sessions: files, memory and rows go back together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import mulligan
from mulligan import Database, Session
from mulligan.runtime.cli import main
from mulligan.runtime.errors import CommitFailed, DatabaseLost
from mulligan.sandbox.errors import ToolInvalid

Admin = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def sales(admin: Admin) -> Admin:
    admin.execute("CREATE TABLE sales (id serial PRIMARY KEY, amount numeric, note text)")
    admin.execute("INSERT INTO sales (amount, note) VALUES (10, 'a'), (20, 'b')")
    admin.execute("GRANT ALL ON sales, sales_id_seq TO agent")
    return admin


@pytest.fixture
def opening(url: str, any_isolation: str, tmp_path: Path) -> Iterator[Callable[..., Session]]:
    opened: list[Session] = []

    def opening(**options: Any) -> Session:
        given = {"databases": [Database("shop", url)], "isolation": any_isolation, **options}
        opened.append(mulligan.open(state=tmp_path / "state", **given))
        return opened[-1]

    yield opening
    for session in opened:
        session.close()


def said(session: Session, source: str) -> str:
    outcome = session.run(source).outcome
    assert outcome.kind == "completed", outcome.text
    return outcome.stdout.rstrip("\n")


def amounts(connection: Admin) -> list[int]:
    found = connection.execute("SELECT amount FROM sales ORDER BY id").fetchall()
    return [int(str(amount)) for (amount,) in found]


def test_rows_files_and_memory_go_back_together_and_are_committed_together(
    url: str, sales: Admin, isolation: str, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    databases = [Database("shop", url)]
    with mulligan.open(folder, isolation=isolation, state=tmp_path / "state", databases=databases) as session:
        first = session.run(
            "from databases import shop\n"
            "total = shop.execute('UPDATE sales SET amount = amount + 1').rowcount\n"
            "open('total', 'w').write(str(total))"
        )
        assert first.outcome.kind == "completed", first.outcome.text
        assert first.reach.exact, first.reach
        session.run("shop.execute('DELETE FROM sales'); total = 'gone'; open('total', 'w').write(total)")
        assert (
            said(session, "print(shop.execute('SELECT count(*) FROM sales').fetchone(), total)")
            == "(0,) gone"
        )
        back = session.undo(to=first.id)
        assert back.complete, back.stands
        assert (
            said(
                session,
                "print(total, open('total').read(), [int(a) for a, in shop.execute("
                "'SELECT amount FROM sales ORDER BY id')])",
            )
            == "2 2 [11, 21]"
        )
        assert amounts(sales) == [10, 20], "nobody else has seen anything yet"
        done = session.commit()
        assert done.databases == ("shop",) and amounts(sales) == [11, 21]
        assert session.undo(to=0).stands == (
            f"database shop: what step {first.id} wrote was committed and stays",
        )
        assert (folder / "total").read_text() == "2"
        assert session.uncommit().databases == ("shop",), "it stays committed, and that is said"
        assert not (folder / "total").exists() and amounts(sales) == [11, 21]


def test_it_is_a_driver_of_python_that_pandas_can_read_from(
    sales: Admin, opening: Callable[..., Session]
) -> None:
    session = opening()
    assert (
        said(
            session,
            "import warnings; warnings.simplefilter('ignore')\n"
            "import pandas as pd, numpy as np\n"
            "from databases import shop\n"
            "frame = pd.read_sql('SELECT id, amount, note FROM sales ORDER BY id', shop)\n"
            "print(list(frame.columns), int(frame.amount.sum()), frame.note.tolist())\n"
            "print(shop.execute('SELECT note FROM sales WHERE id = %s', [np.int64(2)]).fetchone())\n"
            "with shop.cursor() as cursor:\n"
            "    cursor.executemany('INSERT INTO sales (amount) VALUES (%(a)s)', [{'a': 1}, {'a': 2}])\n"
            "    print(cursor.rowcount, cursor.description)\n"
            "shop.commit()",
        )
        == "['id', 'amount', 'note'] 30 ['a', 'b']\n('b',)\n2 None"
    )
    assert amounts(sales) == [10, 20]


def test_it_is_a_function_too_and_its_errors_are_exceptions(
    sales: Admin, opening: Callable[..., Session]
) -> None:
    session = opening()
    assert said(session, "from tools import shop; print(shop('SELECT 1 AS one'))") == (
        "Rows(columns=['one'], rows=[(1,)], count=1, status='SELECT 1')"
    )
    failed = session.run("shop('SELECT * FROM nowhere')").outcome
    assert (
        failed.error is not None
        and failed.error.name == "StatementFailed"
        and "nowhere" in failed.error.value
    )
    refused = session.run("shop('COMMIT')").outcome
    assert refused.error is not None and refused.error.name == "DatabaseRefused"
    assert "a secret of the host" not in failed.text + refused.text


def test_rules_are_held_against_what_a_statement_did(
    sales: Admin, opening: Callable[..., Session], tmp_path: Path
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "databases:\n"
        "  - allow: read,insert shop\n"
        "  - deny: delete shop\n"
        "    because: orders are never deleted\n"
        "    instead: set a note\n"
    )
    session = opening(policy=rules)
    assert said(session, "from databases import shop; print(shop.execute('SELECT 1').fetchall())") == "[(1,)]"
    denied = session.run("shop.execute('WITH x AS (DELETE FROM sales RETURNING id) SELECT * FROM x')").outcome
    assert "orders are never deleted" in denied.text and "set a note" in denied.text, denied.text
    assert "no rule allows it" in session.run("shop.execute('UPDATE sales SET amount = 0')").outcome.text
    assert (
        said(
            session,
            "shop.execute('INSERT INTO sales (amount) VALUES (5)')\n"
            "print(shop.execute('SELECT count(*) FROM sales').fetchone())",
        )
        == "(3,)"
    )


def test_a_person_is_asked_where_a_rule_says_so(
    sales: Admin, opening: Callable[..., Session], tmp_path: Path
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("databases:\n  - allow: read shop\n  - ask: update shop\n")
    asked: list[str] = []

    async def approve(question: mulligan.Question) -> mulligan.Answer:
        asked.append(question.what)
        return mulligan.Answer("once" if "SET amount = 1" in question.what else "no")

    session = opening(policy=rules, approve=approve)
    assert (
        said(
            session,
            "from databases import shop; shop.execute('UPDATE sales SET amount = 1')\n"
            "print(shop.execute('SELECT sum(amount) FROM sales').fetchone()[0])",
        )
        == "2"
    )
    assert session.run("shop.execute('UPDATE sales SET amount = 2')").outcome.kind == "raised"
    assert said(session, "print(shop.execute('SELECT sum(amount) FROM sales').fetchone()[0])") == "2"
    assert len(asked) == 2 and all("UPDATE sales" in what for what in asked)


def test_what_an_action_that_died_or_timed_out_wrote_is_gone(
    sales: Admin, opening: Callable[..., Session]
) -> None:
    session = opening()
    assert (
        session.run(
            "import os; from databases import shop; shop.execute('DELETE FROM sales'); os._exit(1)"
        ).outcome.kind
        == "lost"
    )
    count = "print(shop.execute('SELECT count(*) FROM sales').fetchone()[0])"
    assert said(session, f"from databases import shop; {count}") == "2"
    ended = session.run("shop.execute('DELETE FROM sales'); shop.execute('SELECT pg_sleep(600)')", timeout=1)
    assert ended.outcome.kind == "timed_out"
    session.undo()
    assert said(session, count) == "2"


def test_nothing_is_written_between_two_actions(sales: Admin, opening: Callable[..., Session]) -> None:
    session = opening()
    session.run(
        "import threading; from databases import shop\n"
        "go, told = threading.Event(), []\n"
        "def later():\n"
        "    while True:\n"
        "        try: shop.execute('UPDATE sales SET amount = amount + 1')\n"
        "        except Exception as error: told.append(type(error).__name__); break\n"
        "threading.Thread(target=later, daemon=True).start()"
    )
    session.run("import time\nwhile not told: time.sleep(0.01)")
    before = said(session, "print(told, shop.execute('SELECT sum(amount) FROM sales').fetchone()[0])")
    assert before.startswith("['"), before
    session.undo(to=0)
    assert (
        said(
            session,
            "from databases import shop\nprint(shop.execute('SELECT sum(amount) FROM sales').fetchone()[0])",
        )
        == "30"
    )


def test_a_commit_of_the_database_that_fails_puts_the_folder_back(
    sales: Admin, opening: Callable[..., Session], tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    session = opening(workspace=folder)
    said(
        session,
        "from databases import shop; open('new', 'w').close(); shop.execute('UPDATE sales SET amount = 0')",
    )
    pid = said(session, "print(shop.execute('SELECT pg_backend_pid()').fetchone()[0])")
    sales.execute("SELECT pg_terminate_backend(%s)", [int(pid)])
    with pytest.raises(CommitFailed, match="put back"):
        session.commit()
    assert list(folder.iterdir()) == [] and amounts(sales) == [10, 20]


def test_a_session_that_ends_without_a_commit_leaves_nothing(
    sales: Admin, opening: Callable[..., Session]
) -> None:
    session = opening()
    said(session, "from databases import shop; shop.execute('DELETE FROM sales')")
    session.close()
    assert amounts(sales) == [10, 20]


def test_what_cannot_be_opened_says_why_and_leaves_nothing(
    url: str, opening: Callable[..., Session], tmp_path: Path
) -> None:
    with pytest.raises(DatabaseLost, match="shop"):
        opening(databases=[Database("shop", "postgresql://agent:hidden@127.0.0.1:1/x")])
    with pytest.raises(ToolInvalid, match="two databases"):
        opening(databases=[Database("shop", url), Database("shop", url)])
    with pytest.raises(ToolInvalid, match="shop"):
        opening(tools={"shop": lambda: None})


def test_the_command_line_finds_the_address_in_the_environment(
    url: str,
    sales: Admin,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from databases import shop\nprint(shop.execute('SELECT count(*) FROM sales').fetchone())"
    )
    monkeypatch.setenv("SHOP", url)
    where = ["--isolation", "bubblewrap", "--state", str(tmp_path / "state")]
    assert main(["run", str(script), *where, "--database", "shop=SHOP"]) == 0
    assert "(2,)" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["run", str(script), *where, "--database", "shop=NOT_SET"])
    assert "with a variable that is set" in capsys.readouterr().err
