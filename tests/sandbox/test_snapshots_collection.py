"""Snapshots that are let go, and the contents that only they had: by reach, by size, beside readers, all or nothing."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulligan.sandbox.errors import SnapshotUnknown
from mulligan.sandbox.snapshots import SnapshotStore, StoreReader

MIB = 1 << 20
Tree = dict[str, bytes]

READ = """
import sys
from pathlib import Path
from mulligan.sandbox.snapshots import StoreReader
with StoreReader.attach(Path(sys.argv[1])) as store:
    print("attached", flush=True)
    sys.stdin.readline()
    print(store.read(2, b"large")[:4].hex(), flush=True)
"""


def tree(root: Path) -> Tree:
    return {path.name: path.read_bytes() for path in root.iterdir()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture
def store(root: Path, tmp_path: Path) -> Iterator[SnapshotStore]:
    with SnapshotStore.open(root, tmp_path / "store") as store:
        yield store


def line(root: Path, store: SnapshotStore, steps: int) -> dict[int, Tree]:
    """Snapshots in a row, each with a megabyte and a bit of its own: a large content, and small ones in a pack."""
    known = {}
    for number in range(steps):
        noise = random.Random(number)
        (root / "large").write_bytes(noise.randbytes(MIB + 1))
        (root / "pack").write_bytes(noise.randbytes(400_000))
        (root / f"only{number}").write_bytes(noise.randbytes(5000))
        known[store.snapshot().id] = tree(root)
    return known


def files(folder: Path) -> set[str]:
    return {path.name for where in ("packs", "large") for path in (folder / where).iterdir()}


def check(root: Path, store: SnapshotStore, known: dict[int, Tree]) -> None:
    assert store.verify() == ()
    assert store.snapshots == known.keys()
    for id, wanted in known.items():
        assert store.restore(id).stands == ()
        assert tree(root) == wanted


def test_what_no_snapshot_in_reach_has_is_removed_and_the_rest_is_whole(
    root: Path, store: SnapshotStore, tmp_path: Path
) -> None:
    known = line(root, store, 5)
    before, took = files(tmp_path / "store"), store.taken
    collected = store.collect({1, 3, 5})
    assert (collected.let_go, collected.removed) == ((), 2)
    assert len(before) == 10 and len(files(tmp_path / "store")) == 8  # small ones stay in their packs
    assert store.taken < took - 2 * MIB
    check(root, store, {id: known[id] for id in (1, 3, 5)})
    with pytest.raises(SnapshotUnknown):
        store.restore(2)


def test_the_first_the_head_and_what_is_spared_stay_whatever_is_asked(
    root: Path, store: SnapshotStore
) -> None:
    known = line(root, store, 6)
    store.restore(4)
    collected = store.collect(known, spare={2}, most=0)
    assert collected.let_go == (3, 5, 6)
    check(root, store, {id: known[id] for id in (1, 2, 4)})


def test_the_oldest_go_first_and_no_more_than_must(root: Path, store: SnapshotStore) -> None:
    known = line(root, store, 6)
    told: list[tuple[int, ...]] = []
    collected = store.collect(known, most=store.taken - 2 * MIB, announce=told.append)
    assert collected.let_go == (2, 3)
    assert told == [(2, 3)]
    check(root, store, {id: known[id] for id in (1, 4, 5, 6)})


def test_where_branches_part_a_snapshot_stays_for_as_long_as_they_do(
    root: Path, store: SnapshotStore
) -> None:
    known = line(root, store, 2)
    for branch in ("left", "right"):
        store.restore(2)
        (root / branch).write_bytes(b"x" * MIB)
        known[store.snapshot().id] = tree(root)
    left, right = sorted(known)[-2:]
    assert store.collect({1, left, right}).removed == 0
    check(root, store, known)
    store.restore(right)
    assert store.collect({1, right}).removed == 2
    check(root, store, {id: known[id] for id in (1, right)})


def test_an_id_is_never_given_out_again(root: Path, store: SnapshotStore, tmp_path: Path) -> None:
    line(root, store, 4)
    store.restore(1)
    assert store.collect({1}).removed == 3
    store.close()
    with SnapshotStore.open(root, tmp_path / "store") as again:
        (root / "new").write_bytes(b"new")
        assert again.snapshot().id == 5


def test_a_content_that_a_later_snapshot_has_too_stays(root: Path, store: SnapshotStore) -> None:
    known = line(root, store, 3)
    (root / "large").write_bytes(known[2]["large"])
    (root / "pack").write_bytes(known[2]["pack"])
    known[store.snapshot().id] = tree(root)
    assert store.collect({1, 4}).removed == 2
    check(root, store, {id: known[id] for id in (1, 4)})


@pytest.mark.parametrize("size", [1_000_000, 40_000], ids=["pack in a file", "pack in the index"])
def test_a_pack_of_which_little_is_wanted_gives_the_rest_back(
    root: Path, store: SnapshotStore, size: int
) -> None:
    line(root, store, 1)
    for number in range(6):
        (root / f"part{number}").write_bytes(random.Random(number).randbytes(size))
    store.snapshot()
    for number in (0, 1, 2, 4, 5):
        (root / f"part{number}").unlink()
    known = {store.snapshot().id: tree(root)}
    took = store.taken
    store.collect({1, *known})
    assert took - store.taken > 4 * size
    store.restore(1)
    assert store.restore(3).stands == ()
    assert tree(root) == known[3]
    assert store.verify() == ()


def test_nothing_is_let_go_while_another_process_reads(
    root: Path, store: SnapshotStore, tmp_path: Path
) -> None:
    known = line(root, store, 3)
    command = [sys.executable, "-c", READ, str(tmp_path / "store")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout and reader.stdin
        assert reader.stdout.readline() == "attached\n"
        (root / "large").write_bytes(b"written beside the reader" * MIB)
        known[store.snapshot().id] = tree(root)
        put_off = store.collect({1, 4})
        assert (put_off.removed, put_off.put_off) == (0, "somebody reads the store")
        reader.stdin.write("\n")
        reader.stdin.flush()
        assert reader.stdout.readline() == known[2]["large"][:4].hex() + "\n"
    assert store.collect({1, 4}).removed == 2
    check(root, store, {id: known[id] for id in (1, 4)})


def test_who_waits_is_given_way_to_and_nothing_has_changed(
    root: Path, store: SnapshotStore, tmp_path: Path
) -> None:
    known = line(root, store, 4)
    for number in range(3000):
        (root / f"file{number}").write_bytes(b"%d" % number)
    known[store.snapshot().id] = tree(root)
    before = files(tmp_path / "store")
    for patience in range(6):
        asked = iter(range(patience))
        collected = store.collect({1}, give_way=lambda asked=asked: next(asked, None) is None)  # type: ignore[misc]
        assert (collected.removed, collected.put_off) == (0, "somebody waits")
        assert files(tmp_path / "store") == before
    assert store.snapshots == known.keys()
    assert store.verify() == ()


def test_when_who_is_told_fails_nothing_has_changed(root: Path, store: SnapshotStore) -> None:
    known = line(root, store, 4)

    def fail(ids: tuple[int, ...]) -> None:
        raise RuntimeError("the ledger is full")

    with pytest.raises(RuntimeError, match="ledger"):
        store.collect(known, most=0, announce=fail)
    check(root, store, known)


def test_what_is_damaged_is_not_composed_away(root: Path, tmp_path: Path) -> None:
    with SnapshotStore.open(root, tmp_path / "store") as store:
        line(root, store, 4)
        store._index._db.execute("UPDATE change SET after = NULL WHERE snapshot = 2 AND path = x'7061636b'")
        store.collect({1, 4})
        assert store.snapshots >= {1, 2, 4}
        assert any("snapshot 2" in fault for fault in store.verify())


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1 << 32), goes=st.lists(st.integers(0, 30), max_size=12))
def test_whatever_goes_from_a_tree_of_snapshots_the_others_are_what_they_were(
    tmp_path_factory: pytest.TempPathFactory, seed: int, goes: list[int]
) -> None:
    home = tmp_path_factory.mktemp("any")
    root, chance = home / "root", random.Random(seed)
    root.mkdir()
    with SnapshotStore.open(root, home / "store") as store:
        known = {store.snapshot().id: tree(root)}
        for _ in range(14):
            if chance.random() < 0.4:
                store.restore(chance.choice(sorted(known)))
            for _ in range(chance.randrange(1, 4)):
                scribble(root, chance)
            known[store.snapshot().id] = tree(root)
        keep = known.keys() - set(goes)
        store.collect(keep)
        assert store.snapshots >= keep
        for id in store.snapshots:
            assert store.restore(id).stands == ()
            assert tree(root) == known[id]
        assert store.verify() == ()
    with StoreReader.attach(home / "store") as reader:
        ids = sorted(reader.snapshots)
        for a, b in zip(ids, reversed(ids), strict=True):
            changed = {os.fsdecode(change.path) for change in reader.diff(a, b)} - {""}
            assert changed >= {
                name for name in known[a] | known[b] if known[a].get(name) != known[b].get(name)
            }


def scribble(root: Path, chance: random.Random) -> None:
    name = root / chance.choice("abcdef")
    match chance.randrange(4):
        case 0:
            name.unlink(missing_ok=True)
        case 1:
            name.write_bytes(chance.randbytes(chance.choice((0, 10, 70_000))))
        case 2:
            name.write_bytes(b"the same again")
        case _:
            name.write_bytes(random.Random(chance.randrange(3)).randbytes(MIB + 5))
