"""A session may last: nothing leaks, twins stay few, and the first step can still be returned to."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import pytest

import mulligan
from mulligan import Session
from mulligan.runtime.known import NEWEST
from mulligan.sandbox.kernel import Usage


def usage(session: Session) -> Usage:
    return session._do(session._story.confined.kernel.usage).result()


def settled(session: Session) -> None:
    """Until the checkpoint of the last step is taken."""
    session._do(lambda: None).result()


def held() -> tuple[int, int]:
    """Descriptors and threads of this process."""
    gc.collect()
    return len(os.listdir("/proc/self/fd")), threading.active_count()


@pytest.mark.parametrize("count", [120, pytest.param(1000, marks=pytest.mark.soak)])
def test_many_steps_leak_nothing_and_the_first_can_be_returned_to(
    isolation: str, tmp_path: Path, count: int
) -> None:
    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        first = session.run("import os, random; x, marks = 1, []; secret = random.random(); print(secret)")
        for n in range(2, 20):
            session.run(f"x = {n}; _ = open('f', 'w').write('{n}')")
        session.run("os.remove('f')")
        session.undo(2)
        session.redo(2)
        settled(session)
        start = held()
        for n in range(20, count + 1):
            step = session.run("x += 1; marks.append(x); _ = open(f'file{x % 10}', 'w').write(str(x))")
            assert step.outcome.kind == "completed", step.outcome.text
            if n % 25 == 0:
                session.undo()
                session.redo()
        settled(session)
        assert held() == start
        now = usage(session)
        assert now.processes == 1
        assert len(now.twins) <= NEWEST + count.bit_length() + 2
        assert now.dead == ()
        assert max(now.twins.values()) < 64 << 20  # of which most is shared, and counted in each
        assert session.run("print(x, len(marks))").outcome.stdout == f"{count} {count - 19}\n"

        back = session.undo(to=first.id)
        assert sorted(session.workspace.iterdir()) == []
        after = session.run("print(x, marks)\nprint(secret)", timeout=30).outcome.stdout
        values, secret = after.splitlines()
        assert values == "1 []"
        if back.memory == "woken":
            assert f"{secret}\n" == first.outcome.stdout
        else:
            assert back.memory == "replayed" and any("again" in line for line in back.stands)


def test_a_step_whose_twin_was_dropped_is_rebuilt_by_replay_and_says_so(
    isolation: str, tmp_path: Path
) -> None:
    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        for n in range(1, 61):
            session.run(f"x = {n}; _ = open('f', 'w').write(str(x))")
        settled(session)
        dropped = [node.id for node in session.timeline.nodes.values() if node.discarded]
        assert dropped
        back = session.goto(dropped[0])
        assert back.memory == "replayed" and not back.complete
        assert any("run" in line and "again" in line for line in back.stands), back
        outcome = session.run("print(x, open('f').read())", timeout=30).outcome
        assert outcome.stdout == f"{dropped[0]} {dropped[0]}\n"


def test_undo_and_redo_many_times_leave_no_processes_behind(isolation: str, tmp_path: Path) -> None:
    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        session.run("x = 1")
        session.run("x = 2")
        session.undo()
        start, before = held(), usage(session)
        for _ in range(40):
            session.redo()
            session.undo()
        after = usage(session)
        assert (held(), after.processes, sorted(after.twins)) == (
            start,
            before.processes,
            sorted(before.twins),
        )


def test_closing_leaves_nothing_but_the_ledger(isolation: str, tmp_path: Path) -> None:
    before = held()
    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        session.run("_ = open('f', 'w').write('x' * 1_000_000)")
        root, sandbox = session.folders.root, session._story.confined.sandbox
    assert not sandbox.running()
    assert not (root / "files").exists() and not (root / "store").exists()
    assert (root / "ledger.db").exists()
    descriptors, threads = held()
    assert threads <= before[1] + 1  # bubblewrap's launcher lives as long as this process
    assert descriptors <= before[0] + 2
