"""A walk over a tree that shares nothing with the store: all that a restore promises, by path."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

Tree = dict[bytes, tuple[object, ...]]

_KEPT = ("user.", "system.posix_acl_")


def walk(root: Path) -> Tree:
    top = os.fsencode(root)
    inodes: dict[int, bytes] = {}
    found: Tree = {}
    for path in sorted(_paths(top)):
        status = os.lstat(path)
        names: tuple[object, ...] = ()
        if not stat.S_ISDIR(status.st_mode):
            names = (status.st_nlink, inodes.setdefault(status.st_ino, path))
        attributes = [(name, os.getxattr(path, name, follow_symlinks=False)) for name in _attributes(path)]
        shape = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, names, attributes)
        found[path[len(top) :]] = (
            *shape,
            status.st_size if stat.S_ISREG(status.st_mode) else 0,
            _content(path, status),
        )
    return found


def seen(root: Path) -> str:
    """One text for all of a walk; two trees have the same when they are alike."""
    return hashlib.sha256(repr(sorted(walk(root).items())).encode()).hexdigest()


def sparse(root: Path) -> set[bytes]:
    """The files of which at most half lies on the disk."""
    top = os.fsencode(root)
    found = ((path, os.lstat(path)) for path in _paths(top))
    return {path for path, st in found if stat.S_ISREG(st.st_mode) and st.st_blocks * 1024 < st.st_size}


def _paths(top: bytes) -> Iterator[bytes]:
    yield top
    for folder, folders, files in os.walk(top):
        yield from (os.path.join(folder, name) for name in (*folders, *files))


def _attributes(path: bytes) -> list[str]:
    return sorted(name for name in os.listxattr(path, follow_symlinks=False) if name.startswith(_KEPT))


def _content(path: bytes, status: os.stat_result) -> object:
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(path)
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return None
