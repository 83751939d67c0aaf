"""The REPL without a terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "mulligan.runtime.main", "repl"]


def pipe(text: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "--state", str(folder.parent / "state"), *arguments]
    return subprocess.run(
        command, cwd=folder, input=text, capture_output=True, encoding="utf-8", timeout=110, check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "a.txt").write_text("one\n")
    return tmp_path / "project"


def test_a_pipe_is_run_piece_by_piece(isolation: str, folder: Path) -> None:
    text = "x = 1\nfor i in range(2):\n    print('row', i)\n\n    x += 1\nx\n"
    text += "_ = open('a.txt', 'w').write('two')\n:undo\nx?\n:commit\n"
    ran = pipe(text, folder, "--isolation", isolation)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "row 0\nrow 1\n" in ran.stdout
    assert "\n3\n" in ran.stdout
    assert "↶ back to step 3" in ran.stdout
    assert "Type:        int" in ran.stdout
    assert "nothing to write" in ran.stdout
    assert "\x1b" not in ran.stdout and "]>" not in ran.stdout
    assert (folder / "a.txt").read_text() == "one\n"


def test_the_first_error_ends_it(any_isolation: str, folder: Path) -> None:
    ran = pipe("1/0\nprint('nev' + 'er')\n", folder, "--isolation", any_isolation)
    assert ran.returncode == 1
    assert "ZeroDivisionError" in ran.stdout and "never" not in ran.stdout


def test_a_command_that_is_not_known_ends_it_and_says_which_is(any_isolation: str, folder: Path) -> None:
    ran = pipe(":undi\nprint('nev' + 'er')\n", folder, "--isolation", any_isolation)
    assert ran.returncode == 1
    assert "did you mean :undo" in ran.stderr and "never" not in ran.stdout


@pytest.mark.parametrize(
    ("policy", "says"),
    [("files: [", "policy.yaml"), ("frobs: {}\n", "frobs"), (None, "policy.yaml")],
)
def test_a_broken_policy_is_said_before_anything_runs(folder: Path, policy: str | None, says: str) -> None:
    if policy is not None:
        (folder.parent / "policy.yaml").write_text(policy)
    ran = pipe("print('nev' + 'er')\n", folder, "--policy", "../policy.yaml")
    assert ran.returncode == 2
    assert says in ran.stderr and ran.stdout == ""
