"""What a snapshot says about one path, and the values that the store hands out."""

from __future__ import annotations

import itertools
import json
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Kind(StrEnum):
    FILE = "file"
    FOLDER = "folder"
    SYMLINK = "symlink"
    FIFO = "fifo"
    SOCKET = "socket"
    DEVICE = "device"


_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.FOLDER,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFIFO: Kind.FIFO,
    stat.S_IFSOCK: Kind.SOCKET,
}


def kind_of(st_mode: int) -> Kind:
    return _KINDS.get(stat.S_IFMT(st_mode), Kind.DEVICE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One path at one moment; two are equal when nothing that a snapshot keeps differs.

    `mode` is the permission bits, setuid, setgid and sticky included. `size` is in bytes, and 0 for all but
    files. `data` is a file's blob key or a symlink's target. `links` names every path of the tree that shares
    the inode, sorted, this one included; it is empty when there is no other.
    """

    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    data: bytes | None = None
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    links: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """`path` is relative to the root, without a leading slash; the root itself is `b""`."""

    path: bytes
    before: Entry | None
    after: Entry | None

    @property
    def action(self) -> Literal["added", "removed", "changed"]:
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`changes` turn `parent` into this one, sorted by path; `parent` is None for the first of a store.
    `beyond` are folders nested so deeply that what is in them is not captured.
    """

    id: int
    parent: int | None
    changes: tuple[Change, ...]
    beyond: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Unrestored:
    path: bytes
    why: str


@dataclass(frozen=True, slots=True)
class FilesRestored:
    """What a restore did: `changed` was put back and checked, `stands` could not be."""

    snapshot: int
    changed: tuple[Change, ...]
    stands: tuple[Unrestored, ...]


#: How a reference begins: what a file's entry has in the place of a key where the user's own file lies beneath it
#: (lower.py). A key is a hash of 32 bytes; a reference is longer.
REFERENCE = b"lower file: "


def is_reference(data: bytes | None) -> bool:
    return data is not None and len(data) > 32 and data.startswith(REFERENCE)


def compose(*deltas: Iterable[Change]) -> tuple[Change, ...]:
    """One difference instead of several in a row, sorted by path; paths that end as they began drop out."""
    whole: dict[bytes, Change] = {}
    for change in itertools.chain.from_iterable(deltas):
        first = whole.get(change.path, change)
        whole[change.path] = Change(change.path, first.before, change.after)
    return tuple(change for _, change in sorted(whole.items()) if change.before != change.after)


def inverse(changes: Iterable[Change]) -> list[Change]:
    return [Change(change.path, change.after, change.before) for change in changes]


#: In SQL, of an entry that `encode` wrote into the column `after`: the key of the content that the store has to keep
#: for it, in hexadecimal; NULL where there is none. The only place that says which contents are wanted.
CONTENT_OF_AFTER = "CASE WHEN after LIKE '[\"file\"%' THEN json_extract(after, '$[6]') END"


def encode(entry: Entry | None) -> str | None:
    """An entry as JSON text for the index; bytes are in hexadecimal. The list is put together here: of a hundred
    thousand entries few have what has to be asked of `json`."""
    if entry is None:
        return None
    data = "null" if entry.data is None else f'"{entry.data.hex()}"'
    xattrs = json.dumps([(name.hex(), value.hex()) for name, value in entry.xattrs]) if entry.xattrs else "[]"
    links = json.dumps([path.hex() for path in entry.links]) if entry.links else "[]"
    numbers = f"{entry.mode}, {entry.uid}, {entry.gid}, {entry.size}, {entry.mtime_ns}"
    return f'["{entry.kind}", {numbers}, {data}, {xattrs}, {links}]'


def decode(text: str | None) -> Entry | None:
    if text is None:
        return None
    kind, mode, uid, gid, size, mtime_ns, data, xattrs, links = json.loads(text)
    return Entry(
        Kind(kind),
        mode,
        uid,
        gid,
        size,
        mtime_ns,
        None if data is None else bytes.fromhex(data),
        tuple((bytes.fromhex(name), bytes.fromhex(value)) for name, value in xattrs),
        tuple(bytes.fromhex(path) for path in links),
    )
