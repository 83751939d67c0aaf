"""`exclude=` leaves paths out, and commit leaves them alone; what .gitignore says makes no difference."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

import mulligan
from mulligan.policies.errors import PolicyError
from mulligan.runtime.importing import Importing
from mulligan.runtime.waiting import FEW


@pytest.fixture
def work(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    for name in (
        "keep.txt",
        "a.log",
        "build/out.o",
        "src/build/x",
        "data/raw/a.csv",
        "data/b.csv",
        ".gitignore",
    ):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(name)
    (work / ".gitignore").write_text("*\n")
    return work


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_what_is_excluded_is_not_there_and_what_git_ignores_is(
    isolation: str, work: Path, tmp_path: Path
) -> None:
    (work / "build").chmod(0)  # nobody looks into it
    globs = ["build/", "*.log", "data/raw/**"]
    with mulligan.open(work, isolation=isolation, state=tmp_path / "state", exclude=globs) as session:
        assert set(contents(session.workspace)) == {"keep.txt", "data/b.csv", ".gitignore"}
    (work / "build").chmod(0o755)


HARM = """
import os, shutil
shutil.rmtree("data")
os.mkdir("build"); open("build/out.o", "w").write("mine")
os.mkdir("src/raw"); open("src/raw/new", "w").write("mine")
open("keep.txt", "w").write("changed")
"""


def test_commit_never_touches_what_is_excluded(isolation: str, work: Path, tmp_path: Path) -> None:
    before = contents(work)
    globs = ["/build/", "raw"]
    with mulligan.open(work, isolation=isolation, state=tmp_path / "state", exclude=globs) as session:
        step = session.run(HARM)
        assert step.outcome.kind == "completed", step.outcome.text
        done = session.commit()
        conflicts = {each.path: each for each in done.conflicts}
        assert set(conflicts) == {b"build", b"src/raw", b"data"}
        assert "'raw' is excluded" in conflicts[b"src/raw"].ours
        after = contents(work)
        assert after.pop("keep.txt") == "changed"
        assert after == {name: before[name] for name in before.keys() - {"keep.txt", "data/b.csv"}}
        session.uncommit()
        assert contents(work) == before


def test_a_broken_glob_opens_nothing(work: Path, tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="takes something out again"):
        mulligan.open(work, state=tmp_path / "state", exclude=["!keep.txt"])
    assert not (tmp_path / "state").exists()


def test_progress_tells_of_the_copy_and_of_the_first_snapshot(
    isolation: str, work: Path, tmp_path: Path
) -> None:
    told: list[Importing] = []
    with mulligan.open(work, isolation=isolation, state=tmp_path / "state", progress=told.append):
        pass
    assert list(dict.fromkeys(each.doing for each in told)) == ["copying", "keeping"]
    last = told[-1]
    assert (last.done, last.bytes) == (last.all, last.all_bytes)
    assert last.all_bytes == sum(len(text) for text in contents(work).values())


def command(work: Path, state: Path) -> list[str]:
    script = work.parent / "nothing.py"
    script.write_text("pass")
    words = ["run", str(script), "--workspace", str(work), "--state", str(state), "--exclude", "*.log"]
    return [sys.executable, "-m", "mulligan.runtime.cli", *words, "--isolation"]


def test_a_terminal_is_shown_how_far_a_large_folder_is_and_a_pipe_is_not(
    any_isolation: str, work: Path, tmp_path: Path
) -> None:
    for number in range(FEW):
        (work / f"n{number}").write_text("x")
    words = [*command(work, tmp_path / "state"), any_isolation]
    ours, theirs = pty.openpty()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=theirs) as running:
        os.close(theirs)
        shown = b""
        while piece := _read(ours):
            shown += piece
        assert running.wait() == 0
    os.close(ours)
    assert b"copying" in shown and b"keeping" in shown
    assert f"of {len(list(work.rglob('*'))) - 1:,} entries".encode() in shown  # all but the log

    ran = subprocess.run(words, capture_output=True, check=True)
    assert ran.stderr == b""


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""
