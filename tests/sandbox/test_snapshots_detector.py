"""Watches miss nothing that a scan would find, and where they cannot work a scan is made instead, and said."""

from __future__ import annotations

import mmap
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mulligan.sandbox.snapshots import Change, SnapshotStore

BUSY = """
import itertools, os, sys
top = sys.argv[1]
print("busy", flush=True)
for number in itertools.count():
    with open(f"{top}/file{number % 7}", "w") as file:
        file.write(str(number))
    os.makedirs(f"{top}/a/b{number % 3}/c", exist_ok=True)
    with open(f"{top}/a/b{number % 3}/c/file", "w") as file:
        file.write(str(number))
    os.rename(f"{top}/a", f"{top}/moved")
    with open(f"{top}/moved/b{number % 3}/c/late", "w") as file:
        file.write(str(number))
    os.rename(f"{top}/moved", f"{top}/a")
    if number % 5 == 0:
        os.unlink(f"{top}/a/b{number % 3}/c/file")
        os.rename(f"{top}/a/b{number % 3}", f"{top}/b")
        os.rename(f"{top}/b", f"{top}/a/b{number % 3}")
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "folder" / "inner").mkdir(parents=True)
    (root / "other").mkdir()
    (root / "folder" / "file").write_text("first")
    (root / "folder" / "inner" / "file").write_text("first")
    return root


@pytest.fixture
def store(root: Path, tmp_path: Path) -> Iterator[SnapshotStore]:
    with SnapshotStore.open(root, tmp_path / "store") as store:
        store.snapshot()
        yield store
        assert store.detector.name == "watches"


def paths(changes: tuple[Change, ...]) -> set[bytes]:
    return {change.path for change in changes}


def written(store: Path) -> dict[str, tuple[int, int]]:
    """But for SQLite's table of locks, which is mapped: the kernel gives it a time when it likes."""
    return {
        path.name: (path.stat().st_size, path.stat().st_mtime_ns)
        for path in store.rglob("*")
        if path.is_file() and not path.name.endswith("-shm")
    }


@pytest.mark.parametrize("limit", [1 << 20, 0], ids=["watches", "scan"])
def test_where_nothing_changed_nothing_is_written_and_the_head_is_given_again(
    root: Path, tmp_path: Path, limit: int
) -> None:
    with SnapshotStore.open(root, tmp_path / "store", watches=limit) as store:
        first = store.snapshot()
        before = written(tmp_path / "store")
        again, back = store.snapshot(), store.restore(first.id)
        assert (again.id, again.parent, again.changes) == (first.id, None, ())
        assert (back.snapshot, back.changed, back.stands) == (first.id, (), ())
        assert written(tmp_path / "store") == before
        (root / "folder" / "file").write_text("second")
        second = store.snapshot()
        store.restore(first.id)
        third = store.snapshot()
        assert (third.id, third.changes) == (first.id, ()), "what the restore wrote is no change"
        assert (second.parent, store.head) == (first.id, first.id)


def test_a_folder_that_moved_is_watched_where_it_is_now(root: Path, store: SnapshotStore) -> None:
    (root / "folder").rename(root / "other" / "moved")
    store.snapshot()
    (root / "other" / "moved" / "inner" / "file").write_text("second")
    assert paths(store.snapshot().changes) == {b"other/moved/inner/file"}
    (root / "other").rename(root / "again")
    (root / "again" / "moved" / "inner" / "file").write_text("third")
    store.snapshot()
    (root / "again" / "moved" / "inner" / "file").write_text("fourth")
    assert paths(store.snapshot().changes) == {b"again/moved/inner/file"}


def test_a_folder_with_another_one_s_name_is_read_whole(root: Path, store: SnapshotStore) -> None:
    shutil.copytree(root / "folder", root / "copy")
    (root / "copy" / "inner" / "file").write_text("the copy's")
    store.snapshot()
    (root / "folder").rename(root / "aside")
    (root / "copy").rename(root / "folder")
    (root / "aside").rename(root / "copy")
    changed = store.snapshot()
    assert {b"folder/inner/file", b"copy/inner/file"} <= paths(changed.changes)
    assert store.read(changed.id, b"folder/inner/file") == b"the copy's"
    assert store.read(changed.id, b"copy/inner/file") == b"first"


def test_a_folder_s_own_attributes_are_noticed(root: Path, store: SnapshotStore) -> None:
    changes: list[Callable[[], object]] = [
        lambda: (root / "folder" / "inner").chmod(0o700),
        lambda: os.utime(root / "folder" / "inner", ns=(1, 2)),
        lambda: os.setxattr(root / "folder" / "inner", "user.x", b"y"),
        lambda: tempfile.NamedTemporaryFile(dir=root / "folder" / "inner").close(),
    ]
    for change in changes:
        change()
        assert paths(store.snapshot().changes) == {b"folder/inner"}
    root.chmod(0o711)
    assert paths(store.snapshot().changes) == {b""}


def test_a_write_through_a_hard_link_in_another_folder_is_seen_under_both_names(
    root: Path, store: SnapshotStore
) -> None:
    (root / "other" / "name").hardlink_to(root / "folder" / "file")
    linked = store.snapshot()
    both = {b"folder/file", b"other/name"}
    assert paths(linked.changes) == both | {b"other"}
    for text in ("second", "third"):
        (root / "other" / "name").write_text(text)
        assert paths(store.snapshot().changes) == both
    (root / "other" / "name").unlink()
    assert paths(store.snapshot().changes) == both | {b"other"}


def test_a_write_through_a_name_that_came_and_went_is_found(root: Path, store: SnapshotStore) -> None:
    for text in ("second", "third"):
        (root / "other" / "name").hardlink_to(root / "folder" / "file")
        (root / "other" / "name").write_text(text)
        (root / "other" / "name").unlink()
        seen = store.snapshot()
        assert store.read(seen.id, b"folder/file") == text.encode()


