"""What the supervisor reports through the door is heard, whoever looks at the door first."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mulligan.sandbox.door import Door
from mulligan.sandbox.errors import DoorClosed
from mulligan.sandbox.guest.entry import report


@contextmanager
def admitted() -> Iterator[tuple[Door, socket.socket]]:
    """A door, and a supervisor that has come through it."""
    with Door.build() as door, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as guest:
        guest.connect(str(door.inner / "door.sock"))
        door.admit({}, 10, lambda: True)
        _, descriptors, _, _ = socket.recv_fds(guest, 64 * 1024, 5)
        for descriptor in descriptors:
            os.close(descriptor)
        yield door, guest


def test_a_report_that_came_while_somebody_looked_for_the_supervisor_is_heard_all_the_same() -> None:
    """A request that waits for its answer looks at the door too: of the self-test, say, when both come at once."""
    with admitted() as (door, guest):
        report(guest, {"ready": True})
        report(guest, {"twin_memory": "held"})
        assert not door.hung_up()
        assert door.hear(10) == {"ready": True}
        guest.close()
        assert door.hung_up()
        assert door.hear(10) == {"twin_memory": "held"}
        with pytest.raises(DoorClosed, match="hung up"):
            door.hear(10)


def test_a_supervisor_that_never_stops_talking_holds_up_nobody_who_looks_for_it() -> None:
    with admitted() as (door, guest):
        flooding = threading.Thread(target=_talk_until_it_fails, args=(guest,))
        flooding.start()
        for _ in range(100):
            assert not door.hung_up()
        assert set(door.hear(10)) == {"noise"}
        door.close()
        flooding.join(30)
        assert not flooding.is_alive()


def _talk_until_it_fails(guest: socket.socket) -> None:
    try:
        while True:
            guest.send(b'{"noise": 1}')
    except OSError:
        pass


CONFINE = """
import ctypes, os, sys
sys.path.insert(0, sys.argv[1])
from guest import entry, probes
os.mkdir("workspace")
os.chdir = lambda path, to=os.chdir: to("workspace")  # where a sandbox has one
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
def maps_to_share():
    assert libc.mmap(None, 4096, 3, 0x21, -1, 0) != 2**64 - 1
probes._probes = lambda: {"shared_map": maps_to_share}
told = {"key": "", "limits": {}, "supervised_memory": 0, "pages_counted": False}
config = entry.Config(told)
links = entry.confine(config)
print(config.probes, links.maps)
"""


def test_a_probe_may_map_memory_to_share(tmp_path: Path) -> None:
    """The kernel asks a listener first, in the very process that runs the probes."""
    guest = Path(__file__).parents[2] / "sandbox"
    command = [sys.executable, "-c", CONFINE, str(guest)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.stdout, ran.stderr) == ("{'shared_map': 'held'} 1\n", "")
