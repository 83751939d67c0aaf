"""What a store promises beside the matrix: branches, open files, programs that run, contents from any snapshot."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mulligan.sandbox.errors import SnapshotError, SnapshotUnknown
from mulligan.sandbox.snapshots import SnapshotStore
from mulligan.sandbox.snapshots.store import MOST_WATCHES

from .walk import walk

MIB = 1 << 20
DETECTORS = {"watches": MOST_WATCHES, "scan": 0}


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


def _append(path: Path, content: bytes) -> None:
    with open(path, "ab") as file:
        file.write(content)


def _overwrite(path: Path, offset: int, content: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(content)


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


def test_a_socket_is_removed_by_undo_and_named_by_redo(root: Path, store: SnapshotStore) -> None:
    first, before = store.snapshot(), walk(root)
    with tempfile.TemporaryDirectory(dir="/tmp") as short, socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"{short}/s")
        os.rename(f"{short}/s", root / "folder" / "socket")
    second = store.snapshot()
    assert (store.restore(first.id).stands, walk(root)) == ((), before)
    (stand,) = store.restore(second.id).stands
    assert stand.path == b"folder/socket" and "cannot be made again" in stand.why


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
