"""The disk bound, supervised: what a session's files have come to hold is looked at while an action runs.

The kernel bounds a single file (RLIMIT_FSIZE); the sums of bytes and of files are only looked at, so a fast writer
overshoots by what it writes in one interval. A look is cheap: the filesystem's free space tells when a walk is worth
its time. What the files held at the start, the copy of the user's folder, does not count.

The tree is hostile and may change while it is walked, so the walk goes by descriptors alone (a link that is swapped
in is not followed) and no path is too long for it. Of a deep tree only the nearest folders stay open; the way back up
leads through `..`, which is trusted only where it is the folder that we came down from. Where it is not, something
was moved away under us: that counts as too much, for otherwise moving would hide.

Not seen by a walk: a file without a name that is still held open. The reserve of free space bounds those: while an
action runs for whoever runs it, and between actions for a session in which something goes on running.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from mulligan.policies.decision import Decision, Finding

#: bytes, and files, of free space whose loss makes us walk the tree again
STRIDE, FILES_STRIDE = 64 << 20, 20_000
#: free bytes and files that stay the host's: nothing runs on when there are fewer. Of a small disk, a twentieth.
RESERVE, FILES_RESERVE = 1 << 30, 100_000
#: entries of a walk between two looks at the reserve
OFTEN = 10_000
#: folders of a walk that are open at once
OPEN = 64

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class DiskQuota:
    def __init__(self, folders: Sequence[Path], limit: int, most_files: int) -> None:
        """`limit` in bytes and `most_files` are what may be added to what there is now in these folders, which share a
        disk."""
        self._folders = folders
        self._files = folders[-1]
        self._limit = limit
        self._most_files = most_files
        used = list(self._sizes())
        self._used, self._count = sum(used), len(used)
        self._most_free = (
            self._free()
        )  # since the last walk: what is freed and written again counts as written

    def exceeded(self) -> Finding | None:
        """Why the running action must end, or None. Called a few times a second."""
        why = self.starved() or self.overfilled()
        return _deny(why) if why is not None else None

    def starved(self) -> str | None:
        """What the host's disk lacks, whoever fills it, or None."""
        status = os.statvfs(self._files)
        free = status.f_bavail * status.f_frsize
        if free < min(RESERVE, status.f_blocks * status.f_frsize // 20):
            return f"the host's disk is nearly full ({free >> 20:,} MiB are left)"
        if status.f_favail < min(FILES_RESERVE, status.f_files // 20):
            return f"the host's disk can hold only {status.f_favail:,} more files"
        return None

    def overfilled(self) -> str | None:
        """What of the session's own is too much, or None: said once, and again when it has grown. Called between
        actions too, when a host whose disk others fill is no reason to end anything."""
        free, files = self._free()
        most, most_files = max(self._most_free[0], free), max(self._most_free[1], files)
        if most - free < STRIDE and most_files - files < FILES_STRIDE:
            self._most_free = most, most_files
            return None
        self._most_free = free, files
        return self._walk()

    def _walk(self) -> str | None:
        used = count = 0
        try:
            for size in self._sizes():
                used, count = used + size, count + 1
                if used - self._used > self._limit:
                    return f"the session's files have grown by more than {self._limit:,} bytes"
                if count - self._count > self._most_files:
                    return f"the session has made more than {self._most_files:,} files"
                if count % OFTEN == 0 and (why := self.starved()) is not None:
                    return why
        except Moved:
            return "folders were moved away while the session's files were measured"
        return None

    def _sizes(self) -> Iterator[int]:
        for folder in self._folders:
            yield from sizes(folder)

    def _free(self) -> tuple[int, int]:
        status = os.statvfs(self._files)
        return status.f_bavail * status.f_frsize, status.f_favail


def _deny(reason: str) -> Finding:
    instead = "write less, or remove what is no longer needed first"
    return Finding(decision=Decision.DENY, rule="resources.disk", reason=reason, instead=instead)


class Moved(Exception):
    """A folder is no longer in the one that it was found in."""


class _Visit:
    """A folder on the way: which one it is, its folders still to be seen, and its descriptor while it is open."""

    __slots__ = ("descriptor", "identity", "waiting")

    def __init__(self, descriptor: int) -> None:
        self.descriptor: int | None = descriptor
        self.identity = _identity(descriptor)
        self.waiting: list[str] = []

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def sizes(root: Path) -> Generator[int, None, None]:
    """Allocated bytes of every entry below a folder, a file of many names once. Raises Moved. What vanishes, or may
    not be read, is passed over."""
    linked: set[tuple[int, int]] = set()
    way = [_Visit(os.open(root, _FOLDER))]
    try:
        yield from _entries(way[-1], linked)
        while way:
            here = way[-1]
            if here.waiting:
                yield from _descend(way, here.waiting.pop(), linked)
            else:
                _ascend(way)
    finally:
        for visit in way:
            visit.close()


def _descend(way: list[_Visit], name: str, linked: set[tuple[int, int]]) -> Iterator[int]:
    try:
        inner = _Visit(os.open(name, _FOLDER, dir_fd=way[-1].descriptor))
    except OSError:
        return
    way.append(inner)
    if len(way) > OPEN:
        way[-1 - OPEN].close()
    yield from _entries(inner, linked)


def _ascend(way: list[_Visit]) -> None:
    left = way[-1]
    if len(way) > 1 and way[-2].descriptor is None:
        _reopen(way[-2], left)
    left.close()
    way.pop()


def _reopen(above: _Visit, left: _Visit) -> None:
    try:
        above.descriptor = os.open("..", _FOLDER, dir_fd=left.descriptor)
    except OSError as error:
        raise Moved from error
    if _identity(above.descriptor) != above.identity:
        raise Moved


def _entries(visit: _Visit, linked: set[tuple[int, int]]) -> Iterator[int]:
    assert visit.descriptor is not None
    with suppress(OSError), os.scandir(visit.descriptor) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(status.st_mode):
                visit.waiting.append(entry.name)
            elif status.st_nlink > 1:
                file = status.st_dev, status.st_ino
                if file in linked:
                    continue
                linked.add(file)
            yield status.st_blocks * 512


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino
