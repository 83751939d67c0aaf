"""A worker that hostile code has taken over may lie about the checkpoint that it is asked for. The moments before
that code ran come back exactly all the same, and what could not be captured is not called captured for long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.guarantees.conftest import Attacker

LIES = {
    "no_fork": "os.fork = sys.modules['mulligan_guest.twin']._fork = lambda *_: 12345",
    "fork_raises": "def fork(*_): raise OSError('no')\nos.fork = sys.modules['mulligan_guest.twin']._fork = fork",
    "child_ends": "sys.modules['mulligan_guest.twin']._sleep = lambda *_: os._exit(0)",
    "child_speaks_and_ends": """
twin = sys.modules['mulligan_guest.twin']
real = twin.fork
def speak(left, word, sock):
    os.write(sock, word)
    os._exit(0)
def fork(*arguments):
    woken = real(*arguments)
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    return woken
twin._sleep, twin.fork = speak, fork""",
    "child_ends_beside_a_thread": """
import threading
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
os.register_at_fork(after_in_child=lambda: os._exit(0))""",
    "a_thread_and_no_fork": """
import threading
threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
os.fork = lambda: 12345""",
    "hook_raises": "os.register_at_fork(before=lambda: 1 / 0, after_in_child=lambda: 1 / 0)",
    "broken_json": "import json\njson.dumps = lambda *_, **__: 'x' * 100",
    "broken_channel": "channel = sys.modules['mulligan_guest.channel']\nchannel.Writer.send = lambda *_: None",
    "twin_gone": "sys.modules['mulligan_guest.twin'].fork = lambda *_: False",
    "worker_speaks_as_twin": """
twin = sys.modules['mulligan_guest.twin']
def fork(worker, name, sock):
    twin.channel.Writer(sock).send(8, [name])
    globals()['hoard'] = sock
    return False
twin.fork = fork""",
    "another_process_speaks_as_twin": """
twin = sys.modules['mulligan_guest.twin']
real = os.fork
def fork(worker, name, sock):
    if real() == 0:
        twin.channel.Writer(sock).send(8, [name])
        time.sleep(1000)
    return False
twin.fork = fork""",
    "confesses_without_end": "sys.modules['mulligan_guest.twin'].confession = lambda: {'threads': ['x' * 10**6] * 50}",
}


#: those that leave no twin behind
WITHOUT_TWIN = {
    "no_fork",
    "fork_raises",
    "child_ends",
    "child_speaks_and_ends",
    "child_ends_beside_a_thread",
    "a_thread_and_no_fork",
    "twin_gone",
    "worker_speaks_as_twin",
}


@pytest.mark.parametrize("lie", LIES)
def test_the_moment_before_the_lie_comes_back_exactly(attacker: Attacker, lie: str) -> None:
    """And a checkpoint that no process stands for is not called exact."""
    marked = attacker.mark()
    step = attacker.session.run(f"import os, sys, time\nplanted = True\n{LIES[lie]}", timeout=5)
    assert lie not in WITHOUT_TWIN or (step.reach.memory != "exact" and step.reach.stands), step.reach
    attacker.undo_to(marked)


def test_a_worker_that_dies_between_its_reply_and_its_checkpoint_is_noticed(attacker: Attacker) -> None:
    marked = attacker.mark()
    for delay in (0.0, 0.0005, 0.001, 0.002, 0.005):
        attacker.session.run(f"import os, threading\nthreading.Timer({delay}, os._exit, (3,)).start()")
        attacker.session.run("x = 1", timeout=5)
        back = attacker.session.goto(marked)
        attacker.check_return(back)


def test_a_twin_that_ends_when_it_is_woken_is_told_from_one_that_wakes(attacker: Attacker) -> None:
    marked = attacker.mark()
    step = attacker.session.run("import os\nos.register_at_fork(after_in_child=lambda: os._exit(0))")
    back = attacker.session.goto(step.id)
    assert back.memory == "replayed" and not back.complete, back
    attacker.undo_to(marked)
