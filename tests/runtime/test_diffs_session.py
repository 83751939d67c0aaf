"""`session.diff()` read closely, sessions that are kept, and how they are looked at from outside."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

import mulligan
from mulligan import Session
from mulligan.runtime.errors import SessionClosed, SessionInUse, SessionUnknown, StepUnknown
from mulligan.runtime.past import forget, list_sessions, open_past
from mulligan.sandbox.errors import SnapshotUnknown

MAKE = """
import json, os, struct, zlib
def png(color):
    row = b'\\0' + bytes(color) * 8
    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    head = struct.pack('>IIBBBBB', 8, 8, 8, 2, 0, 0, 0)
    data = chunk(b'IHDR', head) + chunk(b'IDAT', zlib.compress(row * 8)) + chunk(b'IEND', b'')
    return b'\\x89PNG\\r\\n\\x1a\\n' + data
def book(source):
    return json.dumps({'nbformat': 4, 'metadata': {}, 'cells': [
        {'cell_type': 'code', 'source': source, 'outputs': [], 'metadata': {}}]})
def put(path, content):
    with open(path, 'wb' if isinstance(content, bytes) else 'w') as file:
        file.write(content)
"""
FIRST = """
put('notes.txt', 'one\\ntwo\\n'); put('sales.csv', 'id,price\\n1,2\\n2,3\\n'); put('plot.png', png((1, 2, 3)))
put('book.ipynb', book('x = 1')); put('blob', b'\\0' * 10); put('tool.sh', 'hi\\n'); os.mkdir('old'); put('old/f', 'f')
"""
SECOND = """
put('notes.txt', 'one\\n2\\n'); put('sales.csv', 'id,price\\n1,2\\n2,4\\n'); put('plot.png', png((1, 2, 4)))
put('book.ipynb', book('x = 2')); put('blob', b'\\0' * 20); os.chmod('tool.sh', 0o755); os.rename('old', 'new')
"""


def run(session: Session, source: str) -> int:
    step = session.run(source, timeout=60)
    assert step.outcome.kind == "completed", step.outcome.text
    assert step.reach.files == "exact"  # and so the checkpoint is taken
    return step.id


def test_every_kind_of_file_is_told_in_its_own_way(session: Session) -> None:
    run(session, MAKE)
    first = run(session, FIRST)
    second = run(session, SECOND)
    diff = session.diff(first)
    assert (diff.before, diff.after) == (first, second)
    files = {file.path: file for file in diff.files}
    details = {path: file.detail() for path, file in files.items()}
    kinds = {path: detail.kind for path, detail in details.items() if detail}
    assert kinds == {
        "notes.txt": "text",
        "sales.csv": "table",
        "plot.png": "image",
        "book.ipynb": "notebook",
        "blob": "binary",
    }
    assert (files["new"].action, files["new"].was) == ("renamed", "old")
    assert files["tool.sh"].facts == ("mode 0644 → 0755",)
    for words in ("-two", "+2", "~id=2  price: 3 → 4", "64 pixels changed", "+x = 2", "10 bytes → 20 bytes"):
        assert words in diff.text


def test_a_difference_is_read_while_its_session_is_open(session: Session) -> None:
    run(session, "open('f', 'w').write('now\\n');")
    diff = session.diff()
    session.reset()
    assert "+now" in diff.text


def test_a_difference_of_a_closed_session_says_so(isolation: str, tmp_path: Path) -> None:
    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        run(session, "open('f', 'w').write('x');")
        diff = session.diff()
    assert [str(change) for change in diff] == ["+ f"]
    with pytest.raises(SessionClosed):
        diff.files[0].detail()


def test_a_difference_can_be_awaited_and_read_elsewhere(isolation: str, tmp_path: Path) -> None:
    async def look() -> str:
        async with await mulligan.aopen(isolation=isolation, state=tmp_path) as session:
            await session.run("open('f', 'w').write('x\\n');")
            diff = await session.diff()
            return await asyncio.to_thread(lambda: diff.text)

    assert "+x" in asyncio.run(look())


def test_an_open_session_is_looked_at_from_outside(isolation: str, tmp_path: Path) -> None:
    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        one = run(session, "open('f', 'w').write('one\\n');")
        run(session, "open('f', 'w').write('two\\n');")
        (found,) = list_sessions(tmp_path)
        assert (found.id, found.state) == (session.id, "open")
        with open_past(session.id[:6], tmp_path) as past:
            assert past.diff(one).text == session.diff(one).text
            lost = run(session, "open('g', 'w').write('later\\n');")
            with pytest.raises(StepUnknown):
                past.diff(0, lost)
        with pytest.raises(SessionInUse):
            forget(session.id, tmp_path)
    assert list_sessions(tmp_path) == ()


def test_a_step_that_was_lost_has_the_files_from_before_it(isolation: str, tmp_path: Path) -> None:
    with mulligan.open(isolation=isolation, state=tmp_path, keep=True) as session:
        run(session, "open('f', 'w').write('kept\\n');")
        lost = session.run("open('f', 'w').write('lost\\n'); import os; os._exit(1)", timeout=60)
        assert lost.outcome.kind == "lost"
        with_session = session.diff(0, lost.id).text
    with open_past(session.id, tmp_path) as past:
        said = past.diff(0, lost.id).text
    assert "+kept" in said and "+kept" in with_session


def test_a_session_that_is_kept_outlives_its_process_and_the_next_session(
    isolation: str, tmp_path: Path
) -> None:
    code = f"""
