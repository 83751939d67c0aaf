"""State that a fork shares between a twin and the worker that goes on: it comes back, or is listed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.guarantees.conftest import Attacker

#: how it is made, how a later step changes it, what prints it, what it must print after undo
SHARED = {
    "pipe": (
        "r, w = os.pipe(); os.set_blocking(r, False); os.write(w, b'a')",
        "os.read(r, 1)",
        "print(os.read(r, 1))",
        "b'a'",
    ),
    "eventfd": ("e = os.eventfd(3, os.EFD_NONBLOCK)", "os.eventfd_read(e)", "print(os.eventfd_read(e))", "3"),
    "memfd": (
        "m = os.memfd_create('m'); os.write(m, b'a')",
        "os.pwrite(m, b'z', 0)",
        "print(os.pread(m, 1, 0))",
        "b'a'",
    ),
    "shared_map": (
        "import mmap; m = mmap.mmap(-1, 4096); m[0] = 65",
        "m[0] = 66",
        "print(m[0])",
        "65",
    ),
    "working_folder": (
        "os.makedirs('inner'); open('inner/x', 'w').close(); os.chdir('inner')",
        "os.chdir('/workspace'); import shutil; shutil.rmtree('inner')",
        "print(os.listdir('.'))",
        "['x']",
    ),
    "folder_descriptor": (
        "os.makedirs('inner'); open('inner/x', 'w').close(); d = os.open('inner', os.O_RDONLY)",
        "import shutil; shutil.rmtree('inner')",
        "print(os.listdir(d))",
        "['x']",
    ),
    "socket_pair": (
        "import socket; a, b = socket.socketpair(); b.setblocking(False); a.send(b'a')",
        "b.recv(1)",
        "print(b.recv(1))",
        "b'a'",
    ),
    "alarm": (
        "import signal; signal.signal(signal.SIGALRM, signal.SIG_IGN); signal.alarm(1000)",
        "signal.alarm(0)",
        "print(signal.alarm(0) > 0)",
        "True",
    ),
}


@pytest.mark.parametrize("kind", SHARED)
def test_what_a_fork_shares_comes_back_or_is_listed(attacker: Attacker, kind: str) -> None:
    made, changed, shown, expected = SHARED[kind]
    step = attacker.session.run(f"import os\n{made}")
    assert step.outcome.kind == "completed", step.outcome.text
    assert attacker.session.run(changed).outcome.kind == "completed"
    back = attacker.session.undo()
    came_back = attacker.session.run(shown).outcome.stdout.strip() == expected
    attacker.session.run("import os; os.chdir('/workspace')")
    assert came_back or back.stands, back
