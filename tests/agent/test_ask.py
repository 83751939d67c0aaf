"""`:ask` in the REPL: a model's steps are the session's, shown as they come, and taken back like any."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from .server import Server

Serve = Callable[..., Server]


def repl(text: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mulligan.runtime.cli", "repl", "--state", str(folder.parent / "state")]
    return subprocess.run(
        [*command, *arguments],
        cwd=folder,
        input=text,
        env={name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")},
        capture_output=True,
        encoding="utf-8",
        timeout=110,
        check=False,
    )


def test_a_task_is_handed_over_seen_and_taken_back(any_isolation: str, serve: Serve, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    server = serve(
        "First I write.\n```python\nopen('b.txt', 'w').write('B' * number)\nprint('written')\n```",
        "```python\nfinal_answer(open('b.txt').read())\n```",
        "```python\nfinal_answer(2)\n```",
    )
    typed = "number = 3\n:ask write b\n:ask and now?\nopen('b.txt').read()\n:goto 1\n"
    typed += "import os; os.path.exists('b.txt')\n"
    use = ["--isolation", any_isolation, "--model", "openai/scripted", "--api-base", server.base]
    ran = repl(typed, folder, *use)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for said in (
        "First I write.",
        "│ print('written')",
        "written\n",
        "\nBBB\n",
        ":goto 1 takes all of it back",
    ):
        assert said in ran.stdout
    assert "'BBB'" in ran.stdout
    assert "False" in ran.stdout
    assert [each["content"] for each in server.asked[-1]["messages"] if "and now?" in str(each["content"])]


def test_without_a_model_or_a_task_it_says_what_to_do(any_isolation: str, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    ran = repl(":ask do it\n", tmp_path / "work", "--isolation", any_isolation)
    assert ran.returncode == 1
    assert "no model was named" in ran.stderr and "--model gpt-4o" in ran.stderr
