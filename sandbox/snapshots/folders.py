"""Reaching into a tree that hostile processes rearrange meanwhile.

Every folder is opened from its parent's descriptor, one component at a time, with O_NOFOLLOW; every object is
changed through a descriptor of itself. A folder that is swapped for a symlink makes the open fail; it is
never followed, so nothing outside the root can be reached. What a folder's owner locked (mode 000, say) is
unlocked for the time being, unless we are root and need not.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Self

from mulligan.sandbox.snapshots.manifest import split

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_HANDLE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_HELD = 64

#: The attributes that are kept: users' own, and access lists. Others belong to the system.
_KEPT = ("user.", "system.posix_acl_")


def reach(fd: int) -> bytes:
    """A path that leads to the very object of a descriptor, for calls that take no O_PATH descriptor."""
    return b"/proc/self/fd/%d" % fd


class Folders:
    """Opens folders by path. Holds the descriptors on the way to the last one, so that siblings cost one
    open.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._way: list[tuple[bytes, int]] = []
        self._trusting = os.geteuid() == 0
        self.unlocked: dict[bytes, int] = {}  #: folder -> the mode it had

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.forget()

    def at(self, path: bytes, need: int = 0o500) -> int:
        """A descriptor of the folder, ours to use as its owner with the bits of `need`; valid until the next
        call.

        Raises OSError when it is not a folder, or a component on the way is none.
        """
        wanted = path.split(b"/") if path else []
        self._leave(wanted)
        for depth in range(len(self._way), len(wanted) + 1):
            self._enter(wanted[:depth])
        fd = self._way[-1][1]
        self._unlock(path, fd, need)
        return fd

    def parent(self, path: bytes, need: int = 0o500) -> tuple[int, bytes]:
        """The folder that holds a path and the name in there; for the root, itself and `.`"""
        if not path:
            return self.at(b"", need), b"."
        folder, name = split(path)
        return self.at(folder, need), name

    def forget(self) -> None:
        """Close what is held: the next `at` starts from the root."""
        while self._way:
            _close(self._way.pop()[1])

    def relock(self) -> None:
        """Give every folder that was unlocked its mode back, unless somebody else has changed it since."""
        for path, mode in sorted(self.unlocked.items(), reverse=True):
            with suppress(OSError):
                fd = self.at(path)
                if stat.S_IMODE(os.fstat(fd).st_mode) == mode | 0o700:
                    os.fchmod(fd, mode)

    def _leave(self, wanted: list[bytes]) -> None:
        depth, deepest = 0, min(len(self._way) - 1, len(wanted))
        while depth < deepest and self._way[depth + 1][0] == wanted[depth]:
            depth += 1
        while len(self._way) > depth + 1:
            _close(self._way.pop()[1])
        if self._way and self._way[-1][1] < 0:
            self.forget()

    def _enter(self, path: list[bytes]) -> None:
        if not path:
            self._way.append((b"", os.open(b".", FOLDER, dir_fd=self._root)))
            return
        name, above = path[-1], self._way[-1][1]
        self._unlock(b"/".join(path[:-1]), above, 0o100)
        try:
            fd = os.open(name, FOLDER, dir_fd=above)
        except PermissionError:
            with handle(above, name) as it:
                mode = _folder_mode(it)
                os.chmod(reach(it), mode | 0o700)
                self.unlocked.setdefault(b"/".join(path), mode)
                fd = os.open(reach(it), FOLDER & ~os.O_NOFOLLOW)
        self._way.append((name, fd))
        if len(self._way) > _HELD:
            self._close_one()

    def _close_one(self) -> None:
        """A tree may be deeper than we may have descriptors: the way back up is then found from the root
        again.
        """
        name, fd = self._way[-_HELD]
        _close(fd)
        self._way[-_HELD] = (name, -1)

    def _unlock(self, path: bytes, fd: int, need: int) -> None:
        if self._trusting:
            return
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        if mode & need != need:
            os.fchmod(fd, mode | 0o700)
            self.unlocked.setdefault(path, mode)


@contextmanager
def handle(folder: int, name: bytes) -> Iterator[int]:
    """A descriptor of the object itself, whatever it is: nothing is followed, and nothing happens by opening
    it.
    """
    fd = os.open(name, _HANDLE, dir_fd=folder)
    try:
        yield fd
    finally:
        os.close(fd)


def open_file(folder: int, name: bytes, flags: int) -> int:
    """Open a regular file that exists; one that its owner locked as well. Raises OSError when it is no such
    thing.
    """
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        fd = os.open(name, flags, dir_fd=folder)
    except PermissionError:
        fd = _open_locked(folder, name, flags)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.ESTALE, "it is no longer a file", name)


def _open_locked(folder: int, name: bytes, flags: int) -> int:
    with handle(folder, name) as it:
        mode = os.fstat(it).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.ESTALE, "it is no longer a file", name)
        os.chmod(reach(it), stat.S_IMODE(mode) | 0o600)
        try:
            return os.open(reach(it), flags & ~os.O_NOFOLLOW)
        finally:
            os.chmod(reach(it), stat.S_IMODE(mode))


def read_xattrs(fd: int, *, opened: bool = False) -> tuple[tuple[bytes, bytes], ...]:
    """The kept attributes of anything but a symlink, by any descriptor of it; quicker by one that it was opened with
    (not O_PATH). Empty where the filesystem has none.

    Their values need leave to read: its owner's lock is lifted for that moment, which moves the ctime.
    """
    try:
        return _read_xattrs(fd if opened else reach(fd))
    except PermissionError:
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        os.chmod(reach(fd), mode | 0o400)
        try:
            return _read_xattrs(reach(fd))
        finally:
            os.chmod(reach(fd), mode)


def _read_xattrs(path: bytes | int) -> tuple[tuple[bytes, bytes], ...]:
    try:
        names = os.listxattr(path)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return ()
        raise
    if not names:
        return ()
    kept = sorted(name for name in names if name.startswith(_KEPT))
    return tuple((os.fsencode(name), os.getxattr(path, name)) for name in kept)


def _folder_mode(fd: int) -> int:
    mode = os.fstat(fd).st_mode
    if not stat.S_ISDIR(mode):
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    return stat.S_IMODE(mode)


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)
