"""Contents at rest: the small ones of a snapshot share one pack; a large one has a file of its own.

A pack of few bytes is a row of the index, and so is there when the index commit is, at no cost of its own. A
larger one is streamed to a file. Durable order for files, as a snapshot must never name a content that a power
cut can take away: everything is written under a temporary name, fdatasync, rename, fsync of the folder; only
then does the index commit. A pack or a large file that no index names is what a step or a collection left that
was cut short, and is removed when the store is opened.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mulligan.sandbox.errors import StoreDamaged
from mulligan.sandbox.snapshots import content
from mulligan.sandbox.snapshots.entry import is_reference
from mulligan.sandbox.snapshots.index import Index, Place
from mulligan.sandbox.snapshots.lower import Lower

#: Contents up to this many bytes go in the pack.
SMALL = 1 << 20
#: Free bytes that copies leave on the disk; of a small disk, a fortieth.
RESERVE = 512 << 20
#: A pack up to this many bytes goes in the index.
_FEW = 1 << 18
#: Contents that the index is asked for at once. SQLite before 3.32 takes 999 values.
_AT_ONCE = 900
#: Bytes of a pack that may lie idle before they are given back.
_SLACK = 1 << 16
#: Large contents whose segments are remembered.
_REMEMBERED = 256
_PARTIAL = ".partial"
_PACK, _LARGE = re.compile(r"pack-([0-9]{8,})"), re.compile(r"[0-9a-f]{64}")
_HINT = "The store's disk or somebody changed it: verify() names all that is damaged. Other contents are unharmed."


class Blobs:
    def __init__(self, folder: Path, index: Index) -> None:
        self._packs = folder / "packs"
        self._large = folder / "large"
        self._index = index
        self._pack: BinaryIO | None = None
        self._new: dict[bytes, bytes] = {}  #: contents that may be kept already, and their keys
        self._size_of_new = 0
        self._few = bytearray()
        self._begun = self._spilled = False
        self._segments: dict[bytes, content.Segments] = {}  #: of the clones that were made last
        self._number = 0
        self._offset = 0
        self._reading: tuple[int, int] | None = None
        self._added = 0  #: bytes of the files that are pending
        self.size = 0  #: bytes of the files that are kept
        self.pending: dict[bytes, Place] = {}
        self.lower: Lower | None = None  #: whom references are for
        self.captured: dict[bytes, bytes] = {}  #: what will be, of these, when the index commits
        if index.lower is not None:
            self.lower = Lower(index.lower[0], Path(os.fsdecode(index.lower[1])))

    @classmethod
    def open(cls, folder: Path, index: Index) -> Blobs:
        blobs = cls(folder, index)
        for place in (blobs._packs, blobs._large):
            place.mkdir(mode=0o700, exist_ok=True)
        blobs.sweep()
        return blobs

    def close(self) -> None:
        self.abandon()
        self._stop_reading()

    def begin(self, number: int) -> None:
        """Start the pack of one snapshot; nothing is made until there is a content to keep."""
        self.abandon()
        self._number = number

    @property
    def few(self) -> bytes | None:
        """The pack, if it is for the index to keep; under the number that was begun."""
        small = any(place.pack for place in self.pending.values())
        return bytes(self._few) if small and not self._spilled else None

    def add_small(self, data: bytes, known: bytes | None) -> bytes:
        """Keep a content of at most SMALL bytes; its key. The one under the key `known` is kept already."""
        key = content.small_key(data)
        if key != known and key not in self.pending:
            self._begun = True
            self._new[key] = data
            self._size_of_new += len(data)
            if self._size_of_new > _FEW or len(self._new) == _AT_ONCE:
                self._add_new()
        return key

    def _add_new(self) -> None:
        """Put those of the new contents into the pack that are not kept: the index is asked once for all of them."""
        kept = self._index.kept(self._new)
        for key, data in self._new.items():
            if key not in kept:
                self.pending[key] = Place(self._number, self._offset, len(data))
                self._offset += len(data)
                self._few += data
        self._new.clear()
        self._size_of_new = 0
        if self._pack is not None or len(self._few) > _FEW:
            self._spill()

    def add_large(self, fd: int, *, likely_here: bool, was: bytes | None = None) -> tuple[bytes, int]:
        """Keep the content of an open file; its key and length. `likely_here` spares the copy if it is kept
        already. `was` is the key of what the file held before, if any: a clone is read where it differs from that.
        """
        self._begun = True
        partial = self._large / f"new{_PARTIAL}"
        with _opened(partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC) as copied:
            if content.clone(fd, copied):
                key, size = self._clone_key(copied, was)
            else:
                if likely_here:
                    key, size = content.large_key(fd)
                    if self._has(key):
                        partial.unlink()
                        return key, size
                self._leave_room(os.fstat(fd).st_blocks * 512)
                key, size = content.copy(fd, copied)
            if self._has(key):
                partial.unlink()
                return key, size
            os.fdatasync(copied)
            taken = os.fstat(copied).st_blocks * 512
        self._added += taken
        partial.rename(self._large / key.hex())
        self.pending[key] = Place(0, 0, size)
        return key, size

    def _clone_key(self, clone: int, was: bytes | None) -> tuple[bytes, int]:
        like, known = None, None if was is None else self._segments.get(was)
        with ExitStack() as opened:
            if was is not None and known is not None:
                with suppress(OSError):
                    like = opened.enter_context(_opened(self._large / was.hex(), os.O_RDONLY))
            key, made = content.clone_key(clone, like, known)
        self._segments[key] = made
        if len(self._segments) > _REMEMBERED:
            del self._segments[next(iter(self._segments))]
        return key, made.size

    def capture(self, reference: bytes) -> None:
        """Keep what a reference stands for, because the path is about to be another. Where the user has changed it
        there is nothing to keep, and whoever wants it back is told."""
        if self.lower is None or reference in self._index.captured or reference in self.captured:
            return
        self._begun = True
        with suppress(StoreDamaged):
            with self.lower.open(reference) as fd:
                size = os.fstat(fd).st_size
                if size <= SMALL and len(data := content.read(fd, SMALL + 1, size)) <= SMALL:
                    key = self.add_small(data, None)
                else:
                    key, _ = self.add_large(fd, likely_here=False)
            self.captured[reference] = key  # not before it is known that it was the same to the end

    def capture_now(self, reference: bytes) -> None:
        """The same without a snapshot, at once and for good. Raises StoreDamaged where there is nothing to keep."""
        self.begin(self._number)
        with self._opened(reference) as fd:
            self.captured[reference], _ = self.add_large(fd, likely_here=False)
        self.seal()
        self._index.capture(self.pending, self.captured)
        self.done()

    def seal(self) -> None:
        """Make all that was added durable. The caller commits the index next, then calls `begin` for another."""
        if self._new:
            self._add_new()
        if self._pack is not None:
            self._pack.flush()
            os.fdatasync(self._pack.fileno())
            self._added += os.fstat(self._pack.fileno()).st_blocks * 512
            self._pack.close()
            self._pack = None
            self._partial_pack().rename(self._pack_path(self._number))
            _sync(self._packs)
        if any(place.pack == 0 for place in self.pending.values()):
            _sync(self._large)

    def done(self) -> None:
        """The index has committed: what was pending is kept."""
        self.size += self._added
        self.pending = {}
        self._new.clear()
        self.captured = {}
        self._few.clear()
        self._begun = self._spilled = False
        self._offset = self._added = self._size_of_new = 0

    def abandon(self) -> None:
        """Forget what was added since `begin` and give its room back."""
        if not self._begun:
            return
        if self._pack is not None:
            with suppress(OSError):  # closing flushes, and the disk may be full
                self._pack.close()
            self._pack = None
        for key, place in self.pending.items():
            if self._index.place(key) is not None:
                self.size += self._added
                break  # all were committed, though the caller did not come to hear of it
            (self._pack_path(place.pack) if place.pack else self._large / key.hex()).unlink(missing_ok=True)
        self._partial_pack().unlink(missing_ok=True)
        (self._large / f"new{_PARTIAL}").unlink(missing_ok=True)
        self._added = 0
        self.done()

    def read(self, key: bytes, limit: int | None = None) -> bytes:
        """A content, or its first `limit` bytes; all of it is verified first. Raises StoreDamaged."""
        key = self._index.captured.get(key, key)
        if not is_reference(key) and (place := self._place(key)).pack:
            return self._packed(key, place)[:limit]
        with self._opened(key) as fd:
            size = os.fstat(fd).st_size
            return content.read(fd, size if limit is None else min(limit, size), size)

    @contextmanager
    def as_file(self, key: bytes) -> Iterator[int]:
        """A content as an open file, to read. Raises StoreDamaged, after the block too."""
        key = self._index.captured.get(key, key)
        if not is_reference(key) and (place := self._place(key)).pack:
            with open(os.memfd_create("content"), "wb", buffering=0) as file:
                content.write(file.fileno(), self._packed(key, place))
                os.ftruncate(file.fileno(), place.length)
                yield file.fileno()
            return
        with self._opened(key) as fd:
            yield fd

    def require(self, key: bytes | None) -> None:
        """Raises StoreDamaged where what a reference stands for is not to be had any more. Costs nothing for others."""
        if key is not None and is_reference(key) and key not in self._index.captured:
            with self._opened(key):
                pass

    def pour(self, key: bytes, target: int) -> None:
        """Make the content of an open file this one, in place. Raises StoreDamaged before anything is
        written.

        It is overwritten and then cut, so that it is never shorter than both what it was and what it becomes:
        a process that has it mapped meets no end too early.
        """
        key = self._index.captured.get(key, key)
        if not is_reference(key) and (place := self._place(key)).pack:
            content.write(target, self._packed(key, place))
            os.ftruncate(target, place.length)
            return
        with self._opened(key) as fd:
            if not content.clone(fd, target):
                content.overwrite(fd, target)

    def faults(self) -> Iterator[str]:
        """Reads every blob again; the names of those that are not what was stored."""
        for key, place in self._index.blobs():
            try:
                self._packed(key, place) if place.pack else self._verify_large(key, place)
            except StoreDamaged as error:
                yield error.message + self._index.whose(key.hex())
        for reference in self._index.references():
            try:
                with self._opened(reference):
                    pass
            except StoreDamaged as error:
                yield error.message

    def _has(self, key: bytes) -> bool:
        return key in self.pending or self._index.place(key) is not None

    def _place(self, key: bytes) -> Place:
        place = self.pending.get(key) or self._index.place(key)
        if place is None:
            raise StoreDamaged(f"content {key.hex()} is not in the index", hint=_HINT)
        return place

    def _spill(self) -> None:
        """Go on with the pack in a file."""
        if self._pack is None:
            self._pack = open(self._partial_pack(), "wb", buffering=SMALL)  # noqa: SIM115 - closed by seal or abandon
            self._spilled = True
        self._leave_room(len(self._few))
        self._pack.write(self._few)
        self._few.clear()

    def _leave_room(self, size: int) -> None:
        """Raises OSError where so many bytes more would leave the host too little."""
        disk = os.statvfs(self._large)
        if disk.f_bavail * disk.f_frsize - size < min(RESERVE, disk.f_blocks * disk.f_frsize // 40):
            raise OSError(errno.ENOSPC, "too little would be left on the disk", os.fspath(self._large))

    def _packed(self, key: bytes, place: Place) -> bytes:
        name = f"{self._pack_path(place.pack).name} at {place.offset}"
        try:
            data = self._index.few(place)
            if data is None:
                data = os.pread(self._pack_fd(place.pack), place.length, place.offset)
        except OSError as error:
            raise StoreDamaged(f"{name}: {error.strerror}", hint=_HINT) from error
        if len(data) != place.length or content.small_key(data) != key:
            raise StoreDamaged(f"{name}: not what was stored", hint=_HINT)
        return data

    def _pack_fd(self, number: int) -> int:
        if self._reading is None or self._reading[0] != number:
            self._stop_reading()
            self._reading = number, os.open(self._pack_path(number), os.O_RDONLY | os.O_CLOEXEC)
        return self._reading[1]

    def _stop_reading(self) -> None:
        if self._reading is not None:
            os.close(self._reading[1])
            self._reading = None

    @contextmanager
    def _opened(self, key: bytes) -> Iterator[int]:
        """A content that has a file: of the store's, or of the user's."""
        if not is_reference(key):
            with self._verified(key) as fd:
                yield fd
        elif self.lower is None:
            raise StoreDamaged("the index refers to a folder that it does not name", hint=_HINT)
        else:
            with self.lower.open(key) as fd:
                yield fd

    @contextmanager
    def _verified(self, key: bytes) -> Iterator[int]:
        path = self._large / key.hex()
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise StoreDamaged(f"{path.name}: {error.strerror}", hint=_HINT) from error
        try:
            if content.large_key(fd)[0] != key:
                raise StoreDamaged(f"{path.name}: not what was stored", hint=_HINT)
            yield fd
        finally:
            os.close(fd)

    def _verify_large(self, key: bytes, place: Place) -> None:
        with self._verified(key) as fd:
            if os.fstat(fd).st_size != place.length:
                raise StoreDamaged(f"{key.hex()}: its length in the index is not its own", hint=_HINT)

    def sweep(self) -> None:
        """Remove what no commit names, and learn what the rest takes. What the store did not make stays where it is."""
        self._stop_reading()
        packs = self._index.packs()
        for path in self._packs.iterdir():
            number = _PACK.fullmatch(path.name)
            if path.suffix == _PARTIAL or (number and int(number[1]) not in packs):
                path.unlink()
            elif number and path.stat().st_blocks * 512 > packs[int(number[1])] + _SLACK:
                self._thin(path, int(number[1]))
        for path in self._large.iterdir():
            named = _LARGE.fullmatch(path.name)
            if path.suffix == _PARTIAL or (named and self._index.place(bytes.fromhex(path.name)) is None):
                path.unlink()
        kept = (*self._packs.iterdir(), *self._large.iterdir())
        self.size = sum(path.stat().st_blocks * 512 for path in kept)

    def _thin(self, path: Path, number: int) -> None:
        """Give back the room of contents of a pack that no record names: as holes, so that the others stay where they
        are, and it may be repeated when it is cut short."""
        end = 0
        with _opened(path, os.O_RDWR) as pack:
            for _, place in (each for each in self._index.blobs() if each[1].pack == number):
                content.forget(pack, end, place.offset)
                end = max(end, place.offset + place.length)
            content.forget(pack, end, os.fstat(pack).st_size)

    def weigh(self, key: bytes) -> int:
        """The bytes that a content takes."""
        place = self._index.place(key)
        if place is None or place.pack:
            return place.length if place else 0
        try:
            return (self._large / key.hex()).stat().st_blocks * 512
        except OSError:
            return 0

    def _pack_path(self, number: int) -> Path:
        return self._packs / f"pack-{number:08d}"

    def _partial_pack(self) -> Path:
        return self._packs / f"pack-{self._number:08d}{_PARTIAL}"


class Unkept:
    """Contents of a tree that nobody will want back: named, and not kept. With `passing`, what is new in the tree is
    not even looked into: it will go whole."""

    def __init__(self, *, passing: bool) -> None:
        self.passing = passing
        self._new = itertools.count()

    def add_small(self, data: bytes, known: bytes | None) -> bytes:
        return content.small_key(data)

    def add_large(self, fd: int, *, likely_here: bool, was: bytes | None = None) -> tuple[bytes, int]:
        """Another name each time, unless the content may well be one that is kept."""
        if likely_here:
            return content.large_key(fd)
        return b"new-%d" % next(self._new), os.fstat(fd).st_size

    def capture(self, reference: bytes) -> None:
        """Nothing: what is about to be put back is read where it lies."""


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def _sync(folder: Path) -> None:
    with _opened(folder, os.O_RDONLY | os.O_DIRECTORY) as fd:
        os.fsync(fd)
