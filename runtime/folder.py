"""A folder that is reached through descriptors only, because what is in it may be hostile.

A path is bytes, relative to the folder, and is walked one component at a time with O_NOFOLLOW: a symlink on the
way is never followed, so nothing outside is read or written whatever is swapped while we look. Contents are
compared by a digest that does not see the difference between a hole and zeros (a copy may turn one into the
other): SHA-256 over the size and every block that is not all zeros, with its offset.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import itertools
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mulligan.runtime.walking import Found, LeftOut, Refused, folders, listed

_BLOCK = 1 << 16
_ZEROS = bytes(_BLOCK)
_FICLONE = 0x40049409
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CONTENT = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

#: (inode, ctime_ns, size): what no write to a file leaves as it was, once the clock has ticked.
Key = tuple[int, int, int]


class Kind(StrEnum):
    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "socket, pipe or device"


_KINDS = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.FOLDER, stat.S_IFLNK: Kind.LINK}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is at a path. `content` is a file's digest or a link's target.

    `mtime_ns` and `owner` are kept for the user's own files, which are given back exactly; None for what an
    action made. `key` is None where the content has to be read to know whether it changed.
    """

    kind: Kind
    mode: int
    size: int = 0
    content: bytes = b""
    mtime_ns: int | None = None
    owner: tuple[int, int] | None = None
    key: Key | None = None


def permissions(entry: Entry) -> int:
    """What of the mode is compared and carried: never setuid, setgid or sticky; nothing of a link."""
    return 0 if entry.kind is Kind.LINK else entry.mode & 0o777


