"""Where a twin is gone its memory is rebuilt, and whatever was otherwise when actions ran again is said."""

from __future__ import annotations

from pathlib import Path

import mulligan
from mulligan import Session
from mulligan.runtime.ledger import Entry
from mulligan.runtime.replay import Replay
from mulligan.runtime.timeline import Timeline

KILL_TWINS = """
import os, signal
for name in os.listdir("/proc"):
    if name.isdigit() and open(f"/proc/{name}/comm").read() == "mulligan-twin\\n":
        os.kill(int(name), signal.SIGKILL)
"""


def without_twins(session: Session, to: int) -> tuple[str, ...]:
    """What stands after an undo to a step when no twin is left."""
    assert session.run("pass").reach is not None, "by now the twins of all steps before it are there"
    session.run(KILL_TWINS)
    session.run("pass")
    back = session.undo(to=to)
    assert back.memory == "replayed", back
    return back.stands


def test_a_replay_that_says_and_ends_what_it_did_before_is_only_called_a_replay(
    isolation: str, tmp_path: Path
) -> None:
    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        session.run("x = 41; print('said', x); x")
        session.run("1 / 0")
        session.run("import sys; x += 1; print('shown', file=sys.stderr); display(x); {'x': x}")
        stands = without_twins(session, 3)
        assert len(stands) == 1 and "3 action(s) again" in stands[0], stands
        assert session.run("x").outcome.text == "42"


def test_a_replayed_step_that_gives_out_something_else_is_named(isolation: str, tmp_path: Path) -> None:
    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        session.run("import os; print('same')")
        printed = session.run("print(os.urandom(8).hex())")
        shown = session.run("os.urandom(8).hex()")
        session.run("x = 42; x")
        stands = without_twins(session, 4)
        for step in (printed, shown):
            assert f"step {step.id} gave out something else when it was run again" in stands
        assert len(stands) == 3, stands
        assert session.run("x").outcome.text == "42"
        back = session.undo(to=4)
        assert (back.memory, {*stands} - {*back.stands}) == ("woken", {stands[0]}), "it differs still"
        assert "again" in stands[0]


def test_a_replayed_step_that_raises_another_exception_is_named(isolation: str, tmp_path: Path) -> None:
    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        session.run("x = 42; import os")
        raised = session.run("raise type(f'Odd{os.urandom(4).hex()}', (Exception,), {})('odd')")
        assert raised.outcome.kind == "raised"
        session.run("pass")
        stands = without_twins(session, 3)
        assert f"step {raised.id} ended otherwise when it was run again" in stands


def test_an_action_that_ran_out_of_time_runs_out_of_it_again(isolation: str, tmp_path: Path) -> None:
    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        session.run("x = 0")
        step = session.run("while True: x += 1", timeout=0.5)
        assert step.outcome.kind == "timed_out"
        session.run("y = 42")
        stands = without_twins(session, 3)
        assert not any("otherwise" in line for line in stands), stands
        assert session.run("y, x > 0").outcome.text == "(42, True)"


def test_the_nearest_earlier_twin_is_where_a_replay_begins(isolation: str, tmp_path: Path) -> None:
    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        session.run("import os; secret = os.urandom(8); x = 0")
        secret = session.run("print(secret.hex())").outcome.stdout
        wanted = session.run("x += 1")
        session.run("x += 1")
        twin = session._story._checkpoints[wanted.id].twin
        session._do(lambda: session._story.confined.kernel.discard([str(twin)])).result()
        back = session.undo()
        assert back.memory == "replayed" and "1 action(s) again" in back.stands[0], back
        assert session.run("print(secret.hex()); x").outcome.text == f"{secret}1"


def test_a_ledger_from_before_outputs_were_compared_is_read() -> None:
    outcome = {"kind": "completed", "duration": 0.1, "stdout": "1", "error": None}
    entries = [
        Entry(1, 1, "opened", 0, {}),
        Entry(2, 2, "proposed", 1, {"source": "print(1)", "parent": 0}),
        Entry(3, 3, "settled", 1, {"outcome": outcome}),
    ]
    replay = Replay.of(Timeline.read(entries).node(1))
    assert (replay.kind, replay.digest) == ("completed", None)
