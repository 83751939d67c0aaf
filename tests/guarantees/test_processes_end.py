"""What an action leaves running is ended by undo, and cannot change files that were put back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.guarantees.conftest import Attacker

#: each defines what a child does to escape; `write_for_ever` is its aim
ESCAPES = {
    "plain": "",
    "own_session": "os.setsid()\nif os.fork(): os._exit(0)",
    "ignores_all_signals": """
for number in set(range(1, 65)) - {9, 19, 32, 33}:
    signal.signal(number, signal.SIG_IGN)""",
    "named_like_a_twin": "libc.prctl(15, b'mulligan-twin', 0, 0, 0)",
    "named_with_brackets": "libc.prctl(15, b') Z 1 (', 0, 0, 0)",
    "undumpable": "libc.prctl(4, 0, 0, 0, 0)",
    # its first thread ends, so the kernel shows a zombie, while another thread goes on
    "first_thread_ended": "threading.Thread(target=write_for_ever).start(); libc.syscall(60, 0)",
}


@pytest.mark.parametrize("escape", ESCAPES)
def test_a_process_that_outlives_its_action_is_ended_before_files_are_restored(
    attacker: Attacker, escape: str
) -> None:
    marked = attacker.mark()
    attacker.run(f"""
def write_for_ever():
    while True:
        with open("kept.txt", "w") as file:
            file.write("overwritten")
        with open("beat.txt", "a") as file:
            file.write(".")
if os.fork() == 0:
{"".join("    " + line + chr(10) for line in ESCAPES[escape].splitlines())}
    write_for_ever()
while not os.path.exists("beat.txt"):
    time.sleep(0.01)
""")
    back = attacker.session.undo(to=marked)
    for _ in range(20):  # whatever lives on gets time to write
        assert attacker.session.run("import time; time.sleep(0.01)").outcome.ok
    assert attacker.said("print(os.path.exists('beat.txt'), open('kept.txt').read())") == "False kept", back
    assert back.complete, back


@pytest.mark.alone
def test_a_fork_bomb_is_ended(attacker: Attacker) -> None:
    marked = attacker.mark()
    before = int(attacker.said("print(len(everyone()))"))
    attacker.run(
        """
def bomb():
    while True:
        try:
            os.fork()
        except OSError:
            pass
if os.fork() == 0:
    bomb()
deadline = time.monotonic() + 5
crowd = len(everyone()) + 30
while len(everyone()) < crowd and time.monotonic() < deadline:
    time.sleep(0.05)
""",
        timeout=10,
    )
    back = attacker.session.goto(marked)  # in bubblewrap the bound on memory may have ended it before
    attacker.check_return(back)
    assert int(attacker.said("print(len(everyone()))")) <= before + 5  # a twin or two more


def test_stopped_children_and_vanished_parents_are_ended(attacker: Attacker) -> None:
    marked = attacker.mark()
    attacker.run("""
for _ in range(5):
    if os.fork() == 0:
        if os.fork():
            os._exit(0)
        os.setsid()
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
""")
    before = int(attacker.said("print(len(everyone()) - len(twins()))"))
    attacker.undo_to(marked)
    assert int(attacker.said("print(len(everyone()) - len(twins()))")) < before


def test_a_process_that_was_there_at_the_checkpoint_is_kept_and_named(attacker: Attacker) -> None:
    attacker.run("import subprocess; daemon = subprocess.Popen(['sleep', '1000'])")
    marked = attacker.session.run("x = 1").id
    attacker.run("x = 2")
    back = attacker.session.undo(to=marked)
    assert any("sleep 1000" in line for line in back.stands)
    assert attacker.said("print(x, daemon.pid in everyone())") == "1 True"
