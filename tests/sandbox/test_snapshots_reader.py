"""A store as others read it while one process holds it, and when none does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mulligan.sandbox.errors import SnapshotError, SnapshotUnknown, StoreDamaged
from mulligan.sandbox.snapshots import SnapshotStore, StoreReader

READ = """
import sys
from pathlib import Path
from mulligan.sandbox.snapshots import StoreReader
with StoreReader.attach(Path(sys.argv[1])) as store:
    print(sorted(change.path for change in store.diff(1, 2)), store.read(2, b"file"))
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


def two_snapshots(store: SnapshotStore, root: Path) -> None:
    (root / "file").write_text("first")
    store.snapshot()
    (root / "file").write_text("second")
    (root / "large").write_bytes(b"x" * (2 << 20))
    store.snapshot()


def test_another_process_reads_a_store_that_is_held(root: Path, tmp_path: Path) -> None:
    with SnapshotStore.open(root, tmp_path / "store") as store:
        two_snapshots(store, root)
        command = [sys.executable, "-c", READ, str(tmp_path / "store")]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "[b'', b'file', b'large'] b'second'\n"


def test_a_store_that_nobody_holds_is_read_and_not_changed(root: Path, tmp_path: Path) -> None:
    with SnapshotStore.open(root, tmp_path / "store") as store:
        two_snapshots(store, root)
    remains = tmp_path / "store" / "packs" / "pack-00000099"
    remains.touch()  # what a store that is opened to be used would sweep away
    with StoreReader.attach(tmp_path / "store") as reader:
        assert reader.read(1, b"file") == b"first"
        assert reader.read(2, b"large", 3) == b"xxx"
        assert sorted(reader.entries(2)) == [b"", b"file", b"large"]
    assert remains.exists()


def test_a_snapshot_that_is_taken_while_a_reader_is_there_can_be_compared(root: Path, tmp_path: Path) -> None:
    with SnapshotStore.open(root, tmp_path / "store") as store:
        two_snapshots(store, root)
        with StoreReader.attach(tmp_path / "store") as reader:
            with pytest.raises(SnapshotUnknown):
                reader.diff(2, 3)
            (root / "file").unlink()
            store.snapshot()
            assert [change.path for change in reader.diff(2, 3)] == [b"", b"file"]
            (root / "file").write_text("the holder writes on")
            assert store.snapshot().id == 4


def test_an_id_that_was_never_given_out_is_an_error(root: Path, tmp_path: Path) -> None:
    with SnapshotStore.open(root, tmp_path / "store") as store:
        two_snapshots(store, root)
    with StoreReader.attach(tmp_path / "store") as reader, pytest.raises(SnapshotUnknown):
        reader.diff(1, 7)


def test_where_there_is_no_store_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError):
        StoreReader.attach(tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


def test_an_index_that_is_no_index_is_damage(tmp_path: Path) -> None:
    (tmp_path / "index.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreDamaged):
        StoreReader.attach(tmp_path)
