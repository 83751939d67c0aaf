"""Hostile code runs as the same user as the twins and the supervisor. It may kill twins, which is noticed and
said; it cannot read, change, trace or steer them, nor end the supervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.guarantees.conftest import Attacker

#: what is tried on each twin and on process 1
REACHES = {
    "memory_file": "open(f'/proc/{pid}/mem', 'r+b')",
    "memory_map": "open(f'/proc/{pid}/maps').read()",
    "descriptors": "os.listdir(f'/proc/{pid}/fd')",
    "environment": "open(f'/proc/{pid}/environ').read()",
    "root": "os.listdir(f'/proc/{pid}/root/')",
    "oom_score": "open(f'/proc/{pid}/oom_score_adj', 'w')",
    "ptrace": "checked(libc.ptrace(0x4206, pid, 0, 0))",
    "vm_write": "checked(libc.process_vm_writev(pid, 0, 0, 0, 0, 0))",
    "prlimit": "resource.prlimit(pid, resource.RLIMIT_AS, (1, 1))",
    "pidfd_getfd": "checked(libc.syscall(438, os.pidfd_open(pid), 0, 0))",
    "affinity": "os.sched_setaffinity(pid, {0})",
}


def test_neither_twins_nor_supervisor_can_be_reached_into(attacker: Attacker) -> None:
    marked = attacker.mark()
    tries = "\n".join(f"    print({name!r}, *attempt(lambda: {reach}))" for name, reach in REACHES.items())
    said = attacker.said(f"""
import resource
planted = True
def checked(answer):
    if answer < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return answer
assert len(twins()) >= 2, twins()
for pid in [1, *twins()]:
{tries}
""")
    words = [line.split() for line in said.splitlines()]
    assert {name for name, *_ in words} == set(REACHES) and len(words) >= 3 * len(REACHES)
    assert all(got == ["refused", "PermissionError"] for _, *got in words), said
    attacker.undo_to(marked)


def test_signals_to_a_sleeping_twin_run_no_handler_when_it_wakes(attacker: Attacker) -> None:
    attacker.session.run(
        "import signal\ncaught = []\n"
        "for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGALRM, signal.SIGRTMIN):\n"
        "    signal.signal(number, lambda number, frame: caught.append(number))\n"
    )
    marked = attacker.mark()
    attacker.run("""
for pid in twins():
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGALRM, signal.SIGRTMIN, signal.SIGINT, signal.SIGCONT):
        os.kill(pid, number)
""")
    attacker.undo_to(marked)
    out = attacker.said("os.kill(os.getpid(), signal.SIGUSR1); print(caught == [signal.SIGUSR1], caught)")
    assert out.startswith("True"), out


def test_a_stopped_twin_wakes(attacker: Attacker) -> None:
    marked = attacker.mark()
    attacker.run("for pid in twins(): os.kill(pid, signal.SIGSTOP)")
    attacker.undo_to(marked)


def test_killed_twins_are_noticed_and_what_they_held_is_rebuilt_and_said(attacker: Attacker) -> None:
    marked = attacker.mark()
    step = attacker.run("planted = True\nfor pid in twins(): os.kill(pid, signal.SIGKILL)")
    assert step.outcome.kind == "completed"
    attacker.undo_to(marked, memory="replayed")


def test_kill_minus_one_reaches_no_twin(attacker: Attacker) -> None:
    marked = attacker.mark()
    assert attacker.said("print(*attempt(os.kill, -1, signal.SIGKILL))") == "refused PermissionError"
    attacker.undo_to(marked)


def test_killing_its_process_group_costs_at_most_memory_that_is_rebuilt(attacker: Attacker) -> None:
    marked = attacker.mark()
    lost = attacker.run("os.kill(0, signal.SIGKILL)")
    assert lost.outcome.kind == "lost"
    back = attacker.session.goto(marked)
    attacker.check_return(back, memory=back.memory)


def test_killing_every_process_in_sight_is_a_lost_step_and_the_session_goes_on(attacker: Attacker) -> None:
    marked = attacker.mark()
    lost = attacker.run("""
for pid in [*everyone(), os.getpid()]:
    os.kill(pid, signal.SIGKILL)
""")
    assert lost.outcome.kind == "lost"
    back = attacker.session.goto(marked)
    attacker.check_return(back, memory=back.memory)


def test_no_signal_ends_the_supervisor(attacker: Attacker) -> None:
    marked = attacker.mark()
    said = attacker.said("""
first = os.pidfd_open(1)
for number in signal.valid_signals():
    for _ in range(3):
        os.kill(1, number)
        signal.pidfd_send_signal(first, number)
print(len(twins()) >= 2)
""")
    assert said == "True"
    attacker.undo_to(marked)
