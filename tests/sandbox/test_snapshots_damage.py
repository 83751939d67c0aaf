"""A store whose files were cut, changed or left half done: it opens and is whole, or what is damaged is named."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mulligan.sandbox.errors import SnapshotError, StoreDamaged
from mulligan.sandbox.snapshots import SnapshotStore, StoreReader

MIB = 1 << 20
Tree = dict[str, bytes]


def tree(root: Path) -> Tree:
    return {path.name: path.read_bytes() for path in root.iterdir()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


def work(root: Path, store: SnapshotStore, rounds: int = 5) -> dict[int, Tree]:
    """Contents of every size, that come, change and go; each snapshot's tree."""
    known = {}
    for number in range(rounds):
        noise = random.Random(number)
        (root / "changes").write_bytes(noise.randbytes(3000))
        (root / f"comes{number}").write_bytes(noise.randbytes(300_000))
        (root / "large").write_bytes(noise.randbytes(MIB + 7))
        (root / f"comes{number - 2}").unlink(missing_ok=True)
        known[store.snapshot().id] = tree(root)
    return known


def flip(path: Path, at: int) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << at % 8]))


@pytest.mark.parametrize("flips", [60, pytest.param(3000, marks=pytest.mark.soak)])
def test_a_byte_of_the_index_that_changed_is_noticed_or_changes_nothing(
    root: Path, tmp_path: Path, flips: int
) -> None:
    with SnapshotStore.open(root, tmp_path / "store") as store:
        known = work(root, store, 3)
    chance, noticed = random.Random(7), 0
    for _ in range(flips):
        shutil.rmtree(tmp_path / "harmed", ignore_errors=True)
        shutil.copytree(tmp_path / "store", tmp_path / "harmed")
        index = tmp_path / "harmed" / "index.sqlite"
        flip(index, chance.randrange(index.stat().st_size))
        noticed += harm_shows(root, tmp_path / "harmed", known)
    assert noticed > flips / 20


def harm_shows(root: Path, folder: Path, known: dict[int, Tree]) -> bool:
    """Whether a fault is told of; if none is, all that the store gives back must be what was there."""
    try:
        with StoreReader.attach(folder) as reader:
            told = bool(reader.verify())
        with SnapshotStore.open(root, folder) as store:
            for id, wanted in known.items():
                before = tree(root)
                try:
                    stands = store.restore(id).stands
                except StoreDamaged:
                    assert told and tree(root) == before, "nothing was touched"
                else:
                    assert tree(root) == wanted or (told and stands), "damage was restored in silence"
            return told
    except SnapshotError:  # also StoreDamaged: it does not open
        return True


def test_a_table_that_is_another_is_noticed_before_anything_is_read_from_it(
    root: Path, tmp_path: Path
) -> None:
    """One byte of the text that made it, say."""
    with SnapshotStore.open(root, tmp_path / "store") as store:
        work(root, store, 1)
    index = tmp_path / "store" / "index.sqlite"
    text = index.read_bytes()
    assert text.count(b"beyond (snapshot INTEGER, path BLOB)") == 1
    index.write_bytes(
        text.replace(b"beyond (snapshot INTEGER, path BLOB)", b"beyond (snapshot INTEGER, qath BLOB)")
    )
    with pytest.raises(StoreDamaged, match="its tables"):
        StoreReader.attach(tmp_path / "store")
    with pytest.raises(StoreDamaged, match="its tables"):
        SnapshotStore.open(root, tmp_path / "store")


def test_a_record_that_was_changed_is_named_and_nothing_is_restored_from_it(
    root: Path, tmp_path: Path
) -> None:
    with SnapshotStore.open(root, tmp_path / "store") as store:
        work(root, store, 3)
    with closing(sqlite3.connect(tmp_path / "store" / "index.sqlite")) as index, index:
        index.execute("UPDATE change SET after = replace(after, '420', '511') WHERE snapshot = 2")
        index.execute("UPDATE change SET after = replace(after, '384', '511') WHERE snapshot = 2")
    before = tree(root)
    with StoreReader.attach(tmp_path / "store") as reader:
        assert reader.verify() == ("the record of snapshot 2 is not what was stored",)
        with pytest.raises(StoreDamaged, match="snapshot 2"):
            reader.diff(3, 1)
    with pytest.raises(StoreDamaged, match="snapshot 2"):
        SnapshotStore.open(root, tmp_path / "store")
    assert tree(root) == before


@pytest.mark.parametrize("name", ["changes", "large"])
def test_a_content_that_the_index_has_lost_is_named_and_not_restored(
    root: Path, tmp_path: Path, name: str
) -> None:
    with SnapshotStore.open(root, tmp_path / "store") as store:
        work(root, store, 2)
    with closing(sqlite3.connect(tmp_path / "store" / "index.sqlite")) as index, index:
        (key,) = index.execute(
            "SELECT json_extract(after, '$[6]') FROM change WHERE snapshot = 1 AND path = ?", (name.encode(),)
        ).fetchone()
        index.execute("DELETE FROM blob WHERE key = ?", (bytes.fromhex(key),))
    before = (root / name).read_bytes()
    with SnapshotStore.open(root, tmp_path / "store") as store:
        (fault,) = store.verify()
        assert key in fault and name in fault
        assert [stand.path for stand in store.restore(1).stands] == [name.encode()]
    assert (root / name).read_bytes() == before


