"""The ledger only grows, survives hostile text and crashes, and says so when it cannot be read."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mulligan.runtime.errors import LedgerDamaged, SessionClosed
from mulligan.runtime.ledger import LARGEST_BODY, Ledger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def test_entries_come_back_in_order_with_growing_ids(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ids = [ledger.append("proposed", step, {"source": f"x = {step}"}) for step in range(600)]
        entries = list(ledger.entries())
    assert ids == sorted(set(ids))
    assert [entry.id for entry in entries] == ids
    assert [entry.body["source"] for entry in entries] == [f"x = {step}" for step in range(600)]
    assert [entry.time for entry in entries] == sorted(entry.time for entry in entries)


def test_entries_are_chosen_by_kind_step_and_id(path: Path) -> None:
    with Ledger.open(path) as ledger:
        first = ledger.append("opened", 0, {})
        ledger.append("proposed", 1, {})
        ledger.append("settled", 1, {})
        ledger.append("moved", None, {})
        assert [e.kind for e in ledger.entries(step=1)] == ["proposed", "settled"]
        assert [e.step for e in ledger.entries(kind="moved")] == [None]
        assert [e.kind for e in ledger.entries(after=first)] == ["proposed", "settled", "moved"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET kind = 'x'",
        "DELETE FROM entries",
        "INSERT OR REPLACE INTO entries VALUES (1, 0, 'forged', 0, '{}', x'')",
        "INSERT INTO entries VALUES (1, 0, 'f', 0, '{}', x'') ON CONFLICT (id) DO UPDATE SET kind = 'forged'",
    ],
)
def test_what_was_recorded_cannot_be_changed(path: Path, statement: str) -> None:
    with Ledger.open(path) as ledger:
        ledger.append("opened", 0, {})
        with (
            closing(sqlite3.connect(path)) as other,
            pytest.raises(sqlite3.IntegrityError, match="append-only"),
        ):
            other.execute(statement)
        assert [entry.kind for entry in ledger.entries()] == ["opened"]


@pytest.mark.parametrize("text", ["\ud800 alone", "\udcff", "nul \0 inside", "\x1b[2J", "漢字 🐍", '"}\\'])
def test_hostile_text_survives(path: Path, text: str) -> None:
    with Ledger.open(path) as ledger:
        ledger.append("settled", 1, {"stdout": text, text: 1})
    with Ledger.open(path) as ledger:
        (entry,) = ledger.entries()
    assert entry.body == {"stdout": text, text: 1}


@pytest.mark.parametrize(
    "body", [{"x": b"bytes"}, {"x": float("nan")}, {"x": {1, 2}}, {"x": "y" * LARGEST_BODY}]
)
def test_a_body_that_cannot_be_kept_is_refused(path: Path, body: dict[str, object]) -> None:
    with Ledger.open(path) as ledger:
        with pytest.raises(ValueError, match="ledger entry"):
            ledger.append("settled", 1, body)
        assert list(ledger.entries()) == []


def test_several_entries_are_recorded_all_or_none(path: Path) -> None:
    """What failed leaves the chain whole."""
    with Ledger.open(path) as ledger:
        assert ledger.append_all([("checkpointed", 2, {}), ("discarded", 1, {})]) == [1, 2]
        for bad in ({"x": b"bytes"}, {}):
            kind: Any = "settled" if bad else object()  # what SQLite cannot store fails between the two
            with pytest.raises((ValueError, LedgerDamaged, sqlite3.Error)):
                ledger.append_all([("moved", None, {}), (kind, 3, bad)])
        assert ledger.append("moved", None, {}) == 3
        assert [(entry.id, entry.kind) for entry in ledger.entries()] == [
            (1, "checkpointed"),
            (2, "discarded"),
            (3, "moved"),
        ]
        assert ledger.verify().entries == 3


def test_endless_nesting_is_refused(path: Path) -> None:
    body: dict[str, object] = {}
    for _ in range(100_000):
        body = {"x": body}
    with Ledger.open(path) as ledger, pytest.raises(ValueError, match="ledger entry"):
        ledger.append("settled", 1, body)
    while body:  # taken apart one by one, for freeing it at once would nest as deep
        inner = body["x"]
        assert isinstance(inner, dict)
        body = inner


def test_another_process_reads_while_it_is_open(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mulligan.runtime.ledger import Ledger\n"
        "with Ledger.open(Path(sys.argv[1])) as ledger: print([entry.kind for entry in ledger.entries()])"
    )
    with Ledger.open(path) as ledger:
        ledger.append("opened", 0, {})
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
        )
    assert done.stdout.strip() == "['opened']"


def test_what_was_appended_survives_a_kill(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mulligan.runtime.ledger import Ledger\n"
        "ledger = Ledger.open(Path(sys.argv[1])); n = 0\n"
        "while True: ledger.append('settled', n, {}); print(n, flush=True); n += 1"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        seen = [int(child.stdout.readline()) for _ in range(50)]
        child.send_signal(signal.SIGKILL)
        seen += [int(line) for line in child.stdout if line.endswith("\n")]
    with Ledger.open(path) as ledger:
        steps = [entry.step for entry in ledger.entries()]
    assert steps[: len(seen)] == seen


def test_threads_append_without_loss(path: Path) -> None:
    with Ledger.open(path) as ledger:
        threads = [
            threading.Thread(target=lambda k=k: [ledger.append("e", k, {"n": n}) for n in range(100)])
            for k in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for k in range(8):
            assert [entry.body["n"] for entry in ledger.entries(step=k)] == list(range(100))


def filled(path: Path) -> None:
    with Ledger.open(path) as ledger:
        for step in range(500):
            ledger.append("proposed", step, {"source": "x" * 200})


def test_a_torn_file_is_damage(path: Path) -> None:
    filled(path)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(LedgerDamaged) as caught, Ledger.open(path) as ledger:
        list(ledger.entries())
    assert "untouched" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 100])
def test_a_file_that_is_no_ledger_is_damage(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(LedgerDamaged):
        Ledger.open(path)
    assert path.read_bytes() == content


def test_another_programs_database_is_not_taken(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE entries (id)")
    with pytest.raises(LedgerDamaged, match="not a ledger"):
        Ledger.open(path)


def test_a_newer_format_is_refused(path: Path) -> None:
    filled(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerDamaged, match="99"):
        Ledger.open(path)


def test_an_entry_that_is_not_json_is_damage(path: Path) -> None:
    filled(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("INSERT INTO entries (time, kind, body, link) VALUES (0, 'x', '{\"torn', x'')")
        other.commit()
    with Ledger.open(path) as ledger, pytest.raises(LedgerDamaged, match="not JSON"):
        list(ledger.entries())


def test_a_closed_ledger_says_so(path: Path) -> None:
    ledger = Ledger.open(path)
    ledger.close()
    ledger.close()
    with pytest.raises(SessionClosed):
        ledger.append("opened", 0, {})


def test_bodies_are_plain_json_for_other_readers(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.append("opened", 0, {"é": [1, None, True]})
    with closing(sqlite3.connect(path)) as other:
        ((body,),) = other.execute("SELECT body FROM entries").fetchall()
    assert body.isascii()
    assert json.loads(body) == {"é": [1, None, True]}


def test_the_chain_goes_on_when_the_ledger_is_opened_again(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.append("opened", 0, {})
        first = ledger.verify()
    with Ledger.open(path) as ledger:
        ledger.append("moved", None, {"cursor": 0})
        both = ledger.verify(first.head)
    assert (first.entries, both.entries) == (1, 2)
    assert first.head != both.head


def test_an_entry_that_was_put_in_or_taken_out_is_found(path: Path) -> None:
    filled(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("DROP TRIGGER entries_no_delete")
        other.execute("DELETE FROM entries WHERE id = 250")
    with Ledger.attach(path) as ledger, pytest.raises(LedgerDamaged, match="250 is missing"):
        ledger.verify()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(
            "INSERT INTO entries SELECT 250, time, kind, step, body, link FROM entries WHERE id = 251"
        )
    with Ledger.attach(path) as ledger, pytest.raises(LedgerDamaged, match="250 is not what was recorded"):
        ledger.verify()


def test_a_ledger_from_before_the_chain_is_read_and_does_not_verify(path: Path) -> None:
    filled(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("ALTER TABLE entries DROP COLUMN link")
        other.execute("PRAGMA user_version = 1")
    with Ledger.attach(path) as ledger:
        assert len(list(ledger.entries())) == 500
        with pytest.raises(LedgerDamaged, match="its format is 1"):
            ledger.verify()
