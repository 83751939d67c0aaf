"""An action that takes all it can get ends, or is ended, within its session's bounds; the session goes on."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import mulligan
from mulligan.policies.policy import Resources

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.guarantees.conftest import Attacker

pytestmark = pytest.mark.alone

MIB = 1 << 20

HOGS = {
    "memory": "hoard = []\nwhile True: hoard.append(bytearray(50_000_000))",
    "memory_of_children": """
for _ in range(12):
    if os.fork() == 0:
        hoard = bytearray(os.urandom(1000)) * 150_000
        time.sleep(1000)
time.sleep(4)
""",
    "descriptors": "hoard = []\nwhile True: hoard.append(os.open('/dev/null', 0))",
    "processes": "while True:\n    if os.fork() == 0: time.sleep(1000)",
    "threads": "while True: threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()",
    "recursion": "def deeper(): deeper()\ndeeper()",
    "recursion_in_c": "sys.setrecursionlimit(10**9)\ndef deeper(): deeper()\ndeeper()",
    "one_file": "os.truncate(os.open('big', os.O_CREAT | os.O_RDWR), 1 << 62)",
    "never_ends": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "ignores_interrupts": "signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
    "exits": "raise SystemExit(1)",
    "exits_hard": "os._exit(1)",
    "segfault": "ctypes.string_at(0)",
    "abort": "os.abort()",
    "first_thread_ends": "threading.Thread(target=time.sleep, args=(1000,)).start(); libc.syscall(60, 0)",
}


@pytest.mark.parametrize("hog", HOGS)
def test_the_session_goes_on_with_its_variables(small: Attacker, hog: str) -> None:
    attacker = small
    marked = attacker.mark()
    step = attacker.run(HOGS[hog], timeout=6)
    assert step.outcome.kind != "running"
    back = attacker.session.goto(marked)
    # Where no cgroup bounds memory, a crowd of processes may have cost the marked moment its twin: that is said.
    memory = back.memory if hog == "processes" and attacker.session.report.engine == "bubblewrap" else "woken"
    attacker.check_return(back, memory=memory)


def test_files_beyond_the_bound_on_disk_revert_the_action(opened: Callable[..., Attacker]) -> None:
    attacker = opened(policy=mulligan.Policy(resources=Resources(disk=100 * MIB)))
    marked = attacker.mark()
    step = attacker.run("""
with open("big", "wb") as file:
    for _ in range(2000):
        file.write(os.urandom(1 << 20)); time.sleep(0.001)
""")
    assert step.outcome.kind == "reverted", step.outcome.text[:200]
    attacker.check_return(attacker.session.goto(marked))
    assert taken(attacker) < 10 * MIB


def test_files_hidden_under_long_paths_count(opened: Callable[..., Attacker]) -> None:
    attacker = opened(policy=mulligan.Policy(resources=Resources(disk=100 * MIB)))
    step = attacker.run("""
for _ in range(20):
    os.mkdir("n" * 250); os.chdir("n" * 250)
with open("big", "wb") as file:
    for _ in range(600):
        file.write(os.urandom(1 << 20)); time.sleep(0.003)
""")
    assert step.outcome.kind == "reverted", step.outcome.text[:200]


def test_a_process_that_fills_the_disk_between_actions_is_ended(opened: Callable[..., Attacker]) -> None:
    attacker = opened(policy=mulligan.Policy(resources=Resources(disk=100 * MIB)))
    attacker.run("""
if os.fork() == 0:
    while not os.path.exists("go"):
        time.sleep(0.01)
    with open("big", "wb") as file:
        for _ in range(600):
            file.write(os.urandom(1 << 20))
    open("done", "w").close()
    time.sleep(1000)
""")
    place = attacker.session.workspace
    (place / "go").touch()
    for _ in range(100):
        if (place / "done").exists():
            break
        time.sleep(0.1)
    assert taken(attacker) < 300 * MIB


def test_memory_that_only_twins_hold_is_bounded(opened: Callable[..., Attacker]) -> None:
    """Each step rewrites all of a large array, so each twin holds one of its own."""
    bound = 400 * MIB
    attacker = opened(policy=mulligan.Policy(resources=Resources(memory=bound)))
    for _ in range(8):
        attacker.run("hoard = bytearray(os.urandom(1000)) * 100_000")
    usage = attacker.session._story.confined.kernel.usage()
    assert usage.resident + sum(usage.twins.values()) < 1.5 * bound


def taken(attacker: Attacker) -> int:
    """Bytes that the session's files hold on the host."""
    total = 0
    for folder, _, names in os.walk(attacker.session.folders.files):
        for name in names:
            total += Path(folder, name).lstat().st_blocks * 512
    return total
