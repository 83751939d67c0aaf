"""The command line as its users meet it: real processes, real sandboxes, a real terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

COMMAND = [sys.executable, "-m", "mulligan.runtime.cli"]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs `mulligan run` in a folder of its own, with a state folder of its own."""

    def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, "run", *arguments, "--state", str(tmp_path / "state")]
        return subprocess.run(
            command,
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            timeout=110,
            check=False,
        )

    return run


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.txt").write_text("one")
    return folder


def records(ran: subprocess.CompletedProcess[str], kind: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    return [record for record in found if record["type"] == kind]


def test_a_file_is_run_and_each_step_gets_a_line(isolation: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("# %%\nprint('hello')\n# %%\nopen('new.txt', 'w').write('x');\n")
    ran = run("a.py", "--isolation", isolation)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    lines = ran.stdout.splitlines()
    assert isolation in lines[0]
    assert "hello" in lines
    assert any(line.startswith("✓ 1  completed") for line in lines)
    assert any(line.startswith("✓ 2  completed") and line.endswith("+1  new.txt") for line in lines)
    assert "\x1b" not in ran.stdout
    assert max(map(len, lines)) <= 80


def test_the_code_cells_of_a_notebook_are_actions(any_isolation: str, run: Run, tmp_path: Path) -> None:
    cells = [("markdown", "# not code"), ("code", ["x = ", "20"]), ("code", ""), ("code", "x + 1")]
    book = {"nbformat": 4, "cells": [{"cell_type": kind, "source": source} for kind, source in cells]}
    (tmp_path / "a.ipynb").write_text(json.dumps(book))
    ran = run("a.ipynb", "--isolation", any_isolation, "--json")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert [record["place"] for record in records(ran, "action")] == ["a.ipynb:2", "a.ipynb:4"]
    assert [record["data"]["text/plain"] for record in records(ran, "result")] == ["21"]


def test_programs_get_a_record_of_everything(isolation: str, run: Run, workspace: Path) -> None:
    code = "import os\n# %%\nos.remove('a.txt'); print('\\x1b[31mgone')\n# %%\nos._exit(3)\n"
    ran = run("-", "--isolation", isolation, "--workspace", "data", "--json", stdin=code)
    assert ran.returncode == 1
    assert ran.stdout.isascii()
    assert records(ran, "session")[0]["isolation"] == isolation
    assert {bound["enforcement"] for bound in records(ran, "session")[0]["bounds"].values()} >= {"kernel"}
    assert records(ran, "output") == [
        {"type": "output", "action": 2, "stream": "stdout", "text": "\x1b[31mgone\n"}
    ]
    steps = records(ran, "step")
    assert [step["outcome"] for step in steps] == ["completed", "completed", "lost"]
    assert steps[1]["changes"] == [{"path": "a.txt", "change": "removed"}]
    assert steps[1]["reach"] == {
        "files": "exact",
        "memory": "exact",
        "exact": True,
        "stands": [],
        "sent": [],
    }
    assert records(ran, "kept_back")[0]["changes"] == [{"path": "a.txt", "change": "removed"}]
    assert records(ran, "end") == [{"type": "end", "code": 1}]
    assert [each["twins"] > 0 and each["memory"] > 0 for each in records(ran, "usage")] == [True]
    assert (workspace / "a.txt").read_text() == "one"


def test_an_action_that_fails_is_undone_and_ends_the_run(
    any_isolation: str, run: Run, workspace: Path
) -> None:
    code = "y = 1\n# %%\nopen('a.txt', 'w').write('two'); 1/0\n# %%\nprint('never')\n"
    ran = run(
        "-", "--isolation", any_isolation, "--workspace", "data", "--undo-on-error", "--json", stdin=code
    )
    assert ran.returncode == 1
    assert [step["outcome"] for step in records(ran, "step")] == ["completed", "raised"]
    (back,) = records(ran, "restoration")
    assert (back["step"], back["memory"], back["complete"]) == (1, "woken", True)
    assert back["restored"] == [{"path": "a.txt", "change": "changed"}]
    assert records(ran, "kept_back") == []


def test_a_write_to_a_protected_path_ends_the_run_and_says_why(
    isolation: str, run: Run, workspace: Path
) -> None:
    code = "open('a.txt', 'w').write('two')\n# %%\nprint('never')\n"
    ran = run("-", "--isolation", isolation, "--workspace", "data", "--protect", "*.txt", stdin=code)
    assert ran.returncode == 1
    assert "reverted" in ran.stdout and "'a.txt' was changed, and '*.txt' is protected" in ran.stdout
    assert "2/2" not in ran.stdout


def test_a_broken_glob_is_bad_input_before_anything_runs(run: Run) -> None:
    ran = run("-", "--protect", "!x", stdin="print(1)")
    assert ran.returncode == 2 and "the glob '!x'" in ran.stderr and ran.stdout == ""


def test_commit_writes_to_the_folder_what_completed(any_isolation: str, run: Run, workspace: Path) -> None:
    code = "open('b.txt', 'w').write('new');"
    ran = run("-", "--isolation", any_isolation, "--workspace", "data", "--commit", stdin=code)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (workspace / "b.txt").read_text() == "new"
    ran = run(
        "-", "--isolation", any_isolation, "--workspace", "data", "--commit", stdin="open('c', 'w'); 1/0"
    )
    assert ran.returncode == 1
    assert "not every action completed" in ran.stdout
    assert not (workspace / "c").exists()


def test_a_timeout_ends_an_action(isolation: str, run: Run) -> None:
    code = "print('before', flush=True)\nimport time; time.sleep(60)"
    ran = run("-", "--isolation", isolation, "--timeout", "0.5", stdin=code)
    assert ran.returncode == 1
    assert "before" in ran.stdout
    assert "timed_out" in ran.stdout


def test_no_escape_code_of_an_action_reaches_the_terminal(any_isolation: str, run: Run) -> None:
    code = (
        "import sys, os\n"
        "sys.stdout.write('\\x1b]0;ti'); sys.stdout.flush(); sys.stdout.write('tle\\x07\\x1b[2J\\x9b31mok\\n')\n"
        "print('\\x1b[8mhidden', file=sys.stderr)\n"
        "open('\\x1b[2Jname', 'w')\n"
        "raise ValueError('\\x1b[31mred')\n"
    )
    ran = run("-", "--isolation", any_isolation, stdin=code)
    assert ran.returncode == 1
    assert [char for char in ran.stdout + ran.stderr if char in "\x1b\x07\x9b"] == []
    assert "hidden" in ran.stdout
    assert "red" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "files", "code", "says"),
    [
        (["missing.py"], {}, 2, "No such file"),
        (["a.txt"], {"a.txt": "1"}, 2, "neither a .py nor an .ipynb"),
        (["a.py"], {"a.py": "\n\n"}, 2, "no code to run"),
        (["a.py"], {"a.py": "x = '\udcff'"}, 2, "line 1: not UTF-8"),
        (["a.ipynb"], {"a.ipynb": "{"}, 2, "is not JSON"),
        (["a.ipynb"], {"a.ipynb": "[" * 100_000}, 2, "is not JSON"),
        (["a.ipynb"], {"a.ipynb": "[1]"}, 2, "no list of cells"),
        (["a.ipynb"], {"a.ipynb": '{"cells": [{"cell_type": "code"}]}'}, 2, "cell 1 has no source"),
        (["a.ipynb"], {"a.ipynb": '{"cells": [3]}'}, 2, "cell 1 has no cell_type"),
        (["a.ipynb"], {"a.ipynb": '{"worksheets": []}'}, 2, "nbconvert"),
        (
            ["a.ipynb"],
            {"a.ipynb": '{"cells": [], "metadata": {"kernelspec": {"language": "R"}}}'},
            2,
            "notebook in r",
        ),
        (["a.py", "--isolation", "none"], {"a.py": "1"}, 2, "invalid choice: 'none'"),
        (["a.py", "--timeout", "nan"], {"a.py": "1"}, 2, "not a number of seconds"),
        (["a.py", "--commit"], {"a.py": "1"}, 2, "--commit needs --workspace"),
        (["a.py", "--workspace", "a.py"], {"a.py": "1"}, 2, "is not a folder"),
        (["a.py", "--workspace", "none"], {"a.py": "1"}, 2, "does not exist"),
        (["a.py", "--policy", "p"], {"a.py": "1", "p": "resources:\n  xmemory: 1"}, 2, "'resources.memory'?"),
        (["a.py", "--policy", "none.yaml"], {"a.py": "1"}, 2, "No such file"),
        (["a.py", "--policy", "analyses"], {"a.py": "1"}, 2, "'analysis'?"),
        (["a.py", "--isolation", "bubblewrap", "--python", "none"], {"a.py": "1"}, 3, "no Python at"),
    ],
)
def test_bad_input_is_told_without_a_traceback(
    arguments: list[str], files: dict[str, str], code: int, says: str, run: Run, tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    ran = run(*arguments)
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert says in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""


def test_a_failure_is_a_record_for_programs_too(run: Run) -> None:
    ran = run("missing.py", "--json")
    assert ran.returncode == 2
    assert [record["error"] for record in records(ran, "failure")] == ["NotebookInvalid"]


def test_a_reader_that_leaves_ends_the_run_quietly(isolation: str, tmp_path: Path) -> None:
    command = [*COMMAND, "run", "-", "--isolation", isolation, "--state", str(tmp_path / "state")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write(b"import itertools\nfor i in itertools.count(): print('line', i)\n")
        process.stdin.close()
        while b"line 0" not in process.stdout.readline():
            pass
        process.stdout.close()
        assert process.wait(timeout=60) == 141
        assert process.stderr.read() == b""


def test_ctrl_c_in_a_terminal_interrupts_the_action_and_leaves_the_terminal_sane(
    isolation: str, tmp_path: Path
) -> None:
    code = "import time\nprint('be' + 'gun', flush=True)\ntime.sleep(100)\n# %%\nprint('ne' + 'ver')\n"
    (tmp_path / "a.py").write_text(code)
    command = [*COMMAND, "run", "a.py", "--isolation", isolation, "--state", str(tmp_path / "state")]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.execv(command[0], command)
    try:
        before = termios.tcgetattr(terminal)
        shown = read_until(terminal, b"begun")
        os.write(terminal, b"\x03")
        shown += read_until(terminal, None)
        assert termios.tcgetattr(terminal) == before
    finally:
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    assert b"KeyboardInterrupt" in shown
    assert b"raised" in shown
    assert b"never" not in shown
    assert b"\x1b[?25l" not in shown or b"\x1b[?25h" in shown, "a hidden cursor is shown again"


def read_until(terminal: int, words: bytes | None) -> bytes:
    """What the terminal shows until `words`, or until its program has ended."""
    shown, deadline = b"", time.monotonic() + 60
    while words is None or words not in shown:
        ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"waited in vain; the terminal shows: {shown!r}"
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # EIO: the other side is closed
            piece = b""
        if not piece:
            assert words is None, f"ended before it said {words!r}: {shown!r}"
            return shown
        shown += piece
    return shown


def test_help_and_version_need_no_sandbox() -> None:
    for arguments, words in (
        (["--help"], "doctor"),
        (["run", "--help"], "--undo-on-error"),
        (["--version"], "0."),
    ):
        ran = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode == 0
        assert words in ran.stdout
