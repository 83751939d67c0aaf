"""The supervisor is told of every hard link before it is made, and says so where it cannot be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

GUEST = Path(__file__).parents[2] / "sandbox"
BEGIN = """
import ctypes, os, sys
sys.path.insert(0, sys.argv[1])
from guest import seccomp
from guest.links import Links
links = Links(seccomp.install_telling())
links.start()
open("file", "w").close()
libc = ctypes.CDLL(None, use_errno=True)
"""


def told(folder: Path, script: str) -> str:
    command = [sys.executable, "-c", BEGIN + script, str(GUEST)]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_links_are_made_and_counted_whichever_call_and_process_asks(tmp_path: Path) -> None:
    script = """
os.link("file", "b")
libc.link(b"file", b"c")
child = os.fork()
if child == 0:
    os.link("file", "d")
    os._exit(0)
os.waitpid(child, 0)
held = os.open(".", os.O_TMPFILE | os.O_RDWR)
libc.linkat(-100, b"/proc/self/fd/%d" % held, -100, b"e", 0x400)  # AT_SYMLINK_FOLLOW
print(links.count, os.stat("file").st_nlink, os.path.exists("e"))
"""
    assert told(tmp_path, script) == "4 4 True"


def test_a_link_that_fails_is_counted_and_fails_as_ever(tmp_path: Path) -> None:
    script = """
try:
    os.link("nothing", "b")
except FileNotFoundError:
    print(links.count)
"""
    assert told(tmp_path, script) == "1"


def test_a_process_killed_while_it_waits_leaves_the_others_their_links(tmp_path: Path) -> None:
    script = """
import signal
for _ in range(200):
    child = os.fork()
    if child == 0:
        os.link("file", f"by{os.getpid()}")
        os._exit(0)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
os.link("file", "b")
print(os.path.exists("b"), 1 <= links.count <= 201)
"""
    assert told(tmp_path, script) == "True True"


def test_where_somebody_listens_already_links_work_and_their_number_is_not_known(tmp_path: Path) -> None:
    script = """
inner = Links(seccomp.install_telling())
inner.start()
os.link("file", "b")
print(inner.count, links.count, os.path.exists("b"))
"""
    assert told(tmp_path, script) == "-1 1 True"


def test_a_listener_that_fails_makes_the_number_unknown(tmp_path: Path) -> None:
    script = """
broken = Links(os.open("file", os.O_RDONLY))
broken._serve()
print(broken.count)
"""
    assert told(tmp_path, script) == "-1"


def test_shared_maps_are_counted_whatever_they_may_do_and_private_ones_are_not(tmp_path: Path) -> None:
    script = """
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
open("file", "w").write("x" * 4096)
held = os.open("file", os.O_RDWR)
def child(shared, protection):
    if (pid := os.fork()) == 0:
        os._exit(libc.mmap(None, 4096, protection, shared, held, 0) == 2**64 - 1)
    return os.waitpid(pid, 0)[1]
made = [child(1, 0), child(1, 1), child(1, 3), child(3, 3), child(2, 3)]
print(made, links.maps, links.count)
"""
    assert told(tmp_path, script) == "[0, 0, 0, 0, 0] 4 0"
