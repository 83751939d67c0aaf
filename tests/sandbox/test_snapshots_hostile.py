"""Restores while somebody works against them: swapped folders, planted links, locked folders, files in motion."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mulligan.sandbox.snapshots import SnapshotStore
from mulligan.sandbox.snapshots.store import MOST_WATCHES

DETECTORS = {"watches": MOST_WATCHES, "scan": 0}

FLIP = """
import ctypes, sys
exchange = ctypes.CDLL(None, use_errno=True).renameat2
a, b = (name.encode() for name in sys.argv[1:])
print("flipping", flush=True)
while True:
    if exchange(-100, a, -100, b, 2):
        exchange(-100, b, -100, a, 2)
"""

CHURN = """
import sys
print("writing", flush=True)
round = 0
while True:
    round += 1
    with open(sys.argv[1], "r+b", buffering=0) as file:
        file.write(bytes([round % 256]) * 500_000)
"""

LOCKED = """
import os, sys
from pathlib import Path
from mulligan.sandbox.snapshots import SnapshotStore

root, folder = Path(sys.argv[1]), Path(sys.argv[2])
if os.geteuid() == 0:
    os.chown(root.parent, 65534, 65534)
    os.chown(root, 65534, 65534)
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
shape = lambda: [(p, os.lstat(p).st_mode, os.lstat(p).st_mtime_ns) for p in (root / "outer", root / "file")]
with SnapshotStore.open(root, folder, watches=int(sys.argv[3])) as store:
    (root / "outer/inner").mkdir(parents=True)
    (root / "outer/inner/file").write_text("kept")
    (root / "outer/inner/plain").write_text("plain")
    (root / "file").write_text("kept")
    os.setxattr(root / "file", "user.a", b"1")
    os.setxattr(root / "outer", "user.a", b"1")
    for path in ("outer/inner/file", "outer/inner", "outer", "file"):
        (root / path).chmod(0)
    before, first = shape(), store.snapshot()
    assert shape() == before, "a snapshot leaves what is locked as it is"
    assert store.snapshot().changes == ()
    for path in ("outer", "outer/inner", "outer/inner/file", "file"):
        (root / path).chmod(0o755)
    os.setxattr(root / "file", "user.a", b"2")
    os.removexattr(root / "outer", "user.a")
    (root / "outer/inner/file").write_text("wrecked")
    (root / "outer/inner/new").write_text("new")
    (root / "outer/inner/plain").unlink()
    (root / "file").unlink()
    (root / "outer/inner").chmod(0o500)
    (root / "outer").chmod(0)
    second = store.snapshot()
    for target in (first, second, first):
        done = store.restore(target.id)
        assert done.stands == (), done.stands
        assert store.snapshot().changes == ()
    assert shape() == before
    assert store.read(first.id, b"outer/inner/file") == b"kept"
    for path in ("outer", "outer/inner"):
        assert (root / path).stat().st_mode & 0o777 == 0
        (root / path).chmod(0o700)
    (root / "outer/inner/file").chmod(0o600)
    assert (root / "outer/inner/file").read_text() == "kept"
    assert sorted(os.listdir(root / "outer/inner")) == ["file", "plain"]
