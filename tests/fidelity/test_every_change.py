"""Snapshot, change, snapshot; undo gives the tree that was there, redo the changed one.

With both detectors, one case at a time and all at once; and in sessions, in both isolations.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import mulligan
from mulligan import Session
from mulligan.sandbox.snapshots import SnapshotStore
from mulligan.sandbox.snapshots.store import MOST_WATCHES

from . import matrix
from .walk import sparse, walk

DETECTORS = {"watches": MOST_WATCHES, "scan": 0}
#: what sets back nothing that a walk sees, or what it may not do
UNSEEN = {"nothing"} | (set() if os.geteuid() == 0 or len(os.getgroups()) > 1 else {"file: owner"})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture(params=DETECTORS)
def store(request: pytest.FixtureRequest, root: Path, tmp_path: Path) -> Iterator[SnapshotStore]:
    with SnapshotStore.open(root, tmp_path / "store", watches=DETECTORS[request.param]) as store:
        assert store.detector.name == request.param
        yield store


@pytest.mark.parametrize("case", matrix.CASES)
def test_undo_gives_the_tree_that_was_and_redo_the_changed_one(
    root: Path, store: SnapshotStore, case: str
) -> None:
    before, act = matrix.CASES[case]
    before(root)
    first, was, holes = store.snapshot(), walk(root), sparse(root)
    act(root)
    second, became, later_holes = store.snapshot(), walk(root), sparse(root)
    assert bool(second.changes) is (was != became) is (case not in UNSEEN)

    for target, tree, thin in ((first, was, holes), (second, became, later_holes), (first, was, holes)):
        back = store.restore(target.id)
        assert (back.stands, walk(root), sparse(root)) == ((), tree, thin)
        assert {change.path for change in back.changed} == {change.path for change in second.changes}
        assert store.snapshot().id == target.id
    assert store.verify() == ()


def test_a_restore_that_keeps_nothing_gives_the_very_tree_and_takes_no_room(
    root: Path, store: SnapshotStore, tmp_path: Path
) -> None:
    """Of all changes at once, which are in folders of their own."""
    matrix.prepare(root)
    first, was = store.snapshot(), walk(root)
    kept = sorted(path.name for path in tmp_path.rglob("store/*/*"))
    matrix.change(root)
    assert store.restore(first.id, keep=False).stands == ()
    assert (walk(root), store.head) == (was, first.id)
    assert sorted(path.name for path in tmp_path.rglob("store/*/*")) == kept
    assert store.snapshot(thorough=True).id == first.id


def test_all_changes_at_once_are_undone_and_redone(root: Path, store: SnapshotStore) -> None:
    matrix.prepare(root)
    first, was, holes = store.snapshot(), walk(root), sparse(root)
    matrix.change(root)
    second, became, later_holes = store.snapshot(), walk(root), sparse(root)
    for target, tree, thin in ((first, was, holes), (second, became, later_holes), (first, was, holes)):
        assert (store.restore(target.id).stands, walk(root), sparse(root)) == ((), tree, thin)


def test_an_action_that_changes_everything_at_once_is_undone_and_redone(
    isolation: str, tmp_path: Path
) -> None:
    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        run(session, Path(matrix.__file__).read_text())
        first = run(session, "prepare(Path('/workspace'))")
        was, holes = walk(session.workspace), sparse(session.workspace)
        second = run(session, "change(Path('/workspace'))")
        became, later_holes = walk(session.workspace), sparse(session.workspace)
        assert len(was) > 1000 and was != became
        for step, tree, thin in ((first, was, holes), (second, became, later_holes), (first, was, holes)):
            back = session.goto(step)
            assert (back.stands, walk(session.workspace)) == ((), tree)
            assert sparse(session.workspace) == thin


def run(session: Session, source: str) -> int:
    step = session.run(source, timeout=60)
    assert step.outcome.kind == "completed", step.outcome.text
    assert step.reach is not None
    return step.id
