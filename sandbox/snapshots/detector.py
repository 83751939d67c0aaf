"""Where to look for changes: a watch on every folder that fires once, or everywhere.

`Watches` keeps one inotify watch a folder, each with IN_ONESHOT: the first change of an entry is reported and
the watch is then gone, so it is one dirty bit a folder and a busy action cannot flood the queue. Nothing reads
the queue until the next scan. Whoever reads a folder arms it first: what changes while it is read is then
reported for the next time. A watch belongs to the folder itself, not to its path. A folder that moved is met
again under its new path, for both of its parents were reported, and the kernel hands out the same watch for
it.

It falls back to looking everywhere, for good, when a watch cannot be had (the limit of the user, no inotify),
and for one scan when the queue overflowed. It is not used on filesystems whose changes can come from
elsewhere, and not where a change of our own goes unreported.

What a watch does not see, and who sees to it:
- stores through a shared memory map: whoever knows of maps names their files to `snapshot`;
- writes through a hard link in another folder: the scan looks at every file with several names each time;
- writes through a second name that came and went between two snapshots, and through a file that is open under a name
  it has lost: the event goes to the folder of that name. Whoever knows that a link was made, or that such a file is
  open, asks for a snapshot that is `thorough`; who does not know gets one wherever names have come or gone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Protocol

from mulligan.sandbox.snapshots.folders import reach

_libc = ctypes.CDLL(None, use_errno=True)
_libc.inotify_add_watch.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32)
_libc.fstatfs.argtypes = (ctypes.c_int, ctypes.c_char_p)

_MODIFY, _ATTRIB, _CLOSE_WRITE = 0x02, 0x04, 0x08
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_OVERFLOW, _IGNORED, _ONLYDIR, _ONESHOT = 0x4000, 0x8000, 0x01000000, 0x80000000
_CHANGE = _MODIFY | _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
_EVENT = struct.Struct("iIII")
_QUEUE = 1 << 20

#: Where a store through a memory map may leave the times of its file as they are: no page is written back, so none is
#: watched for becoming dirty.
_TMPFS = 0x01021994

#: Filesystems on which whatever changes a file passes through this kernel, by their magic numbers.
_LOCAL = {
    0xEF53: "ext4",
    0x58465342: "xfs",
    0x9123683E: "btrfs",
    _TMPFS: "tmpfs",
    0x2FC12FC1: "zfs",
    0xF2F52010: "f2fs",
    0xCA451A4E: "bcachefs",
}


@dataclass(frozen=True, slots=True)
class Detection:
    """How changes are found, and why so."""

    name: Literal["watches", "scan"]
    why: str


class Detector(Protocol):
    """Says where a scan has to look."""

    @property
    def detection(self) -> Detection: ...

    def changed(self) -> set[bytes] | None:
        """The folders in which something may have changed since they were armed; None: it may be anywhere."""
        ...

    def arm(self, folder: bytes, fd: int) -> None:
        """Report this folder, open as `fd`, from now on. To be called before it is read. Never raises."""
        ...

    def heed(self, folder: bytes, fd: int) -> None:
        """Tell by name what changes in this folder until it is armed again. Never raises."""
        ...

    def heard(self, own: Mapping[bytes, Collection[bytes]]) -> dict[bytes, set[bytes]]:
        """Of the folders that were heeded and are armed again, those in which no other names changed than its `own`,
        and these names; the empty one is the folder itself. The others are in what `changed` says next. Ends all heed.
        """
        ...

    def close(self) -> None: ...


class EveryFolder:
    """Looks everywhere: right on every filesystem, at the cost of one stat an entry."""

    def __init__(self, why: str) -> None:
        self.detection = Detection("scan", why)

    def changed(self) -> None:
        return None

    def arm(self, folder: bytes, fd: int) -> None:
        pass

    def heed(self, folder: bytes, fd: int) -> None:
        pass

    def heard(self, own: Mapping[bytes, Collection[bytes]]) -> dict[bytes, set[bytes]]:
        return {}

    def close(self) -> None:
        pass


class Watches:
    """`limit` bounds how many folders are watched at a time."""

    def __init__(self, fd: int, limit: int, filesystem: str) -> None:
        self._fd = fd
        self._limit = limit
        self._folders: dict[int, bytes] = {}
        self._missed: set[bytes] = set()
        self._heeded: dict[int, set[bytes]] = {}  #: watches that do not fire once, and the names they told of
        self._lost = False
        self.detection = Detection("watches", f"{filesystem} reports changes")

    @classmethod
    def make(cls, limit: int, filesystem: str) -> Watches | None:
        """None where there is no inotify."""
        fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        return None if fd < 0 else cls(fd, limit, filesystem)

    def changed(self) -> set[bytes] | None:
        changed, self._missed = self._missed, set()
        if self._lost:
            self._drop()
            return None
        while self._fd >= 0:
            try:
                events = os.read(self._fd, _QUEUE)
            except BlockingIOError:
                return changed
            if not self._note(events, changed):
                self._drop()
                return None
        return None

    def arm(self, folder: bytes, fd: int) -> None:
        self._watch(folder, fd, _ONESHOT)

    def heed(self, folder: bytes, fd: int) -> None:
        watch = self._watch(folder, fd, 0)
        if watch is not None:
            self._heeded[watch] = set()

    def heard(self, own: Mapping[bytes, Collection[bytes]]) -> dict[bytes, set[bytes]]:
        changed = self.changed()
        self._lost = changed is None
        self._missed |= changed or set()
        heard: dict[bytes, set[bytes]] = {}
        for watch, names in self._heeded.items():
            if (folder := self._folders.get(watch)) is not None:
                heard.setdefault(folder, set()).update(names)
        self._heeded.clear()
        self._missed |= {folder for folder, names in heard.items() if not names <= {*own.get(folder, ())}}
        return {folder: names for folder, names in heard.items() if folder not in self._missed}

    def _watch(self, folder: bytes, fd: int, how: int) -> int | None:
        """The number of the watch: a folder has one, whose manner this changes."""
        if self._fd < 0:
            return None
        watch: int = _libc.inotify_add_watch(self._fd, reach(fd), _CHANGE | _ONLYDIR | how)
        if watch >= 0:
            self._folders[watch] = folder
            if len(self._folders) > self._limit:
                self._give_up(f"there are more than {self._limit} folders")
            return watch
        if ctypes.get_errno() == errno.ENOSPC:
            self._give_up("no more inotify watches for this user (fs.inotify.max_user_watches)")
        else:
            self._missed.add(folder)
        return None

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _note(self, events: bytes, changed: set[bytes]) -> bool:
        """Add the folders that events name, and note the names in those that are heeded; False when some were lost.

        The kernel's word that a watch is gone counts as a change: it may be all that is left of one.
        """
        at = 0
        while at < len(events):
            watch, mask, _, length = _EVENT.unpack_from(events, at)
            at += _EVENT.size + length
            if mask & _OVERFLOW:
                return False
            if watch in self._heeded and not mask & _IGNORED:
                self._heeded[watch].add(events[at - length : at].rstrip(b"\0"))
                continue
            folder = self._folders.pop(watch, None)
            if folder is not None:
                changed.add(folder)
        return True

    def _drop(self) -> None:
        """Forget all that was armed and reported: the scan that comes now arms every folder anew."""
        self._lost = False
        self._heeded.clear()
        self._folders.clear()
        with suppress(BlockingIOError):
            while self._fd >= 0 and os.read(self._fd, _QUEUE):
                pass

    def _give_up(self, why: str) -> None:
        self.close()
        self._heeded.clear()
        self._folders.clear()
        self.detection = Detection("scan", why)


def choose(root: int, limit: int) -> Detector:
    """Watches if they work on the tree that is open as `root`, for at most `limit` folders (0: none at all)."""
    filesystem = filesystem_of(root)
    if limit <= 0:
        return EveryFolder("watches were not wanted")
    if filesystem is None:
        return EveryFolder(f"filesystem {_magic(root):#x} is not known to report every change")
    watches = Watches.make(limit, filesystem)
    if watches is None:
        return EveryFolder(f"no inotify: {os.strerror(ctypes.get_errno())}")
    if _reports(watches, root):
        return watches
    watches.close()
    return EveryFolder("a change of the root was not reported")


def filesystem_of(fd: int) -> str | None:
    """The name of the filesystem that something open lies on; None where not all of its changes pass through here."""
    return _LOCAL.get(_magic(fd))


def _reports(watches: Watches, root: int) -> bool:
    """Whether a change is reported; made by setting the root's times to what they are."""
    watches.arm(b"", root)
    status = os.fstat(root)
    try:
        os.utime(root, ns=(status.st_atime_ns, status.st_mtime_ns))
    except OSError:
        return False
    return watches.changed() == {b""}


def times_tell(root: int) -> bool:
    """Whether every change of a file moves its ctime, on the filesystem of the tree that is open as `root`."""
    return _magic(root) != _TMPFS


def _magic(fd: int) -> int:
    """The filesystem's number: the first word of a statfs."""
    status = ctypes.create_string_buffer(256)
    if _libc.fstatfs(fd, status) != 0:
        return 0
    return ctypes.c_ulong.from_buffer(status).value & 0xFFFFFFFF
