"""What a session takes up is told, and when memory runs out what is active goes before what is kept."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import mulligan
from mulligan import Session
from mulligan.policies.policy import Resources

MIB = 1 << 20


@pytest.fixture
def session(opened: Session) -> Session:
    opened.reset()
    return opened


# -- usage -----------------------------------------------------------------------------------------------------

#: each changes one figure: what to run, the figure, and by how much at least
GROWS: dict[str, tuple[str, str, float]] = {
    # half of it, for the twin of the step shares it; and much, for what the kernel itself holds is shared anew too
    "memory": ("import os; hoard = bytearray(os.urandom(1000)) * 400_000", "memory", 180_000_000),
    "processor time": (
        "import time; t = time.process_time()\nwhile time.process_time() < t + 1: pass",
        "cpu",
        0.9,
    ),
    "processor time of children": (
        "import subprocess, sys; _ = subprocess.run([sys.executable, '-c', 'for i in range(10**7): pass'])",
        "cpu",
        0.1,
    ),
    "processes": (
        "import subprocess; child = [subprocess.Popen(['sleep', '1000']) for _ in range(3)]",
        "processes",
        3,
    ),
    "threads": (
        "import threading as t; go = t.Event()\nfor _ in range(5): t.Thread(target=go.wait, daemon=True).start()",
        "threads",
        5,
    ),
    "twins": ("x = 1", "twins", 1),
    "disk": ("import os; _ = open('big', 'wb').write(os.urandom(20_000_000))", "disk", 19_000_000),
    "files": ("for i in range(50): open(str(i), 'w').close()", "files", 50),
    "history": ("import os; _ = open('big', 'wb').write(os.urandom(20_000_000))", "history", 1000),
    "history of output": ("print('x' * 5_000_000)", "history", 5_000_000),
}


@pytest.mark.parametrize("what", GROWS)
def test_usage_tells_what_an_action_has_taken(session: Session, what: str) -> None:
    source, figure, least = GROWS[what]
    before = session.usage()
    assert session.run(source, timeout=60).outcome.kind == "completed"
    after = session.usage()
    assert getattr(after, figure) - getattr(before, figure) >= least, (before, after)


def test_usage_tells_what_twins_hold_that_nothing_else_does(session: Session) -> None:
    """Each step rewrites a large array, so that the twin of the one before holds it alone."""
    before = session.usage()
    for _ in range(4):
        session.run("import os; hoard = bytearray(os.urandom(1000)) * 50_000")
    after = session.usage()
    assert after.twin_memory - before.twin_memory > 120 * MIB, (before, after)
    assert after.memory < 150 * MIB


def test_usage_can_be_awaited(isolation: str, tmp_path: Path) -> None:
    async def ask() -> mulligan.SessionUsage:
        async with await mulligan.aopen(isolation=isolation, state=tmp_path) as session:
            await session.run("x = 1")
            return await session.usage()

    usage = asyncio.run(ask())
    assert usage.processes == 1 and usage.twins == 2 and usage.memory > 0


def test_a_twin_that_was_killed_is_not_called_exact_after_usage_was_asked(session: Session) -> None:
    """Whoever asks first hears of a dead twin, and only once."""
    session.run("import os, signal; x = 1")
    kill = """
for name in os.listdir("/proc"):
    if name.isdigit() and open(f"/proc/{name}/comm").read() == "mulligan-twin\\n":
        os.kill(int(name), signal.SIGKILL)
"""
    step = session.run(kill)
    assert step.reach is not None
    session.usage()
    back = session.undo()
    assert back.memory == "replayed" and back.stands


# -- the killer ------------------------------------------------------------------------------------------------

SCORES = """
import os
scores = {"active": [int(open("/proc/self/oom_score_adj").read())], "twins": [], "supervisor": []}
for name in os.listdir("/proc"):
    if name.isdigit() and int(name) != os.getpid():
        called = open(f"/proc/{name}/comm").read().strip()
        who = "twins" if called == "mulligan-twin" else "supervisor" if name == "1" else None
        if who:
            scores[who].append(int(open(f"/proc/{name}/oom_score_adj").read()))
child = os.popen("cat /proc/self/oom_score_adj").read()
scores["active"].append(int(child))
print(min(scores["active"]) > max(scores["twins"]) and min(scores["twins"]) > max(scores["supervisor"]), scores)
"""


@pytest.mark.parametrize("way", ["a fresh kernel", "a woken twin", "a twin that was woken twice"])
def test_what_is_active_is_killed_before_twins_and_those_before_the_supervisor(
    session: Session, way: str
) -> None:
    session.run("x = 1")
    session.run("x = 2")
    if way != "a fresh kernel":
        session.undo()
    if way == "a twin that was woken twice":
        session.redo()
        session.undo()
        session.run("x = 3")
    outcome = session.run(SCORES).outcome
    assert outcome.stdout.startswith("True"), outcome.text


#: each takes more than there is, in another kind of process
HOGS = {
    "the worker": "more = []\nwhile True: more.append(bytearray(b'x') * (20 << 20))",
    "many small children": """
import os, time
for _ in range(40):
    if os.fork() == 0:
        more = bytearray(b"x") * (30 << 20)
        time.sleep(1000)
time.sleep(10)
""",
}


@pytest.mark.alone
@pytest.mark.parametrize("hog", HOGS)
def test_memory_that_runs_out_costs_no_twin_that_is_near(hog: str, isolation: str, tmp_path: Path) -> None:
    """Twins that are larger than each of those that take the memory, so that without steering they would go first."""
    policy = mulligan.Policy(resources=Resources(memory=900 * MIB))
    with mulligan.open(isolation=isolation, state=tmp_path, policy=policy) as session:
        session.run("import os; secret = os.urandom(8); hoard = bytearray(b'x') * (150 << 20)")
        secret = session.run("print(secret.hex()); hoard[::4096] = bytes(len(hoard) // 4096)").outcome.stdout
        marked = session.run("kept = iter(range(10)); next(kept)")
        step = session.run(f"del hoard\n{HOGS[hog]}", timeout=20)
        assert step.outcome.kind in ("lost", "raised", "completed", "timed_out"), step.outcome
        back = session.goto(marked.id)
        assert back.memory == "woken", back
        assert session.run("print(secret.hex(), next(kept))").outcome.stdout == f"{secret.strip()} 1\n"


def test_twins_give_way_before_an_action_finds_no_memory(isolation: str, tmp_path: Path) -> None:
    """Each step rewrites a third of all memory, so that four twins would be more than there is."""
    policy = mulligan.Policy(resources=Resources(memory=600 * MIB))
    with mulligan.open(isolation=isolation, state=tmp_path, policy=policy) as session:
        for number in range(12):
            step = session.run(f"import os; hoard = bytearray(os.urandom(1000)) * 150_000; x = {number}")
            assert step.outcome.kind == "completed", (number, step.outcome.text)
        assert session.undo().memory == "woken"
        assert session.run("x").outcome.text == "10"
        assert session.goto(1).memory in ("replayed", "woken")
        assert session.run("x, len(hoard)").outcome.text == "(0, 150000000)"
