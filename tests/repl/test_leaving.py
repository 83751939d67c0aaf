"""Coming and going: each test has a REPL of its own, for it ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.repl.terminal import Terminal

from mulligan.runtime.past import list_sessions


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "a.txt").write_text("one\n")
    return tmp_path


def test_leaving_with_changes_asks_and_staying_is_the_default(any_isolation: str, place: Path) -> None:
    with Terminal(place / "project", place / "state", "--isolation", any_isolation) as repl:
        repl.enter("_ = open('b.txt', 'w').write('new')")  # before it is open
        repl.until("+1  b.txt")
        repl.prompt()
        repl.send("\x04")
        repl.until("Enter = stay: ")
        repl.send("\r")
        repl.prompt()
        repl.enter(":quit")
        repl.until("Enter = stay: ")
        repl.send("c\r")
        repl.until("added b.txt")
        assert repl.ended() == 0
    assert (place / "project" / "b.txt").read_text() == "new"
    assert list_sessions(place / "state") == ()


def test_a_terminal_that_goes_away_leaves_the_changes_to_be_looked_at(
    any_isolation: str, place: Path
) -> None:
    with Terminal(place / "project", place / "state", "--isolation", any_isolation) as repl:
        repl.enter("_ = open('b.txt', 'w').write('new')")
        repl.until("+1  b.txt")
        repl.prompt()
        os.kill(repl.pid, signal.SIGHUP)
        repl.ended()
    (left,) = list_sessions(place / "state")
    assert left.state == "kept"


def test_mulligan_alone_opens_it_on_the_current_folder(place: Path) -> None:
    with Terminal(place / "project", None, XDG_STATE_HOME=str(place / "state")) as repl:
        repl.until("Ctrl-D leaves")
        repl.prompt()
        assert "'one" in repl.run("open('a.txt').read()")
        repl.send("\x04")
        assert repl.ended() == 0


def test_what_cannot_be_opened_is_said_and_ends_it(place: Path) -> None:
    (place / "policy.yaml").write_text("frobs: {}\n")
    with Terminal(place / "project", place / "state", "--policy", "../policy.yaml") as repl:
        repl.until("frobs")
        assert repl.ended() == 2


def test_it_is_usable_without_colours_and_on_a_dumb_terminal(any_isolation: str, place: Path) -> None:
    with Terminal(
        place / "project", place / "state", "--isolation", any_isolation, NO_COLOR="1", TERM="dumb"
    ) as repl:
        repl.until("Ctrl-D leaves")
        repl.enter("6 * 7")
        repl.until("42")
        repl.until("✓ 1")
        repl.enter(":quit")
        assert repl.ended() == 0
        assert b"\x1b[3" not in repl.raw
