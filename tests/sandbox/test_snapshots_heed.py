"""What a restore changed itself is not read again by the folder, and what others changed meanwhile is not missed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from mulligan.sandbox.snapshots import Change, Entry, Kind, SnapshotStore
from mulligan.sandbox.snapshots.detector import Detector, choose
from mulligan.sandbox.snapshots.folders import FOLDER, Folders
from mulligan.sandbox.snapshots.heed import Heed
from mulligan.sandbox.snapshots.manifest import Manifest
from mulligan.sandbox.snapshots.store import MOST_WATCHES

BUSY = """
import contextlib, itertools, os, sys
top = sys.argv[1]
print("busy", flush=True)
for number in itertools.count():
    with contextlib.suppress(OSError):
        with open(f"{top}/theirs", "w") as file:
            file.write(str(number))
        with open(f"{top}/ours", "a") as file:
            file.write("more")
        os.rename(f"{top}/ours", f"{top}/away")
        os.mkdir(f"{top}/inner")
        os.rename(f"{top}/away", f"{top}/inner/file")
    with contextlib.suppress(OSError):
        os.rename(f"{top}/inner/file", f"{top}/ours")
        os.rmdir(f"{top}/inner")
        os.rename(top, top + "-")
    with contextlib.suppress(OSError):
        os.rename(top + "-", top)
