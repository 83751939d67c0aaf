"""Contents: how they are hashed, written in place and copied, so that holes stay holes.

A small content is hashed as it is. A large one is hashed over its aligned blocks that are not all zeros, each
with its offset, and its length: a hole and written zeros are the same content, and a terabyte of hole costs
nothing. The two kinds of key never meet (blake2b personalisation).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import itertools
import os
from collections.abc import Iterator

_PAGE = 4096
_BLOCK = 1 << 16
_ZEROS = bytes(_BLOCK)
_ZERO_PAGE = bytes(_PAGE)
_FICLONE = 0x40049409
_PUNCH_HOLE = 0x02 | 0x01  # with KEEP_SIZE, which the kernel requires

_fallocate = ctypes.CDLL(None, use_errno=True).fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def small_key(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def large_key(fd: int) -> tuple[bytes, int]:
    """The key and the length of an open file's content."""
    hasher, end = _hasher(), 0
    for offset, block in _blocks(fd):
        _feed(hasher, offset, block)
        end = offset + len(block)
    return _finish(hasher, max(end, os.fstat(fd).st_size))


def copy(source: int, target: int) -> tuple[bytes, int]:
    """Make the content of `target` that of `source`, in place; the key and the length of what was written.

    A source that changes meanwhile gives a torn copy, but its key is the copy's.
    """
    hasher, end = _hasher(), 0
    for offset, block in _blocks(source):
        _feed(hasher, offset, block)
        _punch(target, end, offset)
        write(target, block, offset)
        end = offset + len(block)
    size = max(end, os.fstat(source).st_size)
    _punch(target, end, size)
    os.ftruncate(target, size)
    return _finish(hasher, size)


def clone(source: int, target: int) -> bool:
    """Share the blocks of `source`, where the filesystem can; whether it could."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    os.ftruncate(target, os.fstat(source).st_size)
    return True


def write(fd: int, data: bytes, offset: int = 0) -> None:
    """Write all of it at the offset; pages of zeros become holes."""
    if _ZERO_PAGE not in data:
        _write_all(fd, data, offset)
        return
    pages = range(0, len(data), _PAGE)
    for empty, run in itertools.groupby(
        pages, lambda at: data[at : at + _PAGE] == _ZEROS[: min(_PAGE, len(data) - at)]
    ):
        positions = list(run)
        start, stop = positions[0], min(positions[-1] + _PAGE, len(data))
        if empty:
            _punch(fd, offset + start, offset + stop)
        else:
            _write_all(fd, data[start:stop], offset + start)


def read(fd: int, limit: int) -> bytes:
    """What is in the file from its start, up to a limit of bytes."""
    data = os.pread(fd, limit, 0)
    while len(data) < limit and (more := os.pread(fd, limit - len(data), len(data))):
        data += more
    return data


def _blocks(fd: int) -> Iterator[tuple[int, bytes]]:
    """Every aligned block that is not all zeros, with its offset; holes are stepped over, not read."""
    at = 0
    while (start := _next_data(fd, at)) is not None:
        end = os.lseek(fd, start, os.SEEK_HOLE)
        at = start - start % _BLOCK
        while at < end:
            block = os.pread(fd, _BLOCK, at)
            if block and block != _ZEROS[: len(block)]:
                yield at, block
            if len(block) < _BLOCK:
                return
            at += _BLOCK


def _next_data(fd: int, at: int) -> int | None:
    try:
        return os.lseek(fd, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise


def _hasher() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=32, person=b"large")


def _feed(hasher: hashlib.blake2b, offset: int, block: bytes) -> None:
    hasher.update(offset.to_bytes(8, "big"))
    hasher.update(block)


def _finish(hasher: hashlib.blake2b, size: int) -> tuple[bytes, int]:
    hasher.update(size.to_bytes(8, "big"))
    return hasher.digest(), size


def _write_all(fd: int, data: bytes, offset: int) -> None:
    written = os.pwrite(fd, data, offset)
    while written < len(data):
        written += os.pwrite(fd, data[written:], offset + written)


def _punch(fd: int, start: int, stop: int) -> None:
    if stop <= start or _fallocate(fd, _PUNCH_HOLE, start, stop - start) == 0:
        return
    if ctypes.get_errno() != errno.EOPNOTSUPP:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    for at in range(start, stop, _BLOCK):
        _write_all(fd, _ZEROS[: min(_BLOCK, stop - at)], at)