def same_content(one: Entry | None, other: Entry | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.kind is other.kind is not Kind.OTHER and one.content == other.content


def same(one: Entry | None, other: Entry | None) -> bool:
    """Whether a user would call them equal: kind, content and permissions; not times, owner or xattrs."""
    if one is None or other is None:
        return one is other
    return same_content(one, other) and permissions(one) == permissions(other)


def key_of(status: os.stat_result) -> Key:
    return status.st_ino, status.st_ctime_ns, status.st_size


def kind_of(status: os.stat_result) -> Kind:
    return _KINDS.get(stat.S_IFMT(status.st_mode), Kind.OTHER)


def points_outside(path: bytes, target: bytes) -> bool:
    """Whether a link at `path` could lead out of the folder. `..` after a name counts: the name may be a link."""
    parts = [part for part in target.split(b"/") if part not in (b"", b".")]
    onward = list(itertools.dropwhile(lambda part: part == b"..", parts))
    ups = len(parts) - len(onward)
    return target.startswith(b"/") or b".." in onward or ups > path.count(b"/")


class Folder:
    """An open folder. `descriptor` is its own; the caller of `open` keeps it alive."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self.descriptor = descriptor
        self.path = path

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Folder]:
        """Raises NotADirectoryError where the path ends in a symlink or in no folder."""
        descriptor = os.open(path, os.O_RDONLY | _FOLDER)
        try:
            yield cls(descriptor, path)
        finally:
            os.close(descriptor)

    @property
    def identity(self) -> tuple[int, int]:
        status = os.fstat(self.descriptor)
        return status.st_dev, status.st_ino

    @contextmanager
    def at(self, path: bytes) -> Iterator[int]:
        """A descriptor of the folder at `path` (b"" is the root), good for `dir_fd`."""
        descriptor = os.open(".", os.O_PATH | _FOLDER, dir_fd=self.descriptor)
        try:
            for name in _components(path):
                inner = os.open(name, os.O_PATH | _FOLDER, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def parent(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        folder, _, name = path.rpartition(b"/")
        _components(path)
        with self.at(folder) as descriptor:
            yield descriptor, name

    def status(self, path: bytes) -> os.stat_result | None:
        """None where nothing is, or where a folder on the way is none (any more)."""
        try:
            with self.parent(path) as (at, name):
                return os.stat(name, dir_fd=at, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def children(self, path: bytes) -> list[Found]:
        """Path and status of what is in one folder, in no order."""
        with self.at(path) as at, _opened(b".", os.O_RDONLY | _FOLDER, at) as listing:
            return listed(listing, path)

    def walk(self, refused: Refused, left_out: LeftOut | None = None) -> Iterator[Found]:
        """Everything below, a folder before what is in it, the content of one folder in a row; as `folders` has it."""
        for _, _, found in folders(self.descriptor, refused, left_out):
            yield from found

    def read(self, path: bytes, keep: Path | None = None) -> Entry | None:
        """What is at `path`, its content read; a regular file is also copied to `keep`, with its xattrs. The copy
        is not yet durable."""
        try:
            with self.parent(path) as (at, name):
                return _read(at, name, keep)
        except (FileNotFoundError, NotADirectoryError):
            return None


def _read(at: int, name: bytes, keep: Path | None) -> Entry:
    status = os.stat(name, dir_fd=at, follow_symlinks=False)
    kind = kind_of(status)
    if kind is Kind.LINK:
        return _entry(status, os.readlink(name, dir_fd=at))
    if kind is not Kind.FILE:
        return _entry(status, b"")
    with _opened(name, _CONTENT, at) as source:
        status = os.fstat(source)
        if kind_of(status) is not Kind.FILE:
            return _entry(status, b"")
        if keep is None:
            return _entry(status, transfer(source, None))
        with _opened(os.fsencode(keep), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, None) as target:
            digest = transfer(source, target)
            copy_xattrs(source, target)
        return _entry(status, digest)


def _entry(status: os.stat_result, content: bytes) -> Entry:
    return Entry(
        kind=kind_of(status),
        mode=stat.S_IMODE(status.st_mode),
        size=status.st_size,
        content=content,
        mtime_ns=status.st_mtime_ns,
        owner=(status.st_uid, status.st_gid),
        key=key_of(status),
    )


@contextmanager
def _opened(name: bytes, flags: int, at: int | None) -> Iterator[int]:
    descriptor = os.open(name, flags, 0o600, dir_fd=at)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _components(path: bytes) -> list[bytes]:
    """The names in a path. Raises ValueError for one that could lead out, whoever wrote it down."""
    names = path.split(b"/") if path else []
    if any(name in (b"", b".", b"..") or b"\0" in name for name in names):
        raise ValueError(f"not a path inside a folder: {path!r}")
    return names


def transfer(source: int, target: int | None) -> bytes:
    """The digest of an open file, whose content is also put into the empty file `target`: shared (reflink) where
    the filesystem can, else copied without its holes. The digest is of what `target` holds."""
    if target is not None and _clone(source, target):
        source, target = target, None
    size, end = os.fstat(source).st_size, 0
    digest = hashlib.sha256(size.to_bytes(8, "big"))
    for offset, block in _blocks(source, size):
        digest.update(offset.to_bytes(8, "big"))
        digest.update(block)
        if target is not None:
            _write(target, block, offset)
            end = offset + len(block)
    if target is not None and end != size:
        os.ftruncate(target, size)
    return digest.digest()


def _blocks(source: int, size: int) -> Iterator[tuple[int, bytes]]:
    if 0 < size <= _BLOCK:  # a hole is not worth a call of its own
        block = os.pread(source, size, 0)
        if block != _ZEROS[: len(block)]:
            yield 0, block
        return
    offset = 0
    while offset < size:
        try:
            offset = os.lseek(source, offset, os.SEEK_DATA) // _BLOCK * _BLOCK
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from here on
                return
            raise
        block = os.pread(source, min(_BLOCK, size - offset), offset)
        if block != _ZEROS[: len(block)]:
            yield offset, block
        offset += _BLOCK


def _write(target: int, block: bytes, offset: int) -> None:
    while block:
        done = os.pwrite(target, block, offset)
        block, offset = block[done:], offset + done


def _clone(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:  # another filesystem, or one that cannot
        return False
    return True


def copy_xattrs(source: int, target: int, prefix: str = "") -> None:
    """Extended attributes, as far as the target's filesystem and our rights allow. `security.capability` never:
    with another content it would be a setuid bit by another name."""
    try:
        names = os.listxattr(source)
    except OSError:
        return
    for name in names:
        if name.startswith(prefix) and name != "security.capability":
            try:
                os.setxattr(target, name, os.getxattr(source, name))
            except OSError:
                continue