"""
FILE = Entry(Kind.FILE, 0o644, 0, 0, 1, 1, b"key")
OURS = Change(b"folder/ours", FILE, None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for folder in ("folder", "other"):
        (root / folder).mkdir(parents=True)
        for name in ("ours", "theirs"):
            (root / folder / name).write_text(name)
    return root


@pytest.fixture
def top(root: Path) -> Iterator[int]:
    top = os.open(root, FOLDER)
    yield top
    os.close(top)


@pytest.fixture
def detector(top: int) -> Iterator[Detector]:
    detector = choose(top, MOST_WATCHES)
    assert detector.detection.name == "watches"
    with Folders(top) as folders:
        for folder in (b"", b"folder", b"other"):
            detector.arm(folder, folders.at(folder))
    yield detector
    detector.close()


def restored(top: int, detector: Detector, *acts: Callable[[], None]) -> Manifest:
    """The manifest after a restore of OURS, while which something happened."""
    manifest = Manifest()
    with Folders(top) as folders:
        heed = Heed(folders, detector, [OURS])
        heed.begin()
        for act in acts:
            act()
        manifest.stale = {b"folder"}
        heed.end(manifest, ())
    return manifest


def test_of_what_only_the_restore_changed_single_paths_are_looked_at(
    root: Path, top: int, detector: Detector
) -> None:
    manifest = restored(top, detector, (root / "folder" / "ours").unlink)
    assert (manifest.stale, manifest.again) == (set(), {b"folder/ours", b"folder"})
    assert detector.changed() == set()


def a_file_is_written(root: Path) -> None:
    (root / "folder" / "theirs").write_text("else")


def a_file_comes_and_goes(root: Path) -> None:
    (root / "folder" / "new").touch()
    (root / "folder" / "new").unlink()


def a_file_takes_our_name(root: Path) -> None:
    (root / "folder" / "theirs").rename(root / "folder" / "ours")


def a_file_moves_in(root: Path) -> None:
    (root / "other" / "theirs").rename(root / "folder" / "more")


@pytest.mark.parametrize(
    "meanwhile", [a_file_is_written, a_file_comes_and_goes, a_file_takes_our_name, a_file_moves_in]
)
def test_a_folder_in_which_others_changed_something_is_read_whole(
    root: Path, top: int, detector: Detector, meanwhile: Callable[[Path], None]
) -> None:
    manifest = restored(top, detector, (root / "folder" / "ours").unlink, partial(meanwhile, root))
    assert (manifest.stale, manifest.again) == ({b"folder"}, set())
    assert b"folder" in (detector.changed() or ())


def test_a_folder_is_watched_on_after_its_restore(root: Path, top: int, detector: Detector) -> None:
    restored(top, detector, (root / "folder" / "ours").unlink)
    (root / "folder" / "ours").touch()
    assert detector.changed() == {b"folder"}
    (root / "folder" / "theirs").unlink()
    assert detector.changed() == set(), "it is reported once"


def test_what_changed_elsewhere_meanwhile_is_reported_still(root: Path, top: int, detector: Detector) -> None:
    restored(top, detector, (root / "folder" / "ours").unlink, (root / "other" / "theirs").unlink)
    assert detector.changed() == {b"other"}


def test_a_folder_that_was_swapped_meanwhile_is_told_by_the_one_above(
    root: Path, top: int, detector: Detector
) -> None:
    def swap() -> None:
        (root / "folder").rename(root / "aside")
        (root / "folder").mkdir()

    restored(top, detector, swap)
    assert b"" in (detector.changed() or ())


def test_a_queue_that_overflows_meanwhile_has_everything_looked_at(
    root: Path, top: int, detector: Detector
) -> None:
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    names = [root / "folder" / name for name in ("ours", "theirs")]

    def flood() -> None:
        for number in range(most + 10):
            os.utime(names[number % 2])

    manifest = restored(top, detector, flood)
    assert (manifest.stale, manifest.again) == ({b"folder"}, set())
    assert detector.changed() is None


@pytest.mark.parametrize("watches", [MOST_WATCHES, 0], ids=["watches", "scan"])
def test_what_came_back_and_was_changed_anew_at_once_is_the_next_change(
    root: Path, tmp_path: Path, watches: int
) -> None:
    """Of the kinds that a look at single paths has to tell apart."""
    ours, theirs, folder = root / "folder" / "ours", root / "folder" / "theirs", root / "folder"
    acts: list[tuple[list[Callable[[], object]], set[bytes]]] = [
        ([lambda: ours.write_text("else")], {b"folder/ours"}),
        ([ours.unlink], {b"folder", b"folder/ours"}),
        ([ours.unlink, ours.mkdir, (ours / "in").touch], {b"folder", b"folder/ours", b"folder/ours/in"}),
        ([lambda: ours.chmod(0o600)], {b"folder/ours"}),
        ([lambda: folder.chmod(0o700)], {b"folder"}),
        ([theirs.unlink], {b"folder", b"folder/theirs"}),
        ([lambda: os.link(ours, root / "other" / "name")], {b"folder/ours", b"other", b"other/name"}),
    ]
    with SnapshotStore.open(root, tmp_path / "store", watches=watches) as store:
        first = store.snapshot()
        for work, changed in acts:
            ours.unlink()
            store.snapshot(thorough=False)
            assert store.restore(first.id, thorough=False).stands == ()
            for act in work:
                act()
            now = store.snapshot(thorough=False)
            assert (now.parent, {change.path for change in now.changes}) == (first.id, changed)
            assert store.restore(first.id, thorough=False).stands == ()
        assert store.snapshot(thorough=True).id == first.id
        assert store.verify() == ()


def test_restores_amid_the_work_of_others_miss_nothing(root: Path, tmp_path: Path) -> None:
    with SnapshotStore.open(root, tmp_path / "store") as store:
        first = store.snapshot()
        with subprocess.Popen(
            [sys.executable, "-c", BUSY, str(root / "folder")], stdout=subprocess.PIPE
        ) as busy:
            assert busy.stdout is not None
            busy.stdout.readline()
            amid = 0
            try:
                while amid < 20 and busy.poll() is None:
                    amid += bool(store.restore(first.id, thorough=False).changed)
            finally:
                busy.kill()
        assert amid == 20
        last = store.entries(store.snapshot(thorough=False).id)
        assert store.detector.name == "watches"
    with SnapshotStore.open(root, tmp_path / "anew", watches=0) as anew:
        assert anew.entries(anew.snapshot().id) == last
