"""Removing a folder with all that is in it, however deep, and whoever adds to it meanwhile.

Every folder inside is first moved up, beside the one that is to go, and emptied there: so nothing recurses, two
descriptors are enough, and no path gets long. A removal that is cut short leaves folders with odd names beside
it; they are removed when the restore is run again.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from mulligan.sandbox.snapshots.folders import FOLDER, handle, reach

_TRIES = 3
_NO_FOLDER = (errno.ENOTDIR, errno.ELOOP)


def remove_tree(folder: int, name: bytes, inode: int) -> None:
    """Remove the folder `name` in `folder`. Raises OSError (ESTALE) when it is another one than `inode`."""
    with handle(folder, name) as it:
        if os.fstat(it).st_ino != inode:
            raise OSError(errno.ESTALE, "another folder took its place")
        todo = [_aside(folder, folder, name)]
    while todo:
        todo.extend(_remove(folder, todo.pop()))


def remove_folder(path: Path) -> None:
    """Remove a folder of the host's with all that sandboxes have put in it; nothing when it is not there. Not
    `shutil.rmtree`, which recurses, and so leaves what is nested too deep. Raises OSError."""
    try:
        parent = os.open(path.parent, FOLDER)
    except FileNotFoundError:
        return
    try:
        inode = os.stat(path.name, dir_fd=parent, follow_symlinks=False).st_ino
        remove_tree(parent, os.fsencode(path.name), inode)
    except FileNotFoundError:
        return
    finally:
        os.close(parent)


def _remove(folder: int, name: bytes) -> list[bytes]:
    """Remove one folder that was moved aside; the folders that were in it, moved aside in turn."""
    found: list[bytes] = []
    for last in range(_TRIES - 1, -1, -1):
        try:
            found += _empty(folder, name)
            os.rmdir(name, dir_fd=folder)
            break
        except FileNotFoundError:
            break
        except OSError as error:
            if error.errno in _NO_FOLDER:
                os.unlink(name, dir_fd=folder)
                break
            if not last:
                raise
    return found


def _empty(folder: int, name: bytes) -> list[bytes]:
    fd = _open(folder, name)
    try:
        with os.scandir(fd) as items:
            entries = [(os.fsencode(item.name), item.is_dir(follow_symlinks=False)) for item in items]
        inner = [_aside(fd, folder, entry) for entry, is_folder in entries if is_folder]
        for entry, is_folder in entries:
            if not is_folder:
                os.unlink(entry, dir_fd=fd)
        return inner
    finally:
        os.close(fd)


def _open(folder: int, name: bytes) -> int:
    """Open a folder, with leave to do all in it."""
    with handle(folder, name) as it:
        mode = os.fstat(it).st_mode
        if not stat.S_ISDIR(mode):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if mode & 0o700 != 0o700:
            os.chmod(reach(it), 0o700)
        return os.open(reach(it), FOLDER & ~os.O_NOFOLLOW)


def _aside(source: int, target: int, name: bytes) -> bytes:
    """Move a folder under a name that nobody can guess; a folder that its owner locked as well."""
    aside = b".removed-" + os.urandom(8).hex().encode()
    try:
        os.rename(name, aside, src_dir_fd=source, dst_dir_fd=target)
    except PermissionError:
        os.close(_open(source, name))
        os.rename(name, aside, src_dir_fd=source, dst_dir_fd=target)
    return aside
