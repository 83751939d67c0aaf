"""Where a filesystem shares blocks, a large file that changed a little is read only where it changed, and its key is
what it would be had all of it been read."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mulligan.sandbox.snapshots import SnapshotStore, content, extents

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can mount a filesystem that shares blocks"
)
MIB = 1 << 20


@contextmanager
def mounted(kind: str, image: Path, at: Path, options: str = "defaults") -> Iterator[Path]:
    """A filesystem in a file. Nothing is skipped: root has what it takes, or installs it."""
    maker = shutil.which(f"mkfs.{kind}")
    assert maker, f"mkfs.{kind} is missing: apt-get install btrfs-progs xfsprogs"
    with open(image, "wb") as file:
        file.truncate(320 * MIB)
    subprocess.run([maker, "-q", image], check=True, capture_output=True)
    at.mkdir()
    subprocess.run(["mount", "-o", f"loop,{options}", image, at], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


@pytest.fixture(scope="module", params=["btrfs", "xfs"])
def disk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("disk")
    with mounted(request.param, folder / "image", folder / "at") as at:
        yield at


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Where segments begin that were read and hashed."""
    read: list[int] = []
    digest_at = content._digest_at

    def noted(fd: int, at: int, stop: int) -> bytes:
        read.append(at)
        return digest_at(fd, at, stop)

    monkeypatch.setattr(content, "_digest_at", noted)
    return read


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def patch(path: Path, data: bytes, at: int) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


def test_of_a_large_file_only_what_changed_is_read_and_it_can_be_undone(disk: Path, reads: list[int]) -> None:
    root = disk / "plain" / "root"
    root.mkdir(parents=True)
    file = root / "large"
    file.write_bytes(noise(22 * MIB + 777))
    with SnapshotStore.open(root, disk / "plain" / "store") as store:
        first = store.snapshot()
        assert sorted(reads) == [n * 4 * MIB for n in range(6)]
        was = file.read_bytes()
        reads.clear()
        patch(file, b"changed", 9 * MIB)
        second = store.snapshot()
        assert reads == [8 * MIB]
        became = file.read_bytes()
        reads.clear()
        file.chmod(0o600)
        store.snapshot()
        assert reads == []  # the very blocks: neither copied nor read
        assert store.restore(first.id).stands == () and file.read_bytes() == was
        assert store.restore(second.id).stands == () and file.read_bytes() == became
        assert store.verify() == ()


def test_damage_to_what_was_kept_is_not_handed_on_and_is_named(disk: Path) -> None:
    root, kept = disk / "damaged" / "root", disk / "damaged" / "store"
    root.mkdir(parents=True)
    file = root / "large"
    file.write_bytes(noise(9 * MIB))
    with SnapshotStore.open(root, kept) as store:
        first = store.snapshot()
        (stored,) = (kept / "large").iterdir()
        patch(stored, b"damage", MIB)
        patch(file, b"changed", 5 * MIB)
        second, became = store.snapshot(), file.read_bytes()
        patch(file, b"changed again", 0)
        assert store.restore(second.id).stands == () and file.read_bytes() == became
        assert [stored.name in fault for fault in store.verify()] == [True]
        assert [each.path for each in store.restore(first.id).stands] == [b"large"]


@pytest.mark.parametrize("seed", range(12))
def test_the_key_is_the_one_that_reading_all_of_it_gives(disk: Path, seed: int) -> None:
    """Whatever was written, cut, prolonged, punched, moved within it or swapped in between."""
    chosen = random.Random(seed)
    root = disk / f"keys{seed}"
    root.mkdir()
    file, old, new = root / "large", root / "old", root / "new"
    file.write_bytes(noise(13 * MIB + 4097, seed))
    like = known = None
    for _ in range(6):
        fd, copied = os.open(file, os.O_RDWR), os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        assert content.clone(fd, copied)
        key, made = content.clone_key(copied, like, known)
        assert (key, made.size) == content.large_key(fd)
        if like is not None:
            os.close(like)
        new.rename(old)
        like, known = copied, made
        size = os.fstat(fd).st_size
        for _ in range(chosen.randrange(3)):
            at, length = chosen.randrange(size), chosen.randrange(1, 3 * MIB)
            match chosen.randrange(5):
                case 0:
                    os.pwrite(fd, noise(length, chosen.randrange(99)), at)
                case 1:
                    os.ftruncate(fd, max(MIB, size - length))
                case 2:
                    os.ftruncate(fd, size + length)
                case 3:
                    content.forget(fd, at, min(size, at + length))
                case 4:  # a part of it once more elsewhere, as the same blocks
                    where, whence = (n * 4 * MIB for n in chosen.sample(range(3), 2))
                    with open(file, "r+b") as other:
                        os.copy_file_range(other.fileno(), fd, MIB, whence, where)
        os.close(fd)
    assert like is not None
    os.close(like)
    file.unlink()
    old.unlink()


def test_parts_that_are_compressed_are_read(tmp_path: Path, reads: list[int]) -> None:
    """Such extents name the place of all of it for any part of it."""
    with mounted("btrfs", tmp_path / "image", tmp_path / "at", "compress-force=zstd") as disk:
        (disk / "root").mkdir()
        file = disk / "root" / "large"
        file.write_bytes(b"much the same " * 400_000)
        with SnapshotStore.open(disk / "root", disk / "store") as store:
            store.snapshot()
            reads.clear()
            patch(file, b"changed", 3 * MIB)
            store.snapshot()
            assert sorted(reads) == [0, 4 * MIB]
            assert store.verify() == ()


def test_where_no_blocks_are_shared_nothing_is_taken_for_the_same(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        path.write_bytes(noise(2 * MIB))
    with open(one, "rb") as first, open(other, "rb") as second:
        assert extents.shared(first.fileno(), second.fileno()) == []
        assert extents.shared(first.fileno(), first.fileno()) == []  # not a filesystem that is known for it
