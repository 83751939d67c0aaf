"""From the command to a prompt that answers: `mulligan`, `ipython` and `jupyter console`, each on its own terminal.

Two moments are timed: until the prompt is shown, and until what was typed there, `1234 + 4321`, has its answer. In
Mulligan the prompt is there before the sandbox is, so the second is the one to compare.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pexpect

from bench.measure import Aim, Turn, alternate, machine, versions

ROUNDS, QUICK = 5, 1
#: seconds, in bubblewrap
WITHIN = 1.0
PEER = "ipython"
_PROMPT = re.compile(
    rb"\[(?:\x1b\[[0-9;?]*[a-zA-Z])*1(?:\x1b\[[0-9;?]*[a-zA-Z])*\](?:\x1b\[[0-9;?]*[a-zA-Z])*[>:]"
)
SHOWN, ANSWERED = "until the prompt is shown", "until the first line is answered"
_ASKED, _WHERE = b"\x1b[6n", b"\x1b[1;1R"


def measure(quick: bool, isolations: Sequence[str] = ()) -> dict[str, Any]:
    """Everything in one run; plain data, ready for JSON."""
    with tempfile.TemporaryDirectory(prefix="mulligan-bench-") as name:
        folder = Path(name) / "project"
        folder.mkdir()
        (folder / "a.txt").write_text("one\n")
        state = str(Path(name) / "state")
        turns: dict[str, Turn] = {}
        for isolation in isolations:
            words = ["-m", "mulligan.runtime.main", "repl", "--state", state, "--isolation", isolation]
            turns[f"mulligan, {isolation}"] = _turn(words, folder, name)
        turns[PEER] = _turn(["-m", "IPython", "--no-banner"], folder, name)
        turns["jupyter console"] = _turn(["-m", "jupyter_console"], folder, name)
        found = alternate("start", turns, QUICK if quick else ROUNDS, warmups=1, peer=PEER)
    ours = "mulligan, bubblewrap"
    aims = [Aim(f"{each.work}, s", ours, each.median(ours), WITHIN) for each in found if ours in each.seconds]
    return {
        "benchmark": "repl",
        "quick": quick,
        "machine": machine(),
        "versions": versions("mulligan", "ipython", "jupyter_console", "prompt_toolkit"),
        "measures": [each.figures(who) for each in found for who in each.seconds],
        "left_out": {},
        "aims": [aim.figures() for aim in aims],
    }


def _turn(words: Sequence[str], folder: Path, home: str) -> Turn:
    def turn(n: int) -> Mapping[str, float]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "DOCKER_HOST") if name in os.environ}
        env = kept | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "HOME": home, "PYTHONWARNINGS": "ignore"}
        begun = time.monotonic()
        process = pexpect.spawn(
            sys.executable, list(words), cwd=str(folder), env=env, dimensions=(24, 80), timeout=60
        )
        process.delaybeforesend = None
        try:
            _until(process, _PROMPT)
            shown = time.monotonic() - begun
            process.send(b"1234 + 4321\r")
            _until(process, re.compile(rb"5555"))
            return {SHOWN: shown, ANSWERED: time.monotonic() - begun}
        finally:
            process.close(force=True)

    return turn


def _until(process: Any, wanted: re.Pattern[bytes]) -> None:
    """A terminal answers when it is asked where its cursor is."""
    seen = b""
    while not wanted.search(seen):
        piece = process.read_nonblocking(65536, timeout=60)
        for _ in range(piece.count(_ASKED)):
            process.send(_WHERE)
        seen += piece
