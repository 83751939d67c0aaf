"""The bound on disk counts everything that a session's files hold, and follows nothing out of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import mulligan
from mulligan.policies.policy import Resources
from mulligan.runtime.quota import OPEN, STRIDE, DiskQuota, Moved, sizes

MIB = 1 << 20


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "files"
    folder.mkdir()
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)  # `rmtree` cannot go as deep as these tests do


def hold(path: Path, size: int) -> None:
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)


def hold_deep(files: Path, depth: int, size: int) -> None:
    """A file of that size at the end of a path that no system call would take."""
    back = os.open(".", os.O_RDONLY)
    try:
        os.chdir(files)
        for _ in range(depth):
            os.mkdir("n" * 250)
            os.chdir("n" * 250)
        hold(Path("big"), size)
    finally:
        os.fchdir(back)
        os.close(back)


def test_files_count_however_long_their_paths_are(files: Path) -> None:
    hold_deep(files, 3 * OPEN, MIB)
    assert sum(sizes(files)) >= MIB


def test_a_walk_holds_few_descriptors_and_leaves_none(files: Path) -> None:
    hold_deep(files, 3 * OPEN, MIB)
    before = len(os.listdir("/proc/self/fd"))
    most = max(len(os.listdir("/proc/self/fd")) for _ in sizes(files))
    assert most <= before + OPEN + 3
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_walk_that_is_given_up_leaves_no_descriptor(files: Path) -> None:
    hold_deep(files, 10, MIB)
    before = len(os.listdir("/proc/self/fd"))
    walk = sizes(files)
    for _ in range(5):
        next(walk)
    walk.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_of_many_names_counts_once(files: Path) -> None:
    hold(files / "one", MIB)
    for number in range(5):
        (files / str(number)).hardlink_to(files / "one")
    assert MIB <= sum(sizes(files)) < 2 * MIB


def test_links_are_not_followed_out(files: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    hold(outside / "big", MIB)
    (files / "link").symlink_to(outside)
    assert sum(sizes(files)) < MIB


def test_a_folder_swapped_for_a_link_while_it_is_measured_leads_nowhere(files: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    hold(outside / "big", MIB)
    (files / "folder").mkdir()
    walk = sizes(files)
    seen = next(walk)
    (files / "folder").rmdir()
    (files / "folder").symlink_to(outside)
    assert seen + sum(walk) < MIB


def test_folders_that_are_moved_away_while_they_are_measured_do_not_hide(files: Path) -> None:
    hold_deep(files, 3 * OPEN, MIB)
    walk = sizes(files)
    for _ in range(3 * OPEN):
        next(walk)
    os.rename(files / ("n" * 250) / ("n" * 250), files / "moved")
    with pytest.raises(Moved):
        sum(walk)


def test_too_many_files_are_too_much_whatever_they_hold(files: Path) -> None:
    quota = DiskQuota([files], 1 << 40, most_files=100)
    for number in range(101):
        (files / str(number)).touch()
    fill(files, STRIDE)
    assert (found := quota.exceeded()) is not None and "more than 100 files" in found.reason


def test_what_is_freed_and_written_again_is_looked_at(files: Path) -> None:
    hold(files / "first", 3 * STRIDE)
    quota = DiskQuota([files], STRIDE, 1000)
    (files / "first").unlink()
    assert quota.exceeded() is None
    fill(files, 5 * STRIDE)
    assert (found := quota.exceeded()) is not None and "grown by more than" in found.reason


def test_what_was_there_at_the_start_does_not_count(files: Path) -> None:
    hold(files / "first", 3 * STRIDE)
    quota = DiskQuota([files], 3 * STRIDE, 1000)
    fill(files, STRIDE // 2)
    assert quota.exceeded() is None


def fill(files: Path, size: int) -> None:
    """Space that the filesystem has given away by the time this returns, with room for what others free meanwhile."""
    hold(files / "filled", size + STRIDE)
    os.sync()


def test_in_a_session_an_action_that_overfills_deep_folders_is_taken_back(
    isolation: str, tmp_path: Path
) -> None:
    policy = mulligan.Policy(resources=Resources(disk=100 * MIB))
    with mulligan.open(isolation=isolation, state=tmp_path / "state", policy=policy) as session:
        session.run("kept = 1")
        step = session.run("""
import os
for _ in range(100):
    os.mkdir("n" * 250); os.chdir("n" * 250)
with open("big", "wb") as file:
    for _ in range(100_000):
        file.write(bytes(1 << 20)); file.flush(); os.fsync(file.fileno()); file.seek(0, 2)
""")
        assert step.outcome.kind == "reverted", step.outcome.text[:200]
        assert session.run("print(kept)").outcome.stdout == "1\n"
        assert list(session.workspace.iterdir()) == []
