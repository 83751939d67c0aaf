"""Any work, any snapshots, restores to any of them, by a store that watches and one that scans over the same tree: at
each snapshot both tell of the same changes, and each restore gives the tree that was there."""

from __future__ import annotations

import mmap
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mulligan.sandbox.snapshots import Snapshot, SnapshotStore, content
from mulligan.sandbox.snapshots.store import MOST_WATCHES

from .matrix import access_list, exchange, remove
from .walk import Tree, walk

#: of 100 steps each, in `make soak`
HISTORIES = int(os.environ.get("MULLIGAN_HISTORIES", "1000"))
MIB = 1 << 20
NAMES = st.sampled_from(["a", "A", "b", "a/a", "a/b", "b/a", "b/" + "n" * 255, "c\n\udcff", "a/a/a"])
SIZES = st.sampled_from([0, 1, 4096, 70_000, MIB + 5])
SEEDS = st.integers(0, 9)


class Lockstep(RuleBasedStateMachine):
    """Plays the part of a session too: it knows which files are mapped, and whether hard links were made."""

    done: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp())
        self.root = self.home / "root"
        for folder in (self.root, self.root / "a", self.root / "a/a", self.root / "b"):
            folder.mkdir()
        for name in ("A", "a/b", "a/a/a", "b/a", "b/" + "n" * 255):
            (self.root / name).write_bytes(_noise(4096, 0))
        self.stores = [self._open("watches"), self._open("scan")]
        self.known: list[tuple[list[int], Tree]] = []
        self.maps: list[tuple[int, mmap.mmap]] = []
        self.open: list[int] = []
        self.linked = False

    def _open(self, detector: str) -> SnapshotStore:
        watches = MOST_WATCHES if detector == "watches" else 0
        store = SnapshotStore.open(self.root, self.home / detector, watches=watches)
        assert store.detector.name == detector
        return store

    def teardown(self) -> None:
        """Every history ends with a way back to its oldest moment that is kept."""
        if self.known:
            self.restore(0, len(self.known) % 2)
        self._let_go()
        faults = [store.verify() for store in self.stores]
        for store in self.stores:
            store.close()
        shutil.rmtree(self.home)
        assert faults == [(), ()]

    def _let_go(self) -> None:
        for fd, memory in self.maps:
            memory.close()
            os.close(fd)
        for fd in self.open:
            os.close(fd)
        self.maps, self.open = [], []

    def _try(self, act: Callable[[], object]) -> None:
        with suppress(OSError, ValueError):  # there is no such path, or one in the way: then nothing happens
            act()
            Lockstep.done["works"] += 1

    def _told(self) -> dict[str, Any]:
        """What a session tells its store: the names of mapped files, and whether to look at every entry: where a link
        was made, or a file is open under a name that it lost."""
        names = [os.readlink(f"/proc/self/fd/{fd}") for fd, _ in self.maps]
        held = [os.readlink(f"/proc/self/fd/{fd}") for fd in self.open]
        lost = any(name.endswith(" (deleted)") for name in (*names, *held))
        mapped = [os.fsencode(os.path.relpath(name, self.root)) for name in names]
        return {"mapped": mapped, "thorough": self.linked or lost}

    def _snapshots(self) -> list[Snapshot]:
        told = self._told()
        shots = [store.snapshot(**told) for store in self.stores]
        self.linked = False
        Lockstep.done["snapshots"] += 1
        return shots

    # -- the stores --------------------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        self.snapshot()

    @rule()
    def snapshot(self) -> None:
        watched, scanned = self._snapshots()
        assert watched.changes == scanned.changes
        self.known.append(([watched.id, scanned.id], walk(self.root)))

    @precondition(lambda self: self.known)
    @rule(pick=st.integers(0, 999), by=st.integers(0, 1))
    def go(self, pick: int, by: int) -> None:
        self.restore(pick, by)

    def restore(self, pick: int, by: int) -> None:
        """By one of the stores; the other finds what that did as work like any other."""
        self.snapshot()
        ids, tree = self.known[pick % len(self.known)]
        back = self.stores[by].restore(ids[by], **self._told())
        assert (back.stands, walk(self.root)) == ((), tree)
        self._both_are_here()
        assert self.stores[by].head == ids[by]
        Lockstep.done["restores"] += 1

    def _both_are_here(self) -> None:
        self.linked = True
        self._snapshots()
        heads = [store.entries(store.head or 0) for store in self.stores]
        assert heads[0] == heads[1]

    @precondition(lambda self: self.known)
    @rule(by=st.integers(0, 1))
    def undo(self, by: int) -> None:
        self.restore(len(self.known) - 1, by)

    @precondition(lambda self: self.known)
    @rule(pick=SEEDS)
    def go_and_keep_nothing(self, pick: int) -> None:
        ids, tree = self.known[pick % len(self.known)]
        assert self.stores[0].restore(ids[0], keep=False, **self._told()).stands == ()
        assert (walk(self.root), self.stores[0].head) == (tree, ids[0])
        self._both_are_here()

    @precondition(lambda self: self.known)
    @rule(keep=st.integers(1, 3))
    def let_go(self, keep: int) -> None:
        """Of all but every `keep`-th; those can be gone to as before."""
        kept = self.known[::keep]
        for number, store in enumerate(self.stores):
            store.collect([ids[number] for ids, _ in kept])
            assert {ids[number] for ids, _ in kept} <= store.snapshots
        self.known = [each for each in self.known if each in kept]

    @rule(which=st.integers(0, 1))
    def reopen(self, which: int) -> None:
        self.stores[which].close()
        self.stores[which] = self._open("scan" if which else "watches")

    # -- files -------------------------------------------------------------------------------------------------

    @rule(name=NAMES, size=SIZES, seed=SEEDS)
    def write(self, name: str, size: int, seed: int) -> None:
        self._try(lambda: _write(self.root / name, os.O_TRUNC, _noise(size, seed)))

    @rule(name=NAMES, size=SIZES, seed=SEEDS)
    def append(self, name: str, size: int, seed: int) -> None:
        self._try(lambda: _write(self.root / name, os.O_APPEND, _noise(size, seed)))

    @rule(name=NAMES, at=SIZES)
    def poke(self, name: str, at: int) -> None:
        self._try(lambda: _write(self.root / name, 0, b"poked", at))

    @rule(name=NAMES, size=SIZES)
    def truncate(self, name: str, size: int) -> None:
        self._try(lambda: None if (self.root / name).is_fifo() else os.truncate(self.root / name, size))

    @rule(name=NAMES, seed=SEEDS)
    def replace(self, name: str, seed: int) -> None:
        """As editors save: a new file is renamed over the old one."""
        fresh = self.root / "fresh"
        fresh.write_bytes(_noise(50, seed))
        self._try(lambda: fresh.rename(self.root / name))
        fresh.unlink(missing_ok=True)

    @rule(name=NAMES)
    def map(self, name: str) -> None:
        self._try(lambda: self.maps.append(_map(self.root / name)))

    @precondition(lambda self: self.maps)
    @rule(pick=SEEDS, byte=st.integers(0, 255))
    def store_in_memory(self, pick: int, byte: int) -> None:
        fd, memory = self.maps[pick % len(self.maps)]
        if os.fstat(fd).st_size >= mmap.PAGESIZE:  # beyond the end of its file a store is a SIGBUS
            memory[7] = byte

    @rule(name=NAMES)
    def hold(self, name: str) -> None:
        self._try(
            lambda: self.open.append(os.open(self.root / name, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW))
        )

    @precondition(lambda self: self.open)
    @rule(pick=SEEDS, at=SIZES)
    def write_what_is_held(self, pick: int, at: int) -> None:
        self._try(lambda: os.pwrite(self.open[pick % len(self.open)], b"held", at))

    @rule(name=NAMES, seed=SEEDS)
    def fill_without_a_name(self, name: str, seed: int) -> None:
        """A file gets its first name when its content is whole."""
        fd = os.open(self.root, os.O_RDWR | os.O_TMPFILE, 0o640)
        os.write(fd, _noise(80, seed))
        self.linked = True
        self._try(lambda: os.link(f"/proc/self/fd/{fd}", self.root / name, follow_symlinks=True))
        os.close(fd)

    @rule(name=NAMES, at=SIZES, size=SIZES)
    def punch(self, name: str, at: int, size: int) -> None:
        self._try(lambda: _punch(self.root / name, at, size))

    @precondition(lambda self: self.maps or self.open)
    @rule()
    def unmap(self) -> None:
        self._let_go()

    # -- names -------------------------------------------------------------------------------------------------

    @rule(name=NAMES)
    def make_folder(self, name: str) -> None:
        self._try((self.root / name).mkdir)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        self._try(lambda: remove(self.root / name))

    @rule(name=NAMES, to=NAMES)
    def rename(self, name: str, to: str) -> None:
        self._try(lambda: (self.root / name).rename(self.root / to))

    @rule(name=NAMES, to=NAMES)
    def exchange(self, name: str, to: str) -> None:
        self._try(lambda: exchange(name, to)(self.root))

    @rule(name=NAMES, to=NAMES)
    def hard_link(self, name: str, to: str) -> None:
        self.linked = True
        self._try(lambda: os.link(self.root / name, self.root / to, follow_symlinks=False))

    @rule(name=NAMES, to=NAMES)
    def write_through_a_name_that_comes_and_goes(self, name: str, to: str) -> None:
        self.linked = True
        with suppress(OSError):
            os.link(self.root / name, self.root / to, follow_symlinks=False)
            self._try(lambda: _write(self.root / to, 0, b"behind"))
            (self.root / to).unlink()

    @rule(name=NAMES, to=NAMES)
    def symlink(self, name: str, to: str) -> None:
        self._try(lambda: (self.root / name).symlink_to(to))

    @rule(name=NAMES)
    def fifo(self, name: str) -> None:
        self._try(lambda: os.mkfifo(self.root / name))

    # -- attributes --------------------------------------------------------------------------------------------

    @rule(name=NAMES, time=st.integers(0, 2**40) | st.sampled_from([-1, -(10**18), 13 * 10**18]))
    def time(self, name: str, time: int) -> None:
        self._try(lambda: os.utime(self.root / name, ns=(0, time), follow_symlinks=False))

    @rule(name=NAMES, mode=st.sampled_from([0, 0o700, 0o755, 0o1777, 0o2775, 0o6711]))
    def mode(self, name: str, mode: int) -> None:
        if not (self.root / name).is_symlink():
            self._try(lambda: (self.root / name).chmod(mode))

    @rule(name=NAMES, owner=st.sampled_from([0, 1234]))
    def owner(self, name: str, owner: int) -> None:
        if os.geteuid() == 0:
            self._try(lambda: os.chown(self.root / name, owner, owner, follow_symlinks=False))

    @rule(name=NAMES, value=st.binary(max_size=3))
    def attribute(self, name: str, value: bytes) -> None:
        self._try(lambda: os.setxattr(self.root / name, "user.x", value, follow_symlinks=False))

    @rule(name=NAMES)
    def no_attribute(self, name: str) -> None:
        self._try(lambda: os.removexattr(self.root / name, "user.x", follow_symlinks=False))

    @rule(name=NAMES)
    def access_list(self, name: str) -> None:
        self._try(lambda: access_list(self.root / name))

    @rule(name=NAMES)
    def default_access_list(self, name: str) -> None:
        """What is made in the folder from then on inherits it."""
        self._try(lambda: access_list(self.root / name, "default"))


