"""What code inside can do to the user's folder beneath it: nothing. Nor can it forge what an overlay hides."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from tests.fidelity.walk import walk

import mulligan
from mulligan import Session
from mulligan.policies.policy import Policy
from mulligan.runtime.errors import WorkspaceInvalid

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can mount an overlay: the sessions of others have copies"
)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("user") / "work"
    (work / "d" / "e").mkdir(parents=True)
    for name in ("a", "b", "d/c", "d/e/f", "last"):
        (work / name).write_text(name * 3000)
    (work / "tool").write_text("#!/bin/sh\nid -u\n")
    (work / "tool").chmod(0o4755)
    return work


@pytest.fixture(scope="module")
def laid(isolation: str, work: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    state = tmp_path_factory.mktemp("state")
    with mulligan.open(work, isolation=isolation, state=state, staging="overlay") as session:
        yield session


@pytest.fixture
def theirs(work: Path) -> Iterator[None]:
    """The user's folder is to the nanosecond what it was."""
    was = walk(work), [path.lstat().st_ctime_ns for path in sorted(work.rglob("*"))]
    yield
    assert (walk(work), [path.lstat().st_ctime_ns for path in sorted(work.rglob("*"))]) == was


def run(session: Session, source: str) -> str:
    session.reset()
    step = session.run(source, timeout=60)
    assert step.outcome.kind == "completed", step.outcome.text
    return step.outcome.text.rstrip()


WRITES = """
import ctypes, fcntl, mmap, os, struct
libc = ctypes.CDLL(None, use_errno=True)
held = os.open("a", os.O_RDONLY)
ways = {}
def attempt(name):
    def decide(way):
        try:
            ways[name] = way() or "done"
        except OSError as error:
            ways[name] = error.strerror
    return decide
@attempt("flags")
def _(): fcntl.ioctl(held, 0x40086602, struct.pack("q", 0x10))  # immutable
@attempt("through a descriptor of the lower file")
def _(): os.write(os.open(f"/proc/self/fd/{held}", os.O_WRONLY), b"X")
@attempt("shared map")
def _():
    with open("b", "r+b") as file, mmap.mmap(file.fileno(), 0) as memory: memory[:5] = b"taken"
@attempt("direct")
def _(): os.pwrite(os.open("d/c", os.O_RDWR | os.O_DIRECT), bytes(mmap.mmap(-1, 4096)), 0)
@attempt("times through the held one")
def _(): os.utime(held, ns=(1, 1))
@attempt("mode through the held one")
def _(): os.fchmod(held, 0o777)
@attempt("attribute")
def _(): os.setxattr(held, "user.mine", b"x")
@attempt("link")
def _(): os.link("d/e/f", "another"); open("another", "w").write("x")
@attempt("rename")
def _(): os.rename("d", "moved"); open("moved/c", "a").write("x")
@attempt("punch")
def _():
    fd = os.open("b", os.O_RDWR)
    if libc.fallocate(fd, 3, 0, 4096): raise OSError(ctypes.get_errno(), "refused")
@attempt("remount")
def _():
    if libc.mount(b"none", b"/workspace", b"", 0x20 | 0x1000, b""): raise OSError(ctypes.get_errno(), "refused")
@attempt("unmount")
def _():
    if libc.umount2(b"/workspace", 2): raise OSError(ctypes.get_errno(), "refused")
import shutil; shutil.rmtree("moved"); os.remove("a")
print(ways["remount"], ways["unmount"], ways["shared map"])
"""


@pytest.mark.usefixtures("theirs")
def test_no_way_of_writing_reaches_the_users_folder(laid: Session) -> None:
    assert run(laid, WRITES) == "refused refused done"
    assert laid.undo().stands == ()


FORGED = """
import os, stat
kept = {}
for name in ("user.overlay.opaque", "user.overlay.redirect", "user.overlay.whiteout", "user.overlay.metacopy"):
    for path, value in (("d", b"y"), ("d/e", b"/d"), ("a", b"../../../../etc/passwd")):
        os.setxattr(path, name, value)
for name in ("trusted.overlay.opaque", "trusted.overlay.redirect", "trusted.overlay.origin"):
    try:
        os.setxattr("d", name, b"y"); print(name, "was set")
    except PermissionError:
        kept[name] = True
for make in (lambda: os.mknod("b2", stat.S_IFCHR | 0o600, 0), lambda: os.mknod("d/c2", stat.S_IFCHR | 0o600, 0)):
    try:
        make(); print("a whiteout was made")
    except PermissionError:
        pass
print(sorted(os.listdir(".")), sorted(os.listdir("d")), len(open("a").read()), len(kept))
"""


