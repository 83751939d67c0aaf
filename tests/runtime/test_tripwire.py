"""A tripwire rings at the first change of a protected path, at nothing else, and says what it does not see."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mulligan.policies.protection import Protection
from mulligan.runtime.tripwire import DEEPEST, Tripwire


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "data" / "raw").mkdir(parents=True)
    (tmp_path / "root" / "data" / "raw" / "a.csv").write_text("a")
    return tmp_path / "root"


@pytest.fixture
def rung() -> threading.Event:
    return threading.Event()


@pytest.fixture
def wire(root: Path, rung: threading.Event) -> Iterator[Tripwire]:
    wire = Tripwire(root, Protection(["data/raw/**"]), rung.set)
    wire.draw([b"data/raw", b"data/raw/a.csv"])
    yield wire
    wire.take_down()


CHANGES: dict[str, Callable[[Path], object]] = {
    "write": lambda root: (root / "data/raw/a.csv").write_text("b"),
    "create": lambda root: (root / "data/raw/b.csv").touch(),
    "delete": lambda root: (root / "data/raw/a.csv").unlink(),
    "mode": lambda root: (root / "data/raw/a.csv").chmod(0o600),
    "time": lambda root: os.utime(root / "data/raw/a.csv", (1, 1)),
    "rename": lambda root: (root / "data/raw/a.csv").rename(root / "a.csv"),
    "rename above": lambda root: (root / "data").rename(root / "moved"),
    "in a new folder": lambda root: (root / "data/raw/new/inner").mkdir(parents=True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_rings_at_a_change(root: Path, wire: Tripwire, rung: threading.Event, change: str) -> None:
    CHANGES[change](root)
    assert rung.wait(60)
    assert wire.tripped is not None and "'data/raw/**' is protected" in wire.tripped.reason


def test_it_does_not_ring_at_reading_or_at_changes_beside(
    root: Path, wire: Tripwire, rung: threading.Event
) -> None:
    (root / "data/raw/a.csv").read_text()
    os.listdir(root / "data/raw")
    (root / "data/b.csv").write_text("b")
    (root / "data/b.csv").rename(root / "c.csv")
    wire.settle()
    assert wire.tripped is None and not rung.is_set()


def test_what_is_forgotten_does_not_count_and_what_comes_after_does(
    root: Path, wire: Tripwire, rung: threading.Event
) -> None:
    (root / "data/raw/a.csv").write_text("b")
    wire.forget()
    assert wire.tripped is None
    rung.clear()
    (root / "data/raw/a.csv").write_text("c")
    assert rung.wait(60)


def test_a_folder_that_moves_into_place_is_watched_under_its_new_path(
    root: Path, rung: threading.Event
) -> None:
    wire = Tripwire(root, Protection(["late/**"]), rung.set)
    wire.draw([])
    (root / "early" / "inner").mkdir(parents=True)
    (root / "early").rename(root / "late")
    wire.forget()
    rung.clear()
    (root / "late" / "inner" / "x").touch()
    assert rung.wait(60)
    assert wire.tripped is not None and "'late/inner/x'" in wire.tripped.reason
    wire.take_down()


def test_a_flood_of_folders_and_files_does_not_end_it(
    root: Path, wire: Tripwire, rung: threading.Event
) -> None:
    for number in range(2000):
        (root / f"{number}" / "inner").mkdir(parents=True)
    for number in range(20_000):
        os.close(os.open(root / "0" / str(number), os.O_CREAT | os.O_WRONLY))
    wire.forget()
    rung.clear()
    (root / "data/raw/a.csv").write_text("b")
    assert rung.wait(60)


def test_it_follows_no_link_out_of_the_workspace(root: Path, tmp_path: Path, rung: threading.Event) -> None:
    outside = tmp_path / "outside"
    (outside / "inner").mkdir(parents=True)
    wire = Tripwire(root, Protection(["*.csv"]), rung.set)
    wire.draw([])
    for _ in range(50):  # a folder that was announced, and is a link by the time it is looked into
        with suppress(OSError):
            (root / "flip" / "inner").mkdir(parents=True)
            (root / "flip").rename(root / "gone")
            (root / "flip").symlink_to(outside)
        (outside / "inner" / "host.csv").touch()
        (outside / "inner" / "host.csv").unlink()
        subprocess.run(["rm", "-rf", root / "flip", root / "gone"], check=True)
    wire.settle()
    assert wire.tripped is None
    wire.take_down()


def test_folders_nested_too_deep_are_said_and_do_no_harm(
    root: Path, wire: Tripwire, rung: threading.Event
) -> None:
    assert wire.blind == ""
    back = os.open(".", os.O_RDONLY)
    os.chdir(root)
    for _ in range(1500):
        os.mkdir("n")
        os.chdir("n")
    os.fchdir(back)
    os.close(back)
    wire.settle()
    assert f"more than {DEEPEST} deep" in wire.bound().how
    (root / "data/raw/a.csv").write_text("b")
    assert rung.wait(60)
    subprocess.run(["rm", "-rf", root / "n"], check=True)
    wire.forget()
    assert wire.blind == ""


FEW_WATCHES = """
import pathlib, sys
from mulligan.policies.protection import Protection
from mulligan.runtime.tripwire import Tripwire

root = pathlib.Path(sys.argv[1])
for number in range(50):
    (root / str(number)).mkdir()
pathlib.Path(f"/proc/sys/user/max_inotify_{sys.argv[2]}").write_text(sys.argv[3])
wire = Tripwire(root, Protection(["*.csv"]), lambda: None)
wire.draw([])
wire.settle()
wire.forget()
print(wire.bound().how)
wire.take_down()
"""


@pytest.mark.parametrize(("what", "limit"), [("watches", 10), ("watches", 0), ("instances", 0)])
def test_where_the_user_may_have_no_more_watches_the_report_says_so(
    tmp_path: Path, what: str, limit: int
) -> None:
    """In a user namespace of its own, whose limits are nobody else's."""
    command = [
        "unshare",
        "-Ur",
        sys.executable,
        "-W",
        "error",
        "-c",
        FEW_WATCHES,
        str(tmp_path),
        what,
        str(limit),
    ]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "the tripwire does not see all: " in ran.stdout and "limit" in ran.stdout


def test_it_leaves_no_thread_and_no_descriptor(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    wire = Tripwire(root, Protection(["*.csv"]), lambda: None)
    for _ in range(3):
        wire.draw([])
    wire.take_down()
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


def test_sessions_that_protect_nothing_do_not_even_import_it() -> None:
    code = (
        "import sys, mulligan.runtime.cli; print([m for m in ('watchdog', 'pathspec') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout == b"[]\n"
