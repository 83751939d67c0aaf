"""A restore gives back the very tree: compared by a walker of its own, which shares nothing with the store."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from mulligan.sandbox.errors import SnapshotError, SnapshotUnknown
from mulligan.sandbox.snapshots import Kind, SnapshotStore
from mulligan.sandbox.snapshots.store import MOST_WATCHES

Tree = dict[bytes, tuple[object, ...]]
MIB = 1 << 20
DETECTORS = {"watches": MOST_WATCHES, "scan": 0}


def walk(root: Path) -> Tree:
    """Everything that a restore promises about a tree, by path."""
    top = os.fsencode(root)
    inodes: dict[int, bytes] = {}
    found: Tree = {}
    for path in sorted(_paths(top)):
        status = os.lstat(path)
        names: tuple[object, ...] = ()
        if not stat.S_ISDIR(status.st_mode):
            names = (status.st_nlink, inodes.setdefault(status.st_ino, path))
        attributes = [(name, os.getxattr(path, name, follow_symlinks=False)) for name in _attributes(path)]
        shape = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, names, attributes)
        found[path[len(top) :]] = (*shape, _content(path, status))
    return found


def _paths(top: bytes) -> Iterator[bytes]:
    yield top
    for folder, folders, files in os.walk(top):
        yield from (os.path.join(folder, name) for name in (*folders, *files))


def _attributes(path: bytes) -> list[str]:
    return sorted(name for name in os.listxattr(path, follow_symlinks=False) if name.startswith("user."))


def _content(path: bytes, status: os.stat_result) -> object:
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(path)
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return None


def furnish(root: Path) -> None:
    """One of everything."""
    (root / "folder" / "inner").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "file").write_bytes(b"as it was")
    (root / "folder" / "file").write_bytes(random.Random(1).randbytes(5000))
    (root / "folder" / "inner" / "deep").write_bytes(b"deep")
    (root / "big").write_bytes(random.Random(2).randbytes(2 * MIB + 77))
    (root / "nothing").touch()
    (root / "one").write_bytes(b"shared")
    (root / "two").hardlink_to(root / "one")
    (root / "link").symlink_to("folder/file")
    (root / "dangling").symlink_to("/nowhere/at all")
    (root / "line\nbreak").write_bytes(b"a name with a line break")
    Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe\x80")).write_bytes(b"a name that is not UTF-8")
    os.mkfifo(root / "fifo", 0o640)
    os.setxattr(root / "file", "user.colour", b"blue\0\xff")
    os.setxattr(root / "folder", "user.colour", b"red")
    (root / "suid").write_bytes(b"#!")
    (root / "suid").chmod(0o4755)
    (root / "locked").write_bytes(b"locked")
    (root / "locked").chmod(0)
    with open(root / "sparse", "wb") as file:
        file.seek(64 * MIB)
        file.write(b"the end")
    with open(root / "little-sparse", "wb") as file:
        file.seek(MIB // 2)
        file.write(b"the end")
    os.utime(root / "file", ns=(1, 987654321_123456789))
    os.utime(root / "link", ns=(1, 55_000000007), follow_symlinks=False)
    os.utime(root / "folder", ns=(1, 987654321_000000001))


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_name("fresh")
    fresh.write_bytes(content)
    fresh.rename(path)


def _append(path: Path, content: bytes) -> None:
    with open(path, "ab") as file:
        file.write(content)


def _overwrite(path: Path, offset: int, content: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(content)


def _write(path: Path, content: bytes) -> None:
    """Like `write_bytes`, but a FIFO is an error instead of a wait."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK
    with open(os.open(path, flags, 0o644), "wb") as file:
        file.write(content)


def _swap(path: Path, make: Callable[[Path], object]) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    make(path)


def _bind(path: Path) -> None:
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"{short}/s")
        os.rename(f"{short}/s", path)


def _open_up(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"open")


def _names(root: Path) -> Path:
    return Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe\x80"))


