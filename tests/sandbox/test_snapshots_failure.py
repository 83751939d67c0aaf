"""What a store does when the disk is full, when its files are damaged, and when its process is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mulligan.sandbox.errors import StoreDamaged
from mulligan.sandbox.snapshots import SnapshotStore

MIB = 1 << 20

FULL = """
import errno, os, subprocess, sys
from pathlib import Path
from mulligan.sandbox.errors import SnapshotError
from mulligan.sandbox.snapshots import SnapshotStore

home = Path(sys.argv[1])
root, small = home / "root", home / "small"
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(small)], check=True)
with SnapshotStore.open(root, small / "store") as store:
    (root / "file").write_bytes(b"first")
    first = store.snapshot()
    for shape in ("many small", "one large"):
        for number in range(16):
            (root / f"new{number}").write_bytes(os.urandom(1 << 20))
        if shape == "one large":
            (root / "large").write_bytes(os.urandom(12 << 20))
        for _ in range(2):
            try:
                store.snapshot()
            except SnapshotError as error:
                assert error.errno == errno.ENOSPC, error
                assert "room" in error.hint
            else:
                raise AssertionError("16 MiB went into 8")
            assert store.head == first.id
            assert store.verify() == ()
        for number in range(16):
            (root / f"new{number}").unlink()
    (root / "large").unlink()
    (root / "file").write_bytes(b"second")
    second = store.snapshot()
    assert {change.path for change in second.changes} == {b"", b"file"}
    assert store.restore(first.id).stands == ()
    assert (root / "file").read_bytes() == b"first"
    assert store.verify() == ()
"""

RESTORE = """
import sys
from pathlib import Path
from mulligan.sandbox.snapshots import SnapshotStore

with SnapshotStore.open(Path(sys.argv[1]), Path(sys.argv[2])) as store:
    print("ready", flush=True)
    store.restore(1)
"""

SNAPSHOT = RESTORE.replace("store.restore(1)", "store.snapshot()")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


def test_a_full_disk_is_an_error_that_leaves_the_store_whole(root: Path, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    space = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    command = [*space, sys.executable, "-c", FULL, str(tmp_path)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _flip(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))


@pytest.mark.parametrize("harm", [_cut, _flip, Path.unlink], ids=["cut", "one bit flipped", "gone"])
@pytest.mark.parametrize("where", ["packs", "large"])
def test_damage_is_named_and_never_restored(
    root: Path, tmp_path: Path, where: str, harm: Callable[[Path], None]
) -> None:
    size = 2 * MIB if where == "large" else MIB // 10
    (root / "file").write_bytes(b"intact" * size)
    with SnapshotStore.open(root, tmp_path / "store") as store:
        first = store.snapshot()
        (root / "file").write_bytes(b"now" * size)
        (root / "other").write_text("made later")
        store.snapshot()
    stored = {path.stat().st_mtime_ns: path for path in (tmp_path / "store" / where).iterdir()}
    oldest = stored[min(stored)]
    harm(oldest)
    with SnapshotStore.open(root, tmp_path / "store") as store:
        (fault,) = store.verify()
        assert oldest.name in fault
        with pytest.raises(StoreDamaged, match=oldest.name) as caught:
            store.read(first.id, b"file")
        assert caught.value.hint
        done = store.restore(first.id)
        assert [stand.path for stand in done.stands] == [b"file"]
        assert oldest.name in done.stands[0].why
    assert (root / "file").read_bytes() == b"now" * size
    assert not (root / "other").exists()


def test_an_index_that_is_no_index_is_damage(root: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "index.sqlite").write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreDamaged, match="cannot be read"):
        SnapshotStore.open(root, tmp_path / "store")


def _kill_when(script: str, root: Path, folder: Path, seen: Callable[[], bool]) -> None:
    """Run a script and kill it as soon as something is seen to have happened."""
    command = [sys.executable, "-c", script, str(root), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while not seen():
            assert process.poll() is None, "it ended before it could be killed"
        process.kill()
    assert process.returncode == -signal.SIGKILL


def _state(root: Path) -> dict[str, tuple[bytes, int, int]]:
    return {
        path.name: (path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns)
        for path in sorted(root.iterdir())
    }


def test_a_restore_that_is_killed_is_finished_when_the_store_is_opened_again(
    root: Path, tmp_path: Path
) -> None:
    files = [root / f"file{number:04d}" for number in range(3000)]
    for file in files:
        file.write_bytes(file.name.encode())
    with SnapshotStore.open(root, tmp_path / "store") as store:
        first, before = store.snapshot(), _state(root)
        for file in files[::2]:
            file.write_bytes(b"changed")
        for file in files[1::2]:
            file.unlink()
        second, after = store.snapshot(), _state(root)
    _kill_when(RESTORE, root, tmp_path / "store", lambda: files[0].read_bytes() != b"changed")
    assert _state(root) not in (before, after), "it was killed in the middle"
    with SnapshotStore.open(root, tmp_path / "store") as store:
        assert store.head == first.id
        assert _state(root) == before
        assert store.restore(second.id).stands == ()
        assert _state(root) == after
        assert store.verify() == ()


def test_a_snapshot_that_is_killed_leaves_the_store_as_it_was(root: Path, tmp_path: Path) -> None:
    with SnapshotStore.open(root, tmp_path / "store") as store:
        first = store.snapshot()
    for number in range(3000):
        (root / f"file{number}").write_bytes(number.to_bytes(2, "big") * 4000)
    packs = tmp_path / "store" / "packs"
    _kill_when(SNAPSHOT, root, tmp_path / "store", lambda: any(packs.iterdir()))
    with SnapshotStore.open(root, tmp_path / "store") as store:
        assert store.head == first.id
        assert list(packs.iterdir()) == []
        assert len(store.snapshot().changes) == 3001
        assert store.verify() == ()
