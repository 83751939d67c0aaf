"""Trees of a shape that no program makes by accident: deeper than a path can say, and wider than a list shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mulligan.sandbox.snapshots import SnapshotStore
from mulligan.sandbox.snapshots.store import MOST_WATCHES

DETECTORS = {"watches": MOST_WATCHES, "scan": 0}


@pytest.fixture(params=DETECTORS)
def watches(request: pytest.FixtureRequest) -> int:
    return DETECTORS[request.param]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_text("ours")
    return root


def nest(top: Path, depth: int, name: str = "d") -> None:
    """Folders in each other, with a file in the last, made from within, as no path leads there."""
    above = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=above)
        inner = os.open(name, os.O_RDONLY, dir_fd=above)
        os.close(above)
        above = inner
    os.close(os.open("deepest", os.O_CREAT | os.O_WRONLY, dir_fd=above))
    os.close(above)


@pytest.mark.parametrize(("depth", "name"), [(4000, "d"), (1500, "long" * 50)], ids=["4000", "long names"])
def test_what_is_nested_too_deep_is_named_and_undone(
    root: Path, tmp_path: Path, watches: int, depth: int, name: str
) -> None:
    with SnapshotStore.open(root, tmp_path / "store", watches=watches) as store:
        first = store.snapshot()
        nest(root, depth, name)
        held = len(os.listdir("/proc/self/fd"))
        deep = store.snapshot()
        (beyond,) = deep.beyond
        assert set(beyond.split(b"/")) == {name.encode()} and beyond.count(b"/") < 1000
        assert store.snapshot() == store.snapshot() and store.snapshot().beyond == deep.beyond

        assert store.restore(first.id).stands == ()
        assert os.listdir(root) == ["file"]
        assert store.snapshot().beyond == ()
        redone = store.restore(deep.id)
        assert [stand.path for stand in redone.stands] == [beyond]
        assert "too deep" in redone.stands[0].why
        assert store.restore(deep.id).stands == redone.stands
        assert store.restore(first.id).stands == ()
        assert os.listdir(root) == ["file"]
        assert len(os.listdir("/proc/self/fd")) <= held + 1
        assert store.verify() == ()


def test_a_restore_that_began_before_the_deep_tree_removes_it_all_the_same(
    root: Path, tmp_path: Path, watches: int
) -> None:
    with SnapshotStore.open(root, tmp_path / "store", watches=watches) as store:
        first = store.snapshot()
        (root / "d").mkdir()
        second = store.snapshot()
        nest(root / "d", 2500, "e")
        assert store.restore(second.id).stands == ()
        assert os.listdir(root / "d") == []
        assert store.restore(first.id).stands == ()
        assert os.listdir(root) == ["file"]


def test_a_folder_with_very_many_entries_is_undone_and_redone(
    root: Path, tmp_path: Path, watches: int
) -> None:
    count = 2_000
    with SnapshotStore.open(root, tmp_path / "store", watches=watches) as store:
        first = store.snapshot()
        (root / "wide").mkdir()
        for number in range(count):
            (root / "wide" / f"{number}").symlink_to("nowhere")
        wide = store.snapshot()
        assert len(wide.changes) == count + 2
        assert store.restore(first.id).stands == ()
        assert os.listdir(root) == ["file"]
        assert store.restore(wide.id).stands == ()
        assert len(os.listdir(root / "wide")) == count
        assert store.snapshot().id == wide.id
