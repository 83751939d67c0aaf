"""Every example runs as its reader would run it, and says what it is there to say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SAYS = {
    "embed.py": ["what still stands: nothing", "total.txt: 7"],
    "embed_smolagents.py": ["answer: 1.25", "raised"],
    "embed_langgraph.py": [
        "files put back: + rows.txt",
        "([1, 2, 3], '[3, 1, 2]')",
        "ai: The rows are back.",
    ],
    "embed_async.py": ["one: counted to 2", "two: back at step 0, memory woken"],
    "agent_csv.py": [
        "a script stands in",
        "back at step 2, memory woken: ~ sales.csv",
        "answered: 2300.4",
        "NAILS LTD.,\n",
    ],
    "agent_refactor.py": [
        "a script stands in",
        "not accepted: back at step 1, ~ prices.py",
        "has 14 lines, and had 18",
    ],
    "agent_support.py": [
        "a script stands in",
        "denied refund(",
        "the shop's book: ['voucher of 4.95 for Ida']",
    ],
    "undo_retry.py": ["undone: - mean.txt ~ table.csv", "step 3: lost", "mean.txt: 20.0"],
}


def run(name: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    environment |= {"XDG_STATE_HOME": str(folder / "state"), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=110, check=False
    )


def test_every_example_is_tested() -> None:
    assert {file.name for file in EXAMPLES.glob("*.py")} == {*SAYS, "demo.py"}


@pytest.mark.parametrize("name", SAYS)
def test_an_example_says_what_it_shows(name: str, tmp_path: Path) -> None:
    ran = run(name, tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert [words for words in SAYS[name] if words not in ran.stdout] == []


def test_the_demo_proves_that_everything_came_back(isolation: str, tmp_path: Path) -> None:
    ran = run("demo.py", tmp_path, "--isolation", isolation, "--output", str(tmp_path / "out"))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("  same\n") == 6
    assert "memory woken" in ran.stdout
    assert (tmp_path / "out/data/weather.png").read_bytes().startswith(b"\x89PNG")
    assert [line for line in ran.stdout.splitlines() if len(line) > 80 and str(tmp_path) not in line] == []
