"""Open files across a fork.

A forked twin shares its open file descriptions with the worker: when the worker reads on, the twin's offset
moves too. So the twin notes what each regular file's description was, and on waking opens the path again at
that offset. Record locks (fcntl) are not inherited by a fork at all; they are noted and taken again, and so are
flocks, which the new description would not have.
"""

from __future__ import annotations

import fcntl
import os
import stat
from typing import NamedTuple

_ONCE = os.O_CREAT | os.O_EXCL | os.O_TRUNC
_DELETED = " (deleted)"


class Lock(NamedTuple):
    posix: bool
    exclusive: bool
    start: int
    length: int  # 0: to the end of the file


class OpenFile(NamedTuple):
    fd: int
    path: str
    flags: int
    offset: int
    inheritable: bool
    device: int
    inode: int
    locks: tuple[Lock, ...]

    @property
    def deleted(self) -> bool:
        return self.path.endswith(_DELETED)


def capture() -> list[OpenFile]:
    """Every descriptor of a regular file in this process, as it is now."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        try:
            what = os.fstat(fd)
            if not stat.S_ISREG(what.st_mode):
                continue
            flags = fcntl.fcntl(fd, fcntl.F_GETFL)
            offset = os.lseek(fd, 0, os.SEEK_CUR)
            path = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue  # closed since it was listed
        found.append(
            OpenFile(
                fd, path, flags, offset, os.get_inheritable(fd), what.st_dev, what.st_ino,
                _locks(fd),
            )
        )  # fmt: skip
    return found


def reopen(files: list[OpenFile]) -> list[str]:
    """Give each descriptor a description of its own, as it was; what could not be had again, in words."""
    return [why for file in files if (why := _reopen(file))]


def _reopen(file: OpenFile) -> str:
    if file.deleted:
        try:
            os.lseek(file.fd, file.offset, os.SEEK_SET)
        except OSError:
            pass
        return f"{file.path[: -len(_DELETED)]}: was deleted while open; its contents are as the undone steps left them"
    try:
        new = os.open(file.path, (file.flags & ~_ONCE) | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        return f"{file.path}: cannot be opened again ({error.strerror})"
    try:
        if not stat.S_ISREG(os.fstat(new).st_mode):
            return f"{file.path}: is no longer a regular file"
        os.lseek(new, file.offset, os.SEEK_SET)
        os.dup2(new, file.fd, inheritable=file.inheritable)
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
    with open(f"/proc/self/fdinfo/{fd}") as info:
        lines = [line.split()[2:] for line in info if line.startswith("lock:")]
    return tuple(_lock_in(fields) for fields in lines if fields[0] in ("POSIX", "FLOCK"))


def _lock_in(fields: list[str]) -> Lock:
    start = int(fields[5])
    length = 0 if fields[6] == "EOF" else int(fields[6]) - start + 1
    return Lock(fields[0] == "POSIX", fields[2] == "WRITE", start, length)


def stale_maps() -> list[str]:
    """Shared mappings whose file is no longer the one at its path: what they show was not restored."""
    stale = set()
    with open("/proc/self/maps", errors="surrogateescape") as maps:
        for line in maps:
            fields = line.rstrip("\n").split(" ", 5)
            if fields[1][3] != "s" or len(fields) < 6:
                continue
            path = fields[5].strip()
            if path.startswith("/") and not _is(path, int(fields[4])):
                stale.add(
                    f"{path.removesuffix(_DELETED)}: mapped into memory, and the file there is another now"
                )
    return sorted(stale)


def _is(path: str, inode: int) -> bool:
    try:
        return os.stat(path, follow_symlinks=False).st_ino == inode
    except OSError:
        return False