@pytest.mark.usefixtures("theirs")
def test_neither_attributes_nor_device_nodes_forge_what_the_overlay_shows(laid: Session) -> None:
    assert run(laid, FORGED) == "['a', 'b', 'd', 'last', 'tool'] ['c', 'e'] 3000 3"
    opened = laid.goto(0)
    assert opened.stands == () and not os.listxattr(laid.workspace / "d")


def test_a_folder_of_which_something_is_excluded_or_hidden_is_copied(work: Path, tmp_path: Path) -> None:
    hides = Policy.model_validate({"files": {"hidden": ["secret.key"]}})
    ways: list[dict[str, Any]] = [{"exclude": ["secret.key"]}, {"policy": hides}]
    for way in ways:
        with pytest.raises(WorkspaceInvalid, match="what is excluded could come later"):
            mulligan.open(work, isolation="bubblewrap", state=tmp_path, staging="overlay", **way)


def test_a_folder_is_copied_where_the_policy_would_blame_an_action_for_what_the_user_does(
    work: Path, tmp_path: Path
) -> None:
    bounds = Policy.model_validate({"files": {"read_only": ["d/**"]}})
    ways: list[dict[str, Any]] = [{"protect": ["a"]}, {"policy": bounds}]
    for way in ways:
        with pytest.raises(WorkspaceInvalid, match="would be taken for an action's"):
            mulligan.open(work, isolation="bubblewrap", state=tmp_path, staging="overlay", **way)


@pytest.mark.usefixtures("theirs")
def test_a_setuid_program_of_the_users_runs_as_nobody_else(laid: Session) -> None:
    said = run(laid, "import os, subprocess; print(os.getuid(), subprocess.check_output('./tool').decode())")
    uid, ran = said.split()
    assert uid == ran != "0"


@pytest.mark.usefixtures("theirs")
def test_a_folder_that_became_a_link_leads_neither_capture_nor_undo_out(
    laid: Session, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "c").write_text("host's")
    run(laid, f"import os, shutil\nshutil.rmtree('d'); os.symlink({str(outside)!r}, 'd')")
    assert laid.undo().stands == ()
    assert (laid.workspace / "d" / "c").read_text() == "d/c" * 3000
    assert (outside / "c").read_text() == "host's"


KNOCK = """
import errno, os, socket
try:
    socket.socket(socket.AF_UNIX).connect("socket")
except OSError as error:
    print(errno.errorcode[error.errno])
try:
    os.open("pipe", os.O_WRONLY | os.O_NONBLOCK)
except OSError as error:
    print(errno.errorcode[error.errno])
"""


def test_nobody_is_reached_who_listens_in_the_folder_later(laid: Session, work: Path) -> None:
    """The names show through; what the user's programs hold at their other ends is no part of an overlay."""
    pipe = work / "pipe"
    with socket.socket(socket.AF_UNIX) as listener, chdir(work):
        listener.bind("socket")
        listener.listen()
        os.mkfifo(pipe)
        reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        try:
            assert laid.run(KNOCK).outcome.stdout.split() == ["ECONNREFUSED", "ENXIO"]
        finally:
            os.close(reading)
            pipe.unlink()
            (work / "socket").unlink()


def test_what_is_written_over_the_folder_is_counted_and_what_lies_beneath_is_not(
    laid: Session, work: Path
) -> None:
    laid.reset()
    before = laid.usage()
    assert before.disk is not None and before.files is not None and before.files < 25
    laid.run("open('last', 'a').write('x')")  # all of it is copied up
    after = laid.usage()
    assert after.disk is not None and after.disk - before.disk >= 4096


def test_the_mount_is_seen_by_nobody_else_after_the_end(isolation: str, work: Path, tmp_path: Path) -> None:
    with mulligan.open(work, isolation=isolation, state=tmp_path, staging="overlay") as session:
        assert os.path.ismount(session.workspace)
        assert (session.folders.root.stat().st_mode & 0o077) == 0
    assert str(tmp_path) not in subprocess.check_output(["cat", "/proc/self/mounts"], text=True)