def test_damage_is_told_with_the_paths_and_snapshots_that_it_concerns(root: Path, tmp_path: Path) -> None:
    with SnapshotStore.open(root, tmp_path / "store") as store:
        (root / "a\n\x1b[2Jb").write_bytes(b"x" * 2 * MIB)
        store.snapshot()
        (large,) = (tmp_path / "store" / "large").iterdir()
        flip(large, 77)
        (fault,) = store.verify()
    assert fault == f"{large.name}: not what was stored ('a\\n\\x1b[2Jb' of snapshot 1)"


def cuts(wal: bytes) -> Iterator[bytes]:
    """A log that did not reach the disk whole, or not as it was written."""
    chance = random.Random(3)
    for _ in range(40):
        at = chance.randrange(len(wal))
        yield wal[:at]
        yield wal[:at] + bytes([wal[at] ^ 0xFF]) + wal[at + 1 :]
        yield wal[:at] + bytes(len(wal) - at)


def test_a_log_that_is_torn_anywhere_loses_the_newest_snapshots_and_no_more(
    root: Path, tmp_path: Path
) -> None:
    with SnapshotStore.open(root, tmp_path / "store") as store:
        known = work(root, store)
        shutil.copytree(tmp_path / "store", tmp_path / "cut")
    wal = (tmp_path / "cut" / "index.sqlite-wal").read_bytes()
    heads = set()
    for torn in cuts(wal):
        shutil.rmtree(tmp_path / "torn", ignore_errors=True)
        shutil.copytree(tmp_path / "cut", tmp_path / "torn")
        (tmp_path / "torn" / "index.sqlite-wal").write_bytes(torn)
        (tmp_path / "torn" / "index.sqlite-shm").unlink(missing_ok=True)
        with SnapshotStore.open(root, tmp_path / "torn") as store:
            assert store.verify() == ()
            heads.add(store.head)
            left = sorted(store.snapshots)
            assert left == sorted(known)[: len(left)]
            if left:
                id = random.Random(len(torn)).choice(left)
                assert store.restore(id).stands == ()
                assert tree(root) == known[id]
    assert len(heads) > 2, "it was torn at more than one commit"


def test_what_was_left_half_done_is_removed_and_nothing_else(root: Path, tmp_path: Path) -> None:
    with SnapshotStore.open(root, tmp_path / "store") as store:
        known = work(root, store)
    packs, large = tmp_path / "store" / "packs", tmp_path / "store" / "large"
    whole = {path for folder in (packs, large) for path in folder.iterdir()}
    (packs / "pack-00000099").write_bytes(b"of a step that did not commit")
    (packs / "pack-00000007.partial").write_bytes(b"half a pa")
    (large / "new.partial").write_bytes(b"half a file")
    (large / ("ab" * 32)).write_bytes(b"renamed, and not committed")
    ours = {packs / "notes", large / "lost+found"}
    (packs / "notes").write_text("not the store's")
    (large / "lost+found").mkdir()
    with SnapshotStore.open(root, tmp_path / "store") as store:
        assert {path for folder in (packs, large) for path in folder.iterdir()} == whole | ours
        assert store.verify() == ()
        assert store.restore(1).stands == ()
    assert tree(root) == known[1]


def test_a_pack_whose_contents_no_snapshot_has_is_removed_whatever_its_number(
    root: Path, tmp_path: Path
) -> None:
    with SnapshotStore.open(root, tmp_path / "store") as store:
        (root / "few").write_bytes(b"in the index")
        first = store.snapshot().id
    stray = tmp_path / "store" / "packs" / f"pack-{first:08d}"
    stray.write_bytes(b"under a number that was given out")
    with SnapshotStore.open(root, tmp_path / "store") as store:
        assert not stray.exists()
        assert store.read(first, b"few") == b"in the index"


def test_an_index_of_another_format_is_refused_and_left_alone(root: Path, tmp_path: Path) -> None:
    with SnapshotStore.open(root, tmp_path / "store") as store:
        work(root, store, 1)
    with closing(sqlite3.connect(tmp_path / "store" / "index.sqlite")) as index:
        index.execute("PRAGMA user_version = 99")
    with pytest.raises(SnapshotError, match="format 99"):
        SnapshotStore.open(root, tmp_path / "store")
    with pytest.raises(SnapshotError, match="format 99"):
        StoreReader.attach(tmp_path / "store")
    assert os.listdir(tmp_path / "store" / "large")
