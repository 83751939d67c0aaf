"""`mulligan diff`, `mulligan forget` and `mulligan run --diff`, as real processes and in a real terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMMAND = [sys.executable, "-m", "mulligan.runtime.cli"]
CODE = """
open('notes.txt', 'w').write('one\\ntwo\\n'); open('old.csv', 'w').write('id,n\\n1,1\\n');
# %%
import os
open('notes.txt', 'w').write('one\\n\\x1b[2J2\\n'); os.rename('old.csv', 'new\\x1b[2J.csv')
"""
CHANGED = """\
→ old.csv → new\\x1b[2J.csv
~ notes.txt
    +1 -1 lines
    @@ -1,2 +1,2 @@
     one
    -two
    +\\x1b[2J2
step 1 → step 2: 1 changed, 1 renamed
"""


class Mulligan:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def command(self, *arguments: str) -> list[str]:
        return [*COMMAND, *arguments, "--state", str(self.folder / "state")]

    def __call__(self, *arguments: str, code: int = 0) -> str:
        ran = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            input=CODE,
            capture_output=True,
            encoding="utf-8",
            timeout=110,
            check=False,
        )
        assert ran.returncode == code, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    def in_a_terminal(self, *arguments: str) -> str:
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ |= {"TERM": "xterm-256color", "COLUMNS": "100"}
            os.environ.pop("NO_COLOR", None)
            os.execv(COMMAND[0], self.command(*arguments))
        shown = b""
        with os.fdopen(terminal, "rb", buffering=0) as screen:
            while True:
                try:
                    piece = screen.read(65536)
                except OSError:  # EIO: the program has ended
                    break
                if not piece:
                    break
                shown += piece
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        return shown.decode()


@pytest.fixture(scope="module")
def kept(any_isolation: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Mulligan, str]:
    """A session of two steps that was kept, and its id."""
    mulligan = Mulligan(tmp_path_factory.mktemp("kept"))
    said = mulligan("run", "-", "--isolation", any_isolation, "--keep", "--json")
    return mulligan, str(json.loads(said.splitlines()[0])["session"])


def record(said: str) -> dict[str, Any]:
    (line,) = said.splitlines()
    made: dict[str, Any] = json.loads(line)
    return made


def test_two_steps_are_compared(kept: tuple[Mulligan, str]) -> None:
    mulligan, session = kept
    shown = mulligan("diff", session, "1", "2")
    assert sorted(shown.splitlines()) == sorted(CHANGED.splitlines())


def test_without_steps_the_beginning_is_compared_with_where_the_session_is(
    kept: tuple[Mulligan, str],
) -> None:
    mulligan, session = kept
    assert mulligan("diff", session[:5]) == mulligan("diff", session, "0", "2")
    assert "step 0 → step 2: 2 added" in mulligan("diff", session)


def test_stat_is_a_line_a_path(kept: tuple[Mulligan, str]) -> None:
    mulligan, session = kept
    assert sorted(mulligan("diff", session, "1", "--stat").splitlines()) == [
        "step 1 → step 2: 1 changed, 1 renamed",
        "~ notes.txt  +1 -1 lines",
        "→ old.csv → new\\x1b[2J.csv",
    ]


def test_programs_get_all_of_it(kept: tuple[Mulligan, str]) -> None:
    mulligan, session = kept
    said = record(mulligan("diff", session, "1", "--json"))
    assert (said["type"], said["session"], said["before"], said["after"]) == ("diff", session, 1, 2)
    notes, moved = sorted(said["files"], key=lambda file: str(file["change"]))
    assert (moved["was"], moved["path"]) == ("old.csv", "new\x1b[2J.csv")
    assert (notes["kind"], notes["counts"]) == ("text", {"lines_added": 1, "lines_removed": 1})
    assert ["+", "\x1b[2J2"] in notes["lines"]


def test_in_a_terminal_it_is_coloured_and_nothing_of_a_file_acts(kept: tuple[Mulligan, str]) -> None:
    mulligan, session = kept
    shown = mulligan.in_a_terminal("diff", session, "1", "2")
    assert "\x1b[32m    +\\x1b[2J2" in shown
    assert "\x1b[31m    -two" in shown
    assert "\x1b[2J" not in shown


def test_sessions_that_can_be_named_are_listed(kept: tuple[Mulligan, str]) -> None:
    mulligan, session = kept
    assert mulligan("diff").split()[:2] == [session, "kept"]
    (listed,) = record(mulligan("diff", "--json"))["sessions"]
    assert (listed["session"], listed["state"], listed["steps"]) == (session, "kept", 2)


@pytest.mark.parametrize(
    "arguments", [("none",), ("{session}", "7"), ("{session}", "x"), ("{session}", "--lines", "0")]
)
def test_what_is_not_there_is_told_without_a_traceback(
    kept: tuple[Mulligan, str], arguments: tuple[str, ...]
) -> None:
    mulligan, session = kept
    said = mulligan("diff", *(argument.format(session=session) for argument in arguments), code=2)
    assert "Traceback" not in said and said.strip()


def test_a_session_that_is_forgotten_is_gone(any_isolation: str, tmp_path: Path) -> None:
    mulligan = Mulligan(tmp_path)
    said = mulligan("run", "-", "--isolation", any_isolation, "--keep")
    session = said.splitlines()[-1].removeprefix("kept: `mulligan diff ").partition("`")[0]
    assert record(mulligan("forget", session, "--json")) == {"type": "forgotten", "session": session}
    assert "no session has files" in mulligan("diff")
    mulligan("forget", session, code=2)


def test_a_run_shows_after_each_action_what_it_changed(any_isolation: str, tmp_path: Path) -> None:
    mulligan = Mulligan(tmp_path)
    lines = mulligan("run", "-", "--isolation", any_isolation, "--diff").splitlines()
    for line in CHANGED.splitlines():
        assert line in lines
    assert not any(line.startswith("kept") for line in lines)
    assert lines.index("step 0 → step 1: 2 added") < lines.index("step 1 → step 2: 1 changed, 1 renamed")
    said = [
        json.loads(line)
        for line in mulligan("run", "-", "--isolation", any_isolation, "--diff", "--json").splitlines()
    ]
    diffs = [each for each in said if each["type"] == "diff"]
    assert [(each["before"], each["after"]) for each in diffs] == [(0, 1), (1, 2)]
