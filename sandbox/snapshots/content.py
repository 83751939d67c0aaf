"""Contents: how they are hashed, written in place and copied, so that holes stay holes.

A small content is hashed as it is. A large one is hashed by aligned segments: of each its blocks that are not all
zeros, and their offsets; then the digests of the segments, and the length. So a hole and written zeros are the same
content, and a terabyte of hole costs nothing. A large file is to be kept about as fast as the disk takes it: hence
SHA-256, for which processors have instructions, and threads that read and hash while this one writes. The two
kinds of key never meet (blake2b personalisation).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from mulligan.sandbox.snapshots import extents

_PAGE = 4096
_BLOCK = 1 << 16
_ZEROS = bytes(_BLOCK)
_SEGMENT = 1 << 22
_AT_ONCE = (
    1 << 18
)  #: a larger write has ext4 look for contiguous memory, which took eight times as long (Linux 6.18)
_WORKERS = min(4, os.cpu_count() or 1)
_FICLONE = 0x40049409
_PUNCH_HOLE = 0x02 | 0x01  # with KEEP_SIZE, which the kernel requires

_WRITE = 0x02  #: start to, and do not wait

#: bytes and the offset where they lie
Pieces = list[tuple[int, bytes]]

_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = _libc.fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_sync_file_range = _libc.sync_file_range
_sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def small_key(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def large_key(fd: int) -> tuple[bytes, int]:
    """The key and the length of an open file's content."""
    size = os.fstat(fd).st_size
    return _key(size, ((at, partial(_digest_at, fd, at, stop)) for at, stop in _segments(fd, size))), size


@dataclass(frozen=True, slots=True)
class Segments:
    """The digests of a large content's segments, by where each begins, but of those that are all zeros; `size` is the
    content's. They prove themselves: its key is made of them."""

    size: int
    digests: Mapping[int, bytes]


def clone_key(clone: int, like: int | None = None, known: Segments | None = None) -> tuple[bytes, Segments]:
    """The key of a clone, and what it was made of. What is the same blocks as in `like`, another clone, whose segments
    are `known`, is not read again."""
    size = os.fstat(clone).st_size
    same = [] if like is None or known is None else extents.shared(clone, like)

    def digests() -> Iterator[tuple[int, Callable[[], bytes]]]:
        for at, stop in _segments(clone, size):
            if known is not None and at in known.digests and stop == min(at + _SEGMENT, known.size):
                while same and same[0][1] < stop:
                    same.pop(0)
                if same and same[0][0] <= at:
                    yield at, partial(known.digests.__getitem__, at)
                    continue
            yield at, partial(_digest_at, clone, at, stop)

    found: dict[int, bytes] = {}
    return _key(size, digests(), found), Segments(size, found)


def copy(source: int, target: int) -> tuple[bytes, int]:
    """Make the content of `target` that of `source`, in place; the key and the length of what was written.

    A source that changes meanwhile gives a torn copy, but its key is the copy's. The disk begins to write at once,
    while the rest is read and hashed, for the caller waits for it in the end.
    """
    size = os.fstat(source).st_size
    copied = _written_early(target, _copied(source, target, size))
    key = _key(size, ((at, partial(_digest, pieces)) for at, pieces in copied))
    os.ftruncate(target, size)
    return key, size


def overwrite(source: int, target: int) -> None:
    """The same for a source whose key is known."""
    size = os.fstat(source).st_size
    deque(_copied(source, target, size), maxlen=0)
    os.ftruncate(target, size)


def clone(source: int, target: int) -> bool:
    """Share the blocks of `source`, where the filesystem can; whether it could."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    size = os.fstat(source).st_size
    if os.fstat(target).st_size != size:  # or the last block would be written anew, and shared no more (xfs)
        os.ftruncate(target, size)
    return True


def write(fd: int, data: bytes, offset: int = 0) -> None:
    """Write all of it at the offset; pages of zeros become holes."""
    at = offset
    for start, run in _without_zeros(data, offset, _PAGE):
        _punch(fd, at, start)
        _write_all(fd, run, start)
        at = start + len(run)
    _punch(fd, at, offset + len(data))


def read(fd: int, limit: int, size: int) -> bytes:
    """What is in the file from its start, up to a limit of bytes; `size` is what its status says that it has, and one
    that ends just there is read once."""
    data = os.pread(fd, min(limit, size + 1), 0)
    while len(data) not in (limit, size) and (more := os.pread(fd, limit - len(data), len(data))):
        data += more
    return data


def _segments(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Where each aligned segment that is not one hole begins and ends."""
    at = 0
    while at < size and (start := _next_data(fd, at)) is not None and start < size:
        start -= start % _SEGMENT
        at = min(start + _SEGMENT, size)
        yield start, at


