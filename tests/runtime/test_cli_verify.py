"""`mulligan verify`, as a real process over sessions that ran."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mulligan

CODE = "open('big\\x1b[2J\\n.bin', 'wb').write(bytes(range(256)) * 8192); open('small', 'w').write('x' * 400_000)"


@pytest.fixture
def kept(any_isolation: str, tmp_path: Path) -> tuple[Path, str]:
    """The state folder and the id of a session of one step that was kept."""
    state = tmp_path / "state"
    with mulligan.open(isolation=any_isolation, state=state, keep=True) as session:
        assert session.run(CODE).outcome.ok
    return state, session.id


def verify(state: Path, *arguments: str, code: int) -> str:
    command = [sys.executable, "-m", "mulligan.runtime.cli", "verify", *arguments, "--state", str(state)]
    ran = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=110, check=False)
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def record(said: str) -> dict[str, Any]:
    (line,) = said.splitlines()
    made: dict[str, Any] = json.loads(line)
    return made


def harm(state: Path, session: str, where: str) -> None:
    (oldest, *_) = sorted((state / "sessions" / session / "store" / where).iterdir())
    content = bytearray(oldest.read_bytes())
    content[len(content) // 2] ^= 1
    oldest.write_bytes(content)


def test_a_session_that_is_whole_is_said_to_be(kept: tuple[Path, str]) -> None:
    state, session = kept
    said = verify(state, session[:6], code=0)
    assert said.startswith(f"{session}  whole: 2 snapshots, ")
    told = record(verify(state, "--json", code=0))
    assert (told["session"], told["faults"], told["snapshots"]) == (session, [], 2)
    assert told["bytes"] > 2 << 20


@pytest.mark.parametrize("where", ["large", "packs"])
def test_what_is_damaged_is_named_and_acts_on_no_terminal(kept: tuple[Path, str], where: str) -> None:
    state, session = kept
    harm(state, session, where)
    said = verify(state, session, code=1)
    assert "damaged" in said and "\x1b" not in said
    assert ("big" if where == "large" else "small") in said and "of snapshot 2" in said
    assert len(said.splitlines()) == 2, "a name makes no line of its own"
    (fault,) = record(verify(state, session, "--json", code=1))["faults"]
    assert "not what was stored" in fault


def test_damage_in_any_session_shows_in_the_exit_code(any_isolation: str, kept: tuple[Path, str]) -> None:
    state, session = kept
    with mulligan.open(isolation=any_isolation, state=state) as another:
        another.run("open('file', 'w').write('open meanwhile')").settled.result()
        assert verify(state, another.id, code=0).startswith(another.id)
        harm(state, session, "large")
        lines = verify(state, code=1).splitlines()
    assert sum("whole" in line for line in lines) == 1
    assert sum(line == f"{session}  damaged:" for line in lines) == 1


def test_a_store_that_does_not_open_is_damaged_and_not_a_traceback(kept: tuple[Path, str]) -> None:
    state, session = kept
    (state / "sessions" / session / "store" / "index.sqlite").write_bytes(b"no database" * 1000)
    said = verify(state, session, code=1)
    assert "damaged" in said and "Traceback" not in said


def test_a_session_that_is_not_there_is_wrong_usage(kept: tuple[Path, str]) -> None:
    assert "Traceback" not in verify(kept[0], "none", code=2)