def _noise(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def _write(path: Path, flags: int, content: bytes, at: int = 0) -> None:
    """Not into a FIFO, where it would wait for a reader."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | flags, 0o644)
    try:
        if not flags & os.O_APPEND:
            os.lseek(fd, at, os.SEEK_SET)
        os.write(fd, content)
    finally:
        os.close(fd)


def _punch(path: Path, at: int, size: int) -> None:
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        content.forget(fd, at, at + size)
    finally:
        os.close(fd)


def _map(path: Path) -> tuple[int, mmap.mmap]:
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        return fd, mmap.mmap(fd, mmap.PAGESIZE)
    except (OSError, ValueError):
        os.close(fd)
        raise


@pytest.mark.parametrize(
    ("histories", "steps"),
    [(40, 50), pytest.param(HISTORIES, 100, marks=[pytest.mark.soak, pytest.mark.timeout(7200)])],
    ids=["2,000 steps", "many"],
)
def test_any_history_is_told_alike_by_both_detectors_and_every_restore_is_exact(
    histories: int, steps: int
) -> None:
    Lockstep.done.clear()
    run_state_machine_as_test(
        Lockstep, settings=settings(max_examples=histories, stateful_step_count=steps, deadline=None)
    )
    assert Lockstep.done["works"] > histories * steps / 20, "most of what is tried finds its path"
    assert Lockstep.done["restores"] > histories / 2