import os, mulligan
session = mulligan.open(isolation={isolation!r}, state={str(tmp_path)!r}, keep=True)
session.run("open('f', 'w').write('kept\\\\n');").reach
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=110)
    with mulligan.open(isolation=isolation, state=tmp_path) as other:
        states = {found.id: found.state for found in list_sessions(tmp_path)}
        kept = next(id for id, state in states.items() if state == "kept")
        assert states == {other.id: "open", kept: "kept"}
    with open_past(kept, tmp_path) as past:
        assert "+kept" in past.diff().text
        root = tmp_path / "sessions" / kept
        assert (root / "files" / "workspace" / "f").read_text() == "kept\n"
        with pytest.raises(SessionInUse):
            forget(kept, tmp_path)
    assert forget(kept, tmp_path) == kept
    assert not (root / "files").exists() and not (root / "store").exists()
    assert (root / "ledger.db").exists()
    with pytest.raises(SessionUnknown):
        open_past(kept, tmp_path)


def test_a_session_that_closes_leaves_its_files_to_who_reads_them_and_the_next_removes_them(
    isolation: str, tmp_path: Path
) -> None:
    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        run(session, "open('f', 'w').write('x\\n' * 2_000_000);")  # kept in a file, which is opened late
        past = open_past(session.id, tmp_path)
    with past:
        detail = past.diff().files[0].detail()
        assert detail is not None and detail.counts["lines_added"] == 2_000_000
    with mulligan.open(isolation=isolation, state=tmp_path):
        assert not (tmp_path / "sessions" / session.id / "store").exists()


def test_a_snapshot_that_is_gone_is_an_error_that_names_it(isolation: str, tmp_path: Path) -> None:
    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        step = run(session, "open('f', 'w').write('x\\n');")
        past = open_past(session.id, tmp_path)
        with past, pytest.raises(SnapshotUnknown):
            past._store.diff(1, 99)
        assert session.diff(step) == ()


def test_a_name_that_could_be_two_sessions_is_refused(tmp_path: Path) -> None:
    for name in ("aa1", "aa2", "b"):
        store = tmp_path / "sessions" / name / "store"
        store.mkdir(parents=True)
        (store / "index.sqlite").touch()
        (store.parent / "ledger.db").touch()
    with pytest.raises(SessionUnknown, match="2 sessions begin with 'aa'"):
        open_past("aa", tmp_path)
    with pytest.raises(SessionUnknown, match="no session 'c'"):
        open_past("c", tmp_path)
    with pytest.raises(SessionUnknown):
        open_past("", tmp_path)


def test_a_session_whose_opening_failed_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(mulligan.MulliganError):
        mulligan.open(isolation="bubblewrap", python=tmp_path / "none", state=tmp_path, keep=True)
    assert list_sessions(tmp_path) == ()
