"""Open files across a fork.

A forked twin shares its open file descriptions with the worker: when the worker reads on, the twin's offset
moves too. So the twin notes what each description of a file or a folder was, and on waking opens the path again
at that offset; descriptors that shared one share one again. Record locks (fcntl) are not inherited by a fork at
all; they are noted and taken again, and so are flocks, which the new description would not have.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
from typing import NamedTuple

from .processes import read

_ONCE = os.O_CREAT | os.O_EXCL | os.O_TRUNC
_DELETED = " (deleted)"
#: a line of /proc/PID/maps whose mapping is shared; its inode and path
_SHARED_MAP = re.compile(rb"^\S+ ...s \S+ \S+ (\d+) +(/.*)$", re.MULTILINE)


class Lock(NamedTuple):
    posix: bool
    exclusive: bool
    start: int
    length: int  # 0: to the end of the file


class OpenFile(NamedTuple):
    """A descriptor of a regular file or a folder. `twin_of` is an earlier descriptor that shares its description
    (by dup), or -1."""

    fd: int
    path: str
    flags: int
    offset: int
    inheritable: bool
    device: int
    inode: int
    locks: tuple[Lock, ...]
    twin_of: int

    def is_there(self) -> bool:
        """False where it was closed between the look and the fork; its number may be another's by now."""
        try:
            what = os.fstat(self.fd)
        except OSError:
            return False
        return (what.st_dev, what.st_ino) == (self.device, self.inode)

    def now(self) -> OpenFile:
        """The same, of the file that the descriptor leads to now."""
        what = os.fstat(self.fd)
        return self._replace(device=what.st_dev, inode=what.st_ino)

    def let_go(self) -> None:
        """In a process that falls asleep: no more than the place of a file, which holds no lock that was taken with
        this descriptor before the fork. Where that cannot be had all stays as it is."""
        with contextlib.suppress(OSError):
            place = os.open(self.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            what = os.fstat(place)
            if (what.st_dev, what.st_ino) == (self.device, self.inode):
                os.dup2(place, self.fd, inheritable=self.inheritable)
            os.close(place)

    @property
    def deleted(self) -> bool:
        return self.path.endswith(_DELETED)


def capture() -> list[OpenFile]:
    """Every descriptor of a regular file or a folder in this process, as it is now."""
    found: list[OpenFile] = []
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            file = _look_at(int(name))
        except OSError:
            continue  # closed since it was listed
        if file is not None:
            found.append(file._replace(twin_of=_twin_of(file, found)))
    return found


def _look_at(fd: int) -> OpenFile | None:
    what = os.fstat(fd)
    if not (stat.S_ISREG(what.st_mode) or stat.S_ISDIR(what.st_mode)):
        return None
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    offset = os.lseek(fd, 0, os.SEEK_CUR)
    path = os.readlink(f"/proc/self/fd/{fd}")
    place = what.st_dev, what.st_ino
    return OpenFile(fd, path, flags, offset, os.get_inheritable(fd), *place, _locks(fd), -1)


def _twin_of(file: OpenFile, earlier: list[OpenFile]) -> int:
    """Descriptors of one description move together: where all else is equal, one is moved and the other looked at."""
    for other in earlier:
        if other[1:4] == file[1:4] and other[5:7] == file[5:7]:
            os.lseek(other.fd, file.offset + 1, os.SEEK_SET)
            together = os.lseek(file.fd, 0, os.SEEK_CUR) != file.offset
            os.lseek(other.fd, file.offset, os.SEEK_SET)
            if together:
                return other.fd
    return -1


def reopen(files: list[OpenFile]) -> list[str]:
    """Give each descriptor, all of which are there, a description of its own, as it was; what could not be had
    again, in words."""
    return [why for file in files if (why := _reopen(file))]


def _reopen(file: OpenFile) -> str:
    if file.twin_of >= 0:
        os.dup2(file.twin_of, file.fd, inheritable=file.inheritable)
        return ""
    if file.deleted:
        with contextlib.suppress(OSError):
            os.lseek(file.fd, file.offset, os.SEEK_SET)
        return f"{file.path[: -len(_DELETED)]}: was deleted while open; its contents are as the undone steps left them"
    return _open_again(file)


def _open_again(file: OpenFile) -> str:
    try:
        new = os.open(file.path, (file.flags & ~_ONCE) | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        return f"{file.path}: cannot be opened again ({error.strerror})"
    try:
        if stat.S_IFMT(os.fstat(new).st_mode) != stat.S_IFMT(os.fstat(file.fd).st_mode):
            return f"{file.path}: is something else now"
        fcntl.fcntl(new, fcntl.F_SETFL, file.flags)
        os.lseek(new, file.offset, os.SEEK_SET)
        os.dup2(new, file.fd, inheritable=file.inheritable)
    except OSError as error:
        return f"{file.path}: cannot be set to where it was ({error.strerror})"
    finally:
        os.close(new)
    return "" if _lock_all(file) else f"{file.path}: its lock is held elsewhere"


def _lock_all(file: OpenFile) -> bool:
    """Every lock is tried, also after one that failed."""
    return not [lock for lock in file.locks if not _lock(file.fd, lock)]


def _lock(fd: int, lock: Lock) -> bool:
    kind = fcntl.LOCK_EX if lock.exclusive else fcntl.LOCK_SH
    try:
        if lock.posix:
            fcntl.lockf(fd, kind | fcntl.LOCK_NB, lock.length, lock.start)
        else:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _locks(fd: int) -> tuple[Lock, ...]:
    """This process's locks on a descriptor, from /proc/self/fdinfo. Not from /proc/locks: opening that makes the
    kernel wait for every processor (an RCU grace period), 5 to 20 ms."""
    info = read(f"/proc/self/fdinfo/{fd}")
    if b"lock:" not in info:
        return ()
    lines = [line.split()[2:] for line in info.splitlines() if line.startswith(b"lock:")]
    return tuple([_lock_in(fields) for fields in lines if fields[0] in (b"POSIX", b"FLOCK")])


def _lock_in(fields: list[bytes]) -> Lock:
    start = int(fields[5])
    length = 0 if fields[6] == b"EOF" else int(fields[6]) - start + 1
    return Lock(fields[0] == b"POSIX", fields[2] == b"WRITE", start, length)


def stale_maps() -> list[str]:
    """Shared mappings whose file is no longer the one at its path: what they show was not restored."""
    stale = set()
    for inode, name in _SHARED_MAP.findall(read("/proc/self/maps")):
        path = os.fsdecode(name)
        if not _is(path, int(inode)):
            stale.add(f"{path.removesuffix(_DELETED)}: mapped into memory, and the file there is another now")
    return sorted(stale)


def _is(path: str, inode: int) -> bool:
    try:
        return os.stat(path, follow_symlinks=False).st_ino == inode
    except OSError:
        return False