def test_a_write_through_a_name_that_was_lost_is_found_by_a_thorough_snapshot(
    root: Path, store: SnapshotStore
) -> None:
    with open(root / "folder" / "file", "r+b", buffering=0) as held:
        (root / "other" / "name").hardlink_to(root / "folder" / "file")
        (root / "folder" / "file").unlink()
        store.snapshot()
        held.write(b"later")
        assert paths(store.snapshot(thorough=True).changes) == {b"other/name"}


def test_a_mapped_file_is_read_by_content_now_and_at_the_next_snapshot(
    root: Path, store: SnapshotStore
) -> None:
    file = root / "folder" / "file"
    file.write_bytes(b"0" * 4096)
    with open(file, "r+b") as opened, mmap.mmap(opened.fileno(), 4096) as mapped:
        mapped[0] = 65
        for letter in (66, 67, 68):
            store.snapshot(mapped=[b"folder/file", b"no/such/path"])
            mapped[0] = letter
            seen = store.snapshot()
            assert store.read(seen.id, b"folder/file", 1) == bytes([letter])


@pytest.mark.parametrize("limit", [1 << 20, 0], ids=["watches", "scan"])
def test_a_store_through_a_map_that_moves_no_time_is_found_in_memory_filesystems_too(
    tmp_path: Path, limit: int
) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        file = Path(name) / "file"
        file.write_bytes(bytes(8192))
        with SnapshotStore.open(Path(name), tmp_path / "store", watches=limit) as store:
            while (
                store.snapshot(thorough=True).changes or file.stat().st_ctime_ns > time.time_ns() - 20_000_000
            ):
                pass  # until what was read is no longer within a tick of its change
            store.snapshot(thorough=True)
            before = file.stat()
            with open(file, "r+b") as opened, mmap.mmap(opened.fileno(), 8192) as mapped:
                assert mapped[0] == 0, "reading makes the page writable at once"
                mapped[0] = 65
            assert file.stat().st_ctime_ns == before.st_ctime_ns
            seen = store.snapshot()
            assert store.read(seen.id, b"file", 1) == b"A"
            assert store.snapshot(thorough=True).changes == ()


def test_an_overflow_of_the_queue_loses_nothing(root: Path, tmp_path: Path) -> None:
    count = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text()) // 2 + 100
    for number in range(count):
        (root / f"{number}").mkdir()
    with SnapshotStore.open(root, tmp_path / "store") as store:
        assert len(store.snapshot().changes) > count
        for number in range(count):
            (root / f"{number}" / "new").touch()
        assert len(store.snapshot().changes) == 2 * count
        (root / "17" / "new").write_text("changed")
        assert paths(store.snapshot().changes) == {b"17/new"}
        assert store.detector.name == "watches"


def test_too_many_folders_to_watch_are_scanned(root: Path, tmp_path: Path) -> None:
    with SnapshotStore.open(root, tmp_path / "store", watches=4) as store:
        store.snapshot()
        few = store.detector
        for name in ("one", "more", "too", "many"):
            (root / "folder" / name).mkdir()
        store.snapshot()
        assert (few.name, store.detector.name) == ("watches", "scan")
        assert "more than 4 folders" in store.detector.why
        (root / "folder" / "many" / "file").touch()
        assert paths(store.snapshot().changes) == {b"folder/many", b"folder/many/file"}


def test_a_filesystem_that_does_not_report_is_scanned(tmp_path: Path) -> None:
    with SnapshotStore.open(Path("/proc/self/fdinfo"), tmp_path / "store") as store:
        assert store.detector.name == "scan"
        assert "is not known to report" in store.detector.why


def test_both_detectors_tell_the_same_after_any_work(root: Path, tmp_path: Path) -> None:
    random_ = random.Random(7)
    with (
        SnapshotStore.open(root, tmp_path / "watched") as watched,
        SnapshotStore.open(root, tmp_path / "scanned", watches=0) as scanned,
    ):
        for round in range(150):
            for _ in range(random_.randrange(6)):
                _work(root, random_)
            seen = watched.snapshot().changes
            assert seen == scanned.snapshot().changes, f"round {round}"
        assert watched.entries(watched.head or 0) == scanned.entries(scanned.head or 0)


def _work(root: Path, random_: random.Random) -> None:
    names = ["a", "b", "a/c", "b/c", "a/c/d", "b/c/d", "a/c/d/e", "folder", "folder/inner"]
    path, other = (root / random_.choice(names) for _ in range(2))
    works: list[Callable[[], object]] = [
        path.mkdir,
        lambda: (path / "file").write_text(str(random_.random())),
        lambda: path.rename(other),
        lambda: shutil.rmtree(path),
        lambda: os.link(path / "file", other / "link"),
        lambda: (other / "link").write_text(str(random_.random())),
        (path / "file").unlink,
        lambda: path.chmod(random_.choice([0o700, 0o755])),
    ]
    with suppress(OSError):  # there is no such path, or one in the way: then nothing happens
        random_.choice(works)()


def test_what_changes_while_it_is_read_is_found_when_it_is_quiet(root: Path, tmp_path: Path) -> None:
    with SnapshotStore.open(root, tmp_path / "store") as store:
        store.snapshot()
        with subprocess.Popen([sys.executable, "-c", BUSY, str(root)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            for _ in range(60):
                store.snapshot()
            assert process.poll() is None
            process.kill()
        store.snapshot()
        assert store.snapshot().changes == ()
        assert store.snapshot(thorough=True).changes == (), "the watches left nothing to be found"
