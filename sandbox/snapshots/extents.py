"""Which parts of two files are the very same blocks on the disk.

A clone shares the blocks of its source until one of the two is written, and a block that is shared is never written in
place. So where two files that nobody writes any more have the same blocks at the same offset, they have the same bytes
there, and one of them need not be read.

The kernel tells (FIEMAP). Only plain extents count: compressed ones tell the same place for different parts, and what
is not written yet, or lies in the inode, has no place. A place is one of a device, and xfs may have two: both files are
to be clones that were made in the same folder, which decides on that.
"""

from __future__ import annotations

import fcntl
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping

from mulligan.sandbox.snapshots.detector import filesystem_of

_FIEMAP = 0xC020660B
_HEAD, _EXTENT = struct.Struct("=QQIIII"), struct.Struct("=QQQ16xI12x")
_SYNC = 0x01
_AT_ONCE = 512
_LAST, _MERGED, _SHARED = 0x01, 0x1000, 0x2000
_PLAIN = _LAST | _MERGED | _SHARED
#: filesystems where a place stands for the same bytes for as long as anybody has it
_PLACES = frozenset(("xfs", "btrfs"))
#: a file in more pieces is not worth the comparison
_MOST = 1 << 16

#: where bytes begin and end in a file
Part = tuple[int, int]


def shared(one: int, other: int) -> list[Part]:
    """The parts of two open files that are the same blocks, in order; none where that cannot be told."""
    if filesystem_of(one) not in _PLACES:
        return []
    try:
        mine, theirs = _by_distance(one), _by_distance(other)
    except OSError:
        return []
    found = (
        both for distance in mine.keys() & theirs.keys() for both in _both(mine[distance], theirs[distance])
    )
    return _joined(sorted(found))


def _by_distance(fd: int) -> Mapping[int, list[Part]]:
    """A file's plain extents, in order, by how far on the disk each lies from its offset in the file."""
    found: defaultdict[int, list[Part]] = defaultdict(list)
    for start, place, length, flags in _extents(fd):
        if not flags & ~_PLAIN:
            found[place - start].append((start, start + length))
    return found


def _extents(fd: int) -> Iterator[tuple[int, int, int, int]]:
    """Offset, place, length and flags of each. Raises OSError where that is not told, or there are too many."""
    at = count = 0
    while True:
        request = bytearray(_HEAD.size + _AT_ONCE * _EXTENT.size)
        _HEAD.pack_into(request, 0, at, (1 << 64) - 1 - at, _SYNC, 0, _AT_ONCE, 0)
        fcntl.ioctl(fd, _FIEMAP, request)
        mapped = _HEAD.unpack_from(request)[3]
        if (count := count + mapped) > _MOST:
            raise OSError("too many pieces")
        for number in range(mapped):
            start, place, length, flags = _EXTENT.unpack_from(request, _HEAD.size + number * _EXTENT.size)
            yield start, place, length, flags
            at = start + length
        if not mapped or flags & _LAST:
            return


def _both(mine: list[Part], theirs: list[Part]) -> Iterator[Part]:
    """What two ordered lists have in common."""
    i = j = 0
    while i < len(mine) and j < len(theirs):
        start, end = max(mine[i][0], theirs[j][0]), min(mine[i][1], theirs[j][1])
        if start < end:
            yield start, end
        if mine[i][1] < theirs[j][1]:
            i += 1
        else:
            j += 1


def _joined(parts: list[Part]) -> list[Part]:
    whole: list[Part] = []
    for start, end in parts:
        if whole and whole[-1][1] == start:
            whole[-1] = whole[-1][0], end
        else:
            whole.append((start, end))
    return whole