def _copied(source: int, target: int, size: int) -> Iterator[tuple[int, Pieces]]:
    """Each segment of the source, once the target has it and the hole before it."""
    end = 0
    for at, pieces in _read_ahead(source, size):
        for start, data in pieces:
            _punch(target, end, start)
            write(target, data, start)
            end = start + len(data)
        yield at, pieces
    _punch(target, end, size)


def _read_ahead(source: int, size: int) -> Iterator[tuple[int, Pieces]]:
    """Each segment; while the caller has one in hand, the next is read."""
    with ThreadPoolExecutor(1) as pool:
        ready: tuple[int, Future[Pieces]] | None = None
        for at, stop in _segments(source, size):
            ready, last = (at, pool.submit(_pieces, source, at, stop)), ready
            if last is not None:
                yield last[0], last[1].result()
        if ready is not None:
            yield ready[0], ready[1].result()


def _written_early(target: int, segments: Iterable[tuple[int, Pieces]]) -> Iterator[tuple[int, Pieces]]:
    for at, pieces in segments:
        _sync_file_range(
            target, at, _SEGMENT, _WRITE
        )  # a hint: what it cannot do, the caller's fdatasync does
        yield at, pieces


def _key(
    size: int, segments: Iterable[tuple[int, Callable[[], bytes]]], found: dict[int, bytes] | None = None
) -> bytes:
    """The key of a large content, of whose segments each brings its digest, `found` then. Threads make these, few at a
    time."""
    hasher = hashlib.blake2b(digest_size=32, person=b"large")
    under_way: deque[tuple[int, Future[bytes]]] = deque()

    def take() -> None:
        at, digest = under_way.popleft()
        if made := digest.result():
            hasher.update(at.to_bytes(8, "big") + made)
            if found is not None:
                found[at] = made

    with ThreadPoolExecutor(_WORKERS) as pool:
        for at, digest in segments:
            under_way.append((at, pool.submit(digest)))
            if len(under_way) > 2 * _WORKERS:
                take()
        while under_way:
            take()
    hasher.update(size.to_bytes(8, "big"))
    return hasher.digest()


def _digest_at(fd: int, at: int, stop: int) -> bytes:
    return _digest(_pieces(fd, at, stop))


def _digest(pieces: Pieces) -> bytes:
    """Of one segment; empty when it is all zeros. How the blocks were dealt into pieces makes no difference."""
    hasher = hashlib.sha256()
    for _, data in pieces:
        hasher.update(data)
    places = [at for start, data in pieces for at in range(start, start + len(data), _BLOCK)]
    hasher.update(b"".join(at.to_bytes(8, "big") for at in (*places, len(places))))
    return hasher.digest() if places else b""


def _pieces(fd: int, at: int, stop: int) -> Pieces:
    """The runs of aligned blocks between two offsets that are not all zeros; holes are stepped over, not read. What is
    cut off meanwhile reads as zeros.
    """
    found: Pieces = []
    while at < stop and (start := _next_data(fd, at)) is not None and start < stop:
        at = start - start % _BLOCK
        end = min(_end_of_data(fd, start), stop)
        data = os.pread(fd, end - at, at)
        found += _without_zeros(data.ljust(end - at, b"\0"), at, _BLOCK)
        at = end
    return found


def _without_zeros(data: bytes, offset: int, unit: int) -> Iterator[tuple[int, bytes]]:
    """The runs of units that are not all zeros, each with its offset."""
    zeros = _ZEROS[:unit]
    if zeros not in data and not data.endswith(b"\0"):
        yield offset, data
        return
    starts = range(0, len(data), unit)
    for empty, run in itertools.groupby(
        starts, lambda at: not data[at] and not data[at : at + unit].strip(b"\0")
    ):
        if not empty:
            positions = list(run)
            yield offset + positions[0], data[positions[0] : positions[-1] + unit]


def _next_data(fd: int, at: int) -> int | None:
    try:
        return os.lseek(fd, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise


def _end_of_data(fd: int, start: int) -> int:
    """Where the next hole begins, rounded up to a block; all of its block where the file has been cut meanwhile."""
    try:
        end = os.lseek(fd, start, os.SEEK_HOLE)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        end = start + 1
    return end + -end % _BLOCK


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view, written = memoryview(data), 0
    while written < len(view):
        written += os.pwrite(fd, view[written : written + _AT_ONCE], offset + written)


def forget(fd: int, start: int, stop: int) -> None:
    """Give back the room between two offsets, where the filesystem can."""
    if stop > start:
        _fallocate(fd, _PUNCH_HOLE, start, stop - start)


def _punch(fd: int, start: int, stop: int) -> None:
    if stop <= start or _fallocate(fd, _PUNCH_HOLE, start, stop - start) == 0:
        return
    if ctypes.get_errno() != errno.EOPNOTSUPP:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    for at in range(start, stop, _BLOCK):
        _write_all(fd, _ZEROS[: min(_BLOCK, stop - at)], at)