MUTATIONS: dict[str, Callable[[Path], object]] = {
    "a file is written": lambda r: (r / "file").write_bytes(b"else"),
    "a file grows": lambda r: _append(r / "folder" / "file", b"more" * 4000),
    "a file is cut": lambda r: os.truncate(r / "folder" / "file", 10),
    "a file is emptied": lambda r: os.truncate(r / "file", 0),
    "an empty file is filled": lambda r: (r / "nothing").write_bytes(b"something"),
    "a file is replaced by rename": lambda r: _replace(r / "file", b"a new inode"),
    "a large file changes in the middle": lambda r: _overwrite(r / "big", MIB, b"changed"),
    "a large file becomes small": lambda r: os.truncate(r / "big", 3),
    "a small file becomes large": lambda r: _append(r / "file", bytes(range(256)) * 8192),
    "a large file is deleted": lambda r: (r / "big").unlink(),
    "a file is deleted": lambda r: (r / "folder" / "inner" / "deep").unlink(),
    "a file is made": lambda r: (r / "folder" / "new").write_bytes(b"new"),
    "a tree is deleted": lambda r: shutil.rmtree(r / "folder"),
    "a tree is made": lambda r: shutil.copytree(r / "folder", r / "made" / "of" / "it"),
    "a folder is renamed": lambda r: (r / "folder").rename(r / "empty" / "moved"),
    "an empty folder is removed": lambda r: (r / "empty").rmdir(),
    "two files change places": lambda r: ((r / "one").rename(r / "x"), (r / "file").rename(r / "one")),
    "a mode changes": lambda r: (r / "file").chmod(0o600),
    "a setuid bit goes": lambda r: (r / "suid").chmod(0o755),
    "a folder's mode changes": lambda r: (r / "folder").chmod(0o1777),
    "a locked file is opened up": lambda r: _open_up(r / "locked"),
    "a file is locked": lambda r: (r / "folder" / "file").chmod(0),
    "a time changes": lambda r: os.utime(r / "file", ns=(5, 5)),
    "a folder's time changes": lambda r: os.utime(r / "empty", ns=(5, 123)),
    "a symlink's time changes": lambda r: os.utime(r / "link", ns=(5, 123), follow_symlinks=False),
    "a symlink points elsewhere": lambda r: _swap(r / "link", lambda p: p.symlink_to("one")),
    "a symlink is deleted": lambda r: (r / "dangling").unlink(),
    "a symlink becomes a folder": lambda r: _swap(r / "link", Path.mkdir),
    "a folder becomes a symlink": lambda r: _swap(r / "folder", lambda p: p.symlink_to("empty")),
    "a folder becomes a file": lambda r: _swap(r / "folder", Path.touch),
    "a file becomes a folder": lambda r: _swap(r / "file", lambda p: (p / "in it").mkdir(parents=True)),
    "a fifo becomes a file": lambda r: _swap(r / "fifo", Path.touch),
    "a fifo is deleted": lambda r: (r / "fifo").unlink(),
    "a hard link is made": lambda r: (r / "three").hardlink_to(r / "one"),
    "a file gets its first hard link": lambda r: (r / "folder" / "also").hardlink_to(r / "file"),
    "a hard link is deleted": lambda r: (r / "two").unlink(),
    "a hard link gets an inode of its own": lambda r: _replace(r / "two", b"shared"),
    "a hard-linked file is written": lambda r: (r / "two").write_bytes(b"written through one name"),
    "hard links are dealt anew": lambda r: _swap(r / "two", lambda p: p.hardlink_to(r / "file")),
    "an attribute changes": lambda r: os.setxattr(r / "file", "user.colour", b"green"),
    "an attribute goes": lambda r: os.removexattr(r / "folder", "user.colour"),
    "an attribute comes": lambda r: os.setxattr(r / "suid", "user.new", b""),
    "a sparse file is filled": lambda r: _overwrite(r / "sparse", MIB, b"in the hole" * 9999),
    "a little sparse file is filled": lambda r: _overwrite(r / "little-sparse", 9, b"in the hole" * 9999),
    "a sparse file is deleted": lambda r: (r / "sparse").unlink(),
    "odd names change": lambda r: (r / "line\nbreak").rename(_names(r)),
    "a socket is made": lambda r: _bind(r / "folder" / "socket"),
    "nothing happens": lambda r: None,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    furnish(root)
    return root


@pytest.fixture(params=DETECTORS)
def watches(request: pytest.FixtureRequest) -> int:
    return DETECTORS[request.param]


@pytest.fixture
def store(root: Path, tmp_path: Path, watches: int) -> Iterator[SnapshotStore]:
    with SnapshotStore.open(root, tmp_path / "store", watches=watches) as store:
        assert DETECTORS[store.detector.name] == watches
        yield store


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_undo_and_redo_give_the_very_trees(root: Path, store: SnapshotStore, mutation: str) -> None:
    first, before = store.snapshot(), walk(root)
    MUTATIONS[mutation](root)
    second, after = store.snapshot(), walk(root)
    assert bool(second.changes) is (before != after)

    undone = store.restore(first.id)
    assert (undone.stands, walk(root), store.head) == ((), before, first.id)
    assert {change.path for change in undone.changed} == {change.path for change in second.changes}

    redone = store.restore(second.id)
    sockets = [change.path for change in second.changes if change.after and change.after.kind is Kind.SOCKET]
    assert [stand.path for stand in redone.stands] == sockets
    for path in sockets:
        after.pop(b"/" + path)
    assert walk(root) == after
    assert store.verify() == ()


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_restore_that_keeps_nothing_gives_the_very_tree_and_takes_no_room(
    root: Path, store: SnapshotStore, tmp_path: Path, mutation: str
) -> None:
    first, before = store.snapshot(), walk(root)
    kept = sorted(path.name for path in tmp_path.rglob("store/*/*"))
    MUTATIONS[mutation](root)
    assert store.restore(first.id, keep=False).stands == ()
    assert (walk(root), store.head) == (before, first.id)
    assert sorted(path.name for path in tmp_path.rglob("store/*/*")) == kept
    assert store.snapshot(thorough=True).id == first.id


def test_what_was_not_in_a_snapshot_is_kept_by_the_restore(root: Path, store: SnapshotStore) -> None:
    first = store.snapshot()
    (root / "file").write_bytes(b"never in a snapshot of its own")
    unseen = walk(root)
    store.restore(first.id)
    assert store.restore(first.id + 1).stands == ()
    assert walk(root) == unseen


def test_a_branch_differs_from_another_through_their_common_ancestor(
    root: Path, store: SnapshotStore
) -> None:
    base = store.snapshot()
    (root / "file").write_bytes(b"left")
    left = store.snapshot()
    store.restore(base.id)
    (root / "one").unlink()
    right = store.snapshot()
    assert (left.parent, right.parent) == (base.id, base.id)
    changed = {change.path: change.action for change in store.diff(left.id, right.id)}
    assert changed == {b"": "changed", b"file": "changed", b"one": "removed", b"two": "changed"}
    assert store.diff(left.id, left.id) == ()
    assert b"one" in store.entries(left.id) and b"one" not in store.entries(right.id)


def test_a_file_is_restored_into_the_inode_that_processes_have_open(root: Path, store: SnapshotStore) -> None:
    first = store.snapshot()
    with open(root / "file", "r+b") as held:
        held.write(b"changed through it, and longer than before")
        held.flush()
        (root / "alias").hardlink_to(root / "file")
        store.restore(first.id)
        assert os.fstat(held.fileno()).st_ino == (root / "file").stat().st_ino
        held.seek(0)
        assert held.read() == b"as it was"


def test_a_program_that_runs_is_restored_beside_the_one_that_runs(root: Path, store: SnapshotStore) -> None:
    program = root / "program"
    shutil.copy("/bin/sleep", program)
    first, before = store.snapshot(), walk(root)
    _append(program, b"another build")
    with subprocess.Popen([program, "60"]) as running:
        assert store.restore(first.id).stands == ()
        assert running.poll() is None
        running.kill()
    assert walk(root) == before


def test_sparse_files_stay_sparse(root: Path, store: SnapshotStore) -> None:
    first = store.snapshot()
    _overwrite(root / "sparse", 0, b"x" * 9 * MIB)
    _overwrite(root / "little-sparse", 0, b"x" * 99_999)
    store.restore(first.id)
    (root / "sparse").unlink()
    store.restore(first.id)
    assert (root / "sparse").stat().st_blocks * 512 < MIB
    assert (root / "little-sparse").stat().st_blocks * 512 < 64 * 1024
    assert store.read(first.id, b"sparse", 10) == bytes(10)


def test_owners_come_back_where_we_may_set_them(root: Path, store: SnapshotStore) -> None:
    group = os.getgid() if os.geteuid() else 4321
    os.chown(root / "file", os.geteuid() or 1234, group)
    first, before = store.snapshot(), walk(root)
    (root / "file").unlink()
    store.restore(first.id)
    assert walk(root) == before


def test_contents_are_read_from_any_snapshot(root: Path, store: SnapshotStore) -> None:
    first = store.snapshot()
    big = (root / "big").read_bytes()
    (root / "file").write_bytes(b"later")
    (root / "big").unlink()
    second = store.snapshot()
    assert store.read(first.id, b"file") == b"as it was"
    assert store.read(second.id, b"file", 2) == b"la"
    assert store.read(first.id, b"big") == big
    with pytest.raises(SnapshotError, match="nothing at snapshot"):
        store.read(second.id, b"big")
    with pytest.raises(SnapshotError, match="a folder at snapshot"):
        store.read(second.id, b"folder")
    with pytest.raises(SnapshotUnknown, match="no snapshot 99"):
        store.restore(99)


def test_a_store_that_is_opened_again_goes_on_where_it_was(root: Path, tmp_path: Path, watches: int) -> None:
    with SnapshotStore.open(root, tmp_path / "store", watches=watches) as store:
        first, before = store.snapshot(), walk(root)
        with pytest.raises(SnapshotError, match="is in use"):
            SnapshotStore.open(root, tmp_path / "store")
    (root / "file").write_bytes(b"while it was closed")
    shutil.rmtree(root / "folder")
    with SnapshotStore.open(root, tmp_path / "store", watches=watches) as store:
        assert store.head == first.id
        assert b"file" in {change.path for change in store.snapshot().changes}
        assert store.restore(first.id).stands == ()
    assert walk(root) == before


def test_a_write_within_one_tick_of_the_snapshot_is_found_by_the_next(
    root: Path, store: SnapshotStore
) -> None:
    store.snapshot()
    for round in range(50):
        (root / "file").write_bytes(b"%04d" % round)
        first = store.snapshot()
        _overwrite(root / "file", 0, b"%04d" % (round + 5000))
        assert store.read(first.id, b"file") == b"%04d" % round
        assert store.read(store.snapshot().id, b"file") == b"%04d" % (round + 5000)


NAMES = st.sampled_from(["a", "b", "a/a", "a/b", "b/a", "c\n\udcff", "a/a/a"])
SIZES = st.sampled_from([0, 1, 4096, 70_000, MIB + 5])


class Fuzz(RuleBasedStateMachine):
    """Any mutations, any snapshots, restores to any of them: each gives the tree that was there."""

    watches: int

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp())
        self.root = self.home / "root"
        self.root.mkdir()
        self.store = self._open()
        self.known: dict[int, Tree] = {}

    def _open(self) -> SnapshotStore:
        return SnapshotStore.open(self.root, self.home / "store", watches=self.watches)

    def teardown(self) -> None:
        faults = self.store.verify()
        self.store.close()
        shutil.rmtree(self.home)
        assert faults == ()

    def _try(self, act: Callable[[], object]) -> None:
        with suppress(OSError):  # there is no such path, or one in the way: then nothing happens
            act()

    @rule()
    def snapshot(self) -> None:
        self.known[self.store.snapshot().id] = walk(self.root)

    @rule(name=NAMES, size=SIZES, seed=st.integers(0, 9))
    def write(self, name: str, size: int, seed: int) -> None:
        self._try(lambda: _write(self.root / name, random.Random(seed).randbytes(size)))

    @rule(name=NAMES, at=SIZES)
    def poke(self, name: str, at: int) -> None:
        self._try(lambda: _overwrite(self.root / name, at, b"poked"))

    @rule(name=NAMES)
    def make_folder(self, name: str) -> None:
        self._try((self.root / name).mkdir)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        self._try(lambda: _swap(self.root / name, lambda path: None))

    @rule(name=NAMES, to=NAMES)
    def rename(self, name: str, to: str) -> None:
        self._try(lambda: (self.root / name).rename(self.root / to))

    @rule(name=NAMES, to=NAMES)
    def hard_link(self, name: str, to: str) -> None:
        self._try(lambda: os.link(self.root / name, self.root / to, follow_symlinks=False))

    @rule(name=NAMES, to=NAMES)
    def symlink(self, name: str, to: str) -> None:
        self._try(lambda: (self.root / name).symlink_to(to))

    @rule(name=NAMES)
    def fifo(self, name: str) -> None:
        self._try(lambda: os.mkfifo(self.root / name))

    @rule(name=NAMES, mode=st.sampled_from([0o700, 0o755, 0o1777]), time=st.integers(0, 2**40))
    def touch(self, name: str, mode: int, time: int) -> None:
        self._try(lambda: os.utime(self.root / name, ns=(0, time), follow_symlinks=False))
        if not (self.root / name).is_symlink():
            self._try(lambda: (self.root / name).chmod(mode))

    @rule(name=NAMES, value=st.binary(max_size=3))
    def attribute(self, name: str, value: bytes) -> None:
        self._try(lambda: os.setxattr(self.root / name, "user.x", value, follow_symlinks=False))

    @precondition(lambda self: self.known)
    @rule(pick=st.integers(0, 999))
    def restore(self, pick: int) -> None:
        before = walk(self.root)
        id = sorted(self.known)[pick % len(self.known)]
        made = self.store.snapshot().id
        self.known[made] = before
        assert self.store.restore(id).stands == ()
        assert walk(self.root) == self.known[id]

    @precondition(lambda self: self.known)
    @rule(pick=st.integers(0, 999))
    def give_up(self, pick: int) -> None:
        id = sorted(self.known)[pick % len(self.known)]
        assert self.store.restore(id, keep=False).stands == ()
        assert walk(self.root) == self.known[id]

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self._open()


class Watched(Fuzz):
    watches = DETECTORS["watches"]


class Scanned(Fuzz):
    watches = DETECTORS["scan"]


HISTORIES = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestAnyHistoryWithWatches = Watched.TestCase
TestAnyHistoryWithScans = Scanned.TestCase
TestAnyHistoryWithWatches.settings = TestAnyHistoryWithScans.settings = HISTORIES
