"""Before a commit: nothing in the session may go on lying on a part of the user's folder that the commit takes away.

A folder that was renamed in the session is a new name over the old folder of the user's (overlayfs: a redirect), and
so is all in it. When the commit then removes the old one, the session would lose files, at a time that nobody promises;
and where the commit puts others there, they would show. So each such folder is made anew in the upper layer, with the
very files in it; where that fails midway all is put back. What has such a folder open, or as its working folder, is
left with one that is gone, as after an undo.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mulligan.runtime.folder import Folder, copy_xattrs
from mulligan.runtime.walking import DEEPEST

_REDIRECT = "trusted.overlay.redirect"
_NEW = b".unfolded-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def unfold(workspace: Path, upper: Path) -> int:
    """Make every renamed folder of the user's one of the session's own; how many there were. Raises OSError: some may
    be made then, no folder is torn in two, and it may be repeated."""
    count = 0
    with Folder.open(workspace) as merged, Folder.open(upper) as written:
        for path in list(_redirected(written)):
            with merged.parent(path) as (at, name):
                _renew(at, name)
            count += 1
    return count


def _redirected(written: Folder) -> Iterator[bytes]:
    """The topmost folders with another origin than their own name, as the upper layer has them."""
    waiting = [b""]
    while waiting:
        for path, status in written.children(waiting.pop()):
            if path.rpartition(b"/")[2].startswith(_NEW):
                raise OSError(errno.EEXIST, f"{os.fsdecode(path)!a} is left of a commit that failed")
            if stat.S_ISDIR(status.st_mode):
                with written.parent(path) as (at, name):
                    redirected = _REDIRECT in os.listxattr(b"/proc/self/fd/%d/%s" % (at, name))
                if redirected:
                    yield path
                else:
                    waiting.append(path)


def _renew(at: int, name: bytes) -> None:
    """Put a new folder with the same content in the place of the folder `name`."""
    new = _NEW + secrets.token_hex(8).encode()
    _move(at, name, at, new, 0)
    os.rename(new, name, src_dir_fd=at, dst_dir_fd=at)


def _move(source: int, name: bytes, target: int, new: bytes, depth: int) -> None:
    """As a rename, but that each folder is made anew."""
    if depth > DEEPEST:
        raise OSError(errno.ENAMETOOLONG, f"more than {DEEPEST} folders deep", name)
    with _opened(name, source) as old:
        was = os.fstat(old)
        os.mkdir(new, 0o700, dir_fd=target)
        try:
            _move_all(old, was, target, new, depth)
            os.rmdir(name, dir_fd=source)
        except OSError:
            _put_back(old, was, target, new)
            raise


def _move_all(old: int, was: os.stat_result, target: int, new: bytes, depth: int) -> None:
    with _opened(new, target) as fresh:
        for inner in map(os.fsencode, os.listdir(old)):
            if stat.S_ISDIR(os.stat(inner, dir_fd=old, follow_symlinks=False).st_mode):
                _move(old, inner, fresh, inner, depth + 1)
            else:
                os.rename(inner, inner, src_dir_fd=old, dst_dir_fd=fresh)
        copy_xattrs(old, fresh)
        os.fchown(fresh, was.st_uid, was.st_gid)
        os.fchmod(fresh, stat.S_IMODE(was.st_mode))
        os.utime(fresh, ns=(was.st_atime_ns, was.st_mtime_ns))


def _put_back(old: int, was: os.stat_result, target: int, new: bytes) -> None:
    with _opened(new, target) as fresh:
        for inner in map(os.fsencode, os.listdir(fresh)):
            if inner in map(os.fsencode, os.listdir(old)):
                raise OSError(errno.EEXIST, "it was made anew meanwhile", inner)
            os.rename(inner, inner, src_dir_fd=fresh, dst_dir_fd=old)
    os.rmdir(new, dir_fd=target)
    os.utime(old, ns=(was.st_atime_ns, was.st_mtime_ns))


@contextmanager
def _opened(name: bytes, at: int) -> Iterator[int]:
    descriptor = os.open(name, _FOLDER, dir_fd=at)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