"""


@contextmanager
def _running(script: str, *arguments: Path) -> Iterator[None]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
            assert process.poll() is None, "the attack must last as long as what it attacks"
        finally:
            process.kill()


def _contents(root: Path) -> dict[str, tuple[int, bytes | None]]:
    paths = [path for path in sorted(root.rglob("*")) if not path.is_symlink()]
    return {
        str(path.relative_to(root)): (path.stat().st_mode, path.read_bytes() if path.is_file() else None)
        for path in paths
    }


@pytest.fixture(params=DETECTORS)
def watches(request: pytest.FixtureRequest) -> int:
    return DETECTORS[request.param]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


def test_a_folder_that_flips_to_a_symlink_never_leads_a_restore_outside(
    root: Path, tmp_path: Path, watches: int
) -> None:
    outside, target = tmp_path / "outside", root / "target"
    for folder in (outside, target):
        (folder / "deep").mkdir(parents=True)
        for number in range(20):
            (folder / f"file{number}").write_text("ours")
            (folder / "deep" / f"file{number}").write_text("ours")
    untouched = _contents(outside)
    with SnapshotStore.open(root, tmp_path / "store", watches=watches) as store:
        first, before = store.snapshot(), _contents(root)
        for number in range(20):
            (target / f"file{number}").write_text("changed")
            (target / "deep" / f"file{number}").unlink()
            (target / "deep" / f"new{number}").write_text("new")
        second = store.snapshot()
        (root / "bait").symlink_to(outside)
        with _running(FLIP, target, root / "bait"):
            for _ in range(20):
                for snapshot in (first, second):
                    store.restore(snapshot.id)
                    assert _contents(outside) == untouched
        done = store.restore(first.id)
        assert (done.stands, _contents(root)) == ((), before)


def test_planted_symlinks_and_hard_links_are_not_written_through(
    root: Path, tmp_path: Path, watches: int
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("theirs")
    (root / "folder").mkdir()
    (root / "folder" / "file").write_text("ours")
    (root / "file").write_text("ours")
    with SnapshotStore.open(root, tmp_path / "store", watches=watches) as store:
        first = store.snapshot()
        shutil.rmtree(root / "folder")
        (root / "folder").symlink_to(outside)
        (root / "file").unlink()
        (root / "file").symlink_to(outside / "file")
        assert store.restore(first.id).stands == ()
    assert (outside / "file").read_text() == "theirs"
    assert (root / "folder" / "file").read_text() == (root / "file").read_text() == "ours"


def test_a_file_that_is_written_while_it_is_read_is_read_again_by_the_next_snapshot(
    root: Path, tmp_path: Path, watches: int
) -> None:
    (root / "file").write_bytes(bytes(500_000))
    with SnapshotStore.open(root, tmp_path / "store", watches=watches) as store:
        with _running(CHURN, root / "file"):
            for _ in range(30):
                snapshot = store.snapshot()
                store.read(snapshot.id, b"file")
        final = store.snapshot()
        assert store.read(final.id, b"file") == (root / "file").read_bytes()
        assert store.verify() == ()


def test_what_changes_again_at_once_is_said_to_stand_or_found_by_the_next_snapshot(
    root: Path, tmp_path: Path, watches: int
) -> None:
    (root / "file").write_bytes(b"quiet")
    with SnapshotStore.open(root, tmp_path / "store", watches=watches) as store:
        first, quiet = store.snapshot(), (root / "file").stat().st_mtime_ns
        (root / "file").write_bytes(bytes(500_000))
        with _running(CHURN, root / "file"):
            done = store.restore(first.id)
        noisy = ((root / "file").read_bytes(), (root / "file").stat().st_mtime_ns) != (b"quiet", quiet)
        listed = [stand.path for stand in done.stands] == [b"file"]
        assert listed or noisy is (store.snapshot().changes != ())


def test_a_tree_nested_deeper_than_we_may_have_descriptors_is_restored(
    root: Path, tmp_path: Path, watches: int
) -> None:
    depth = 300
    deepest = root.joinpath(*["d"] * depth)
    deepest.mkdir(parents=True)
    (deepest / "file").write_text("down here")
    (root / "d" / "d" / "beside").write_text("x")
    with SnapshotStore.open(root, tmp_path / "store", watches=watches) as store:
        first = store.snapshot()
        assert len(first.changes) == depth + 3
        held = len(os.listdir("/proc/self/fd"))
        shutil.rmtree(root / "d")
        assert store.restore(first.id).stands == ()
        assert (deepest / "file").read_text() == "down here"
        assert len(os.listdir("/proc/self/fd")) <= held + 1, "the pack that was read last stays open"


def test_folders_and_files_that_their_owner_locked_are_kept_and_come_back_locked(watches: int) -> None:
    """As an ordinary user, for whom a mode of 000 means something."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "root").mkdir()
        command = [sys.executable, "-c", LOCKED, str(home / "root"), str(home / "store"), str(watches)]
        ran = subprocess.run(command, check=False, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
