"""`mulligan agent`, as it is called, against a scripted server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from .server import Say, Server

Serve = Callable[..., Server]
WRITE = "Now I write it.\n```python\nopen('a.txt', 'w').write('A')\nprint('written')\n```"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}


def command(isolation: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "mulligan.runtime.cli", "agent", "--isolation", isolation, *arguments]


def call(isolation: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(isolation, *arguments),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def options(server: Server, folder: Path) -> list[str]:
    where = ["--state", str(folder / "state")]
    return ["--model", "openai/scripted", "--api-base", server.base, *where]


def objects(ran: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran.stdout.splitlines()]


def test_a_task_is_done_recorded_and_gone_on_from(any_isolation: str, serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    record, book = tmp_path / "run.jsonl", tmp_path / "run.ipynb"
    server = serve(WRITE, "```python\nfinal_answer('It is there.')\n```")
    use = ["--workspace", str(tmp_path / "work"), "--record", str(record), *options(server, tmp_path)]
    ran = call(any_isolation, "write a", *use, "--notebook", str(book), "--commit")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (tmp_path / "work/a.txt").read_text() == "A"
    for said in (
        "Now I write it.",
        "│ print('written')",
        "written\n",
        "✓ 2  completed",
        "left: 29 of 30 turns",
    ):
        assert said in ran.stdout
    assert "It is there.\n2 turns, 240 tokens, cost unknown" in ran.stdout
    read = nbformat.read(book, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(read)
    cells = read.cells
    assert [cell.cell_type for cell in cells] == ["markdown"] * 3 + ["code"] * 2 + ["markdown"]
    assert cells[3].outputs[0].text == "written\n"
    assert record.stat().st_mode & 0o777 == 0o600

    server = serve("```python\nfinal_answer(open('a.txt').read() * 2)\n```")
    ran = call(any_isolation, "read it", "--resume", str(record), "--json", *options(server, tmp_path))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = objects(ran)
    assert [each["type"] for each in told] == ["session", "acting", "step", "final", "end"]
    assert told[-2]["value"] == "AA" and told[-2]["how"] == "answered"
    asked = [each["content"] for each in server.asked[0]["messages"]]
    assert "write a" in asked[1] and asked[2] == WRITE
    assert "What stood of your earlier actions was run again" in asked[-1] and "read it" in asked[-1]
    assert "what differed" not in asked[-1]


def test_json_is_all_that_programs_get(any_isolation: str, serve: Serve, tmp_path: Path) -> None:
    server = serve(Say(status=500), "```python\n1 / 0\n```")
    ran = call(
        any_isolation, "fail", "--json", "--turns", "2", "--on-error", "undo", *options(server, tmp_path)
    )
    assert ran.returncode == 1
    types = [each["type"] for each in objects(ran)]
    turn = ["acting", "error", "step", "undone", "restoration", "observed", "spent"]
    assert types == ["session", "retrying", *turn, *turn, "final", "end"]
    final = objects(ran)[-2]
    assert (final["how"], final["why"], final["cost"]) == (
        "stopped",
        "the budget of 2 turns is used up",
        None,
    )


def test_a_ctrl_c_stops_the_run(any_isolation: str, serve: Serve, tmp_path: Path) -> None:
    server = serve("```python\nprint('here', flush=True)\nwhile True: pass\n```")
    begun = command(any_isolation, "loop", *options(server, tmp_path))
    with subprocess.Popen(begun, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "here\n":
                break
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 1
    assert "stopped: it was told to stop" in rest


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["do it"], "no model was named"),
        (["--model", "gpt-4o"], "there is no task"),
        (["do it", "--model", "gpt-4o", "--resume", "missing.jsonl"], "missing.jsonl: No such file"),
        (["do it", "--model", "gpt-4o", "--notebook", "a.ipynb"], "a notebook is made from a recording"),
        (["do it", "--model", "gpt-4o", "--turns", "0"], "'0' is not a number above 0"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_started(
    any_isolation: str, arguments: list[str], says: str
) -> None:
    ran = call(any_isolation, *arguments)
    assert ran.returncode == 2
    assert says in ran.stderr


def test_a_key_that_is_missing_is_said(any_isolation: str, tmp_path: Path) -> None:
    ran = call(any_isolation, "do it", "--model", "gpt-4o", "--state", str(tmp_path))
    assert ran.returncode == 2
    assert "gpt-4o cannot be asked: gpt-4o needs OPENAI_API_KEY in the environment" in ran.stderr
