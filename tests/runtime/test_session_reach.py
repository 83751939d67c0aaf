"""What undo would not bring back is named in the step's reach; what came after a checkpoint is gone after undo."""

from __future__ import annotations

import pytest

from mulligan import Session, Step


def run(session: Session, source: str) -> Step:
    step = session.run(source, timeout=30)
    assert step.outcome.kind == "completed", step.outcome.text
    return step


@pytest.mark.parametrize(
    "source",
    [
        "x = 1",
        "import subprocess; subprocess.run(['true'])",
        "import threading; t = threading.Thread(target=print); t.start(); t.join()",
        "f = open('a', 'w'); _ = f.write('x')",
        "import numpy; a = numpy.ones((300, 300)); b = a @ a",
        "import sqlite3; db = sqlite3.connect('a.db'); _ = db.execute('create table t (x)')",
        "import tempfile; t = tempfile.NamedTemporaryFile()",
    ],
)
def test_a_plain_step_is_within_reach_exactly(session: Session, source: str) -> None:
    reach = run(session, source).reach
    assert (reach.files, reach.memory, reach.stands, reach.exact) == ("exact", "exact", (), True)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "import threading; e = threading.Event(); threading.Thread(target=e.wait, name='Tick').start()",
            "Tick",
        ),
        (
            "import _thread as t; lock = t.allocate_lock(); lock.acquire(); t.start_new_thread(lock.acquire, ())",
            "thread",
        ),
        ("import subprocess; p = subprocess.Popen(['sleep', '1000'])", "sleep 1000"),
        ("import socket; a, b = socket.socketpair()", "2 socket"),
        ("import mmap; m = mmap.mmap(-1, 4096)", "shared memory"),
        (
            "import os; f = open('gone', 'w+'); _ = f.write('x'); f.flush(); os.remove('gone')",
            "/workspace/gone",
        ),
        ("import tempfile; f = tempfile.TemporaryFile(); _ = f.write(b'x')", "deleted while open"),
        ("import select; e = select.epoll()", "epoll"),
        ("import os; r, w = os.pipe(); os.write(w, b'in the pipe')", "pipe"),
        ("import os; m = os.memfd_create('m'); os.write(m, b'x')", "memfd"),
        ("import os; e = os.eventfd(5)", "eventfd"),
        (
            "import ctypes; t = ctypes.c_void_p(); ctypes.CDLL(None).timer_create(1, None, ctypes.byref(t))",
            "timer_create",
        ),
    ],
    ids=[
        "a thread",
        "a thread that Python does not list",
        "a child process",
        "a socket pair",
        "shared memory",
        "a deleted file",
        "an unnamed file",
        "an epoll",
        "a pipe with bytes in it",
        "a memfd",
        "an eventfd",
        "a timer of timer_create",
    ],
)
def test_what_a_fork_cannot_carry_is_named(session: Session, source: str, said: str) -> None:
    reach = run(session, source).reach
    assert not reach.exact
    assert any(said in line for line in reach.stands), reach


def test_the_reach_is_clean_again_when_the_thing_is_gone(session: Session) -> None:
    assert not run(session, "import socket; a, b = socket.socketpair()").reach.exact
    assert run(session, "a.close(); b.close()").reach.exact


def test_what_the_reach_said_is_what_undo_says(session: Session) -> None:
    made = run(session, "import socket; a, b = socket.socketpair()")
    run(session, "x = 1")
    back = session.undo()
    assert back.stands == made.reach.stands
    assert not back.complete


def alive(session: Session, pid: str) -> bool:
    """Whether the process is there, and not only as a zombie."""
    source = f"print([line for line in open('/proc/{pid}/status') if line[:5] == 'State'])"
    outcome = session.run(source, timeout=30).outcome
    return outcome.kind == "completed" and "Z" not in outcome.stdout


@pytest.mark.parametrize(
    "start",
    [
        "p = subprocess.Popen(['sleep', '1000']); pid = p.pid",
        "p = subprocess.Popen(['sleep', '1000'], start_new_session=True); pid = p.pid",
        "pid = int(subprocess.check_output('setsid sleep 1000 >/dev/null 2>&1 & echo $!', shell=True))",
        "pid = os.fork()\nif pid == 0:\n    signal.pthread_sigmask(0, range(1, 65))\n    time.sleep(1000)",
    ],
    ids=["a child", "with a session of its own", "an orphan", "a fork that blocks signals"],
)
def test_processes_started_after_the_checkpoint_are_dead_after_undo(session: Session, start: str) -> None:
    made = run(session, "import os, signal, subprocess, time")
    later = session.run(f"{start}\nopen('/dev/shm/pid', 'w').write(str(pid)); print(pid)", timeout=30)
    pid = later.outcome.stdout.split()[-1]
    assert alive(session, pid), later.outcome.text
    session.undo(to=made.id)
    assert not alive(session, pid)
    assert session._do(session._story.confined.kernel.usage).result().processes == 1


def test_a_child_that_was_there_at_the_checkpoint_runs_on_after_undo(session: Session) -> None:
    made = run(
        session,
        """
import subprocess
p = subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
print(p.pid)
""",
    )
    pid = made.outcome.stdout.strip()
    run(session, "x = 1")
    back = session.undo()
    assert any(pid in line for line in back.stands), back
    assert alive(session, pid)
    step = session.run("p.stdin.write('still here\\n'); p.stdin.flush(); p.stdout.readline()", timeout=20)
    assert step.outcome.result is not None, step.outcome.text
    assert step.outcome.result.data["text/plain"] == "'still here\\n'"


def test_a_child_that_was_killed_since_the_checkpoint_does_not_come_back_and_is_reported(
    session: Session,
) -> None:
    made = run(session, "import subprocess; p = subprocess.Popen(['sleep', '1000'])")
    run(session, "p.kill(); p.wait()")
    back = session.undo(to=made.id)
    assert any("sleep 1000" in line for line in back.stands), back
    assert not any("sleep 1000" in line and "goes on" in line for line in back.stands), back


def test_two_descriptors_at_one_offset_that_come_back_apart_are_reported_or_come_back_together(
    session: Session,
) -> None:
    made = run(
        session,
        "import os\na = os.open('f', os.O_RDWR | os.O_CREAT); os.write(a, b'abcdef'); os.lseek(a, 0, 0); b = os.dup(a)",
    )
    back = session.undo(to=made.id)
    step = session.run("os.read(a, 2); print(os.read(b, 2))")
    assert step.outcome.stdout == "b'cd'\n" or not back.complete
