"""The tree as the head snapshot has it, in memory, with the key by which a change of each path is noticed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from mulligan.sandbox.snapshots.entry import Change, Entry, Kind

#: A `ctime_ns` that no file has: the next scan reads the path again.
DIRTY = -1

#: Where the root's own entry is kept. No folder has this path, for paths begin without a slash.
_ABOVE = b"/"

#: How many folders may be nested, and how many bytes a path may have: a program can name no longer one.
_DEEPEST = 1000
_LONGEST = 4096


class Known(NamedTuple):
    """`(ino, ctime_ns)` is the change key: nothing unprivileged can change a file and keep its ctime."""

    ino: int
    ctime_ns: int
    nlink: int
    entry: Entry


def split(path: bytes) -> tuple[bytes, bytes]:
    """The folder that holds a path, and its name in there. The root is not in any folder of the tree."""
    parent, _, name = path.rpartition(b"/")
    return (parent, name) if path else (_ABOVE, b"")


def too_deep(folder: bytes) -> bool:
    """Whether what is in this folder lies too deep to be captured."""
    return len(folder) > _LONGEST or folder.count(b"/") + 1 >= _DEEPEST


class Manifest:
    """`folders` maps each folder to its entries by name; `hard` maps an inode to its names, when it has
    several; `stale` are the folders that the next scan has to look into in any case, and all of them while
    nothing is `trusted`; `again` are single paths that it has to look at, there or not; `beyond` are the folders
    that are too deep to be looked into.
    """

    def __init__(self) -> None:
        self.folders: dict[bytes, dict[bytes, Known]] = {_ABOVE: {}, b"": {}}
        self.hard: dict[int, set[bytes]] = {}
        self.stale: set[bytes] = set()
        self.again: set[bytes] = set()
        self.beyond: set[bytes] = set()
        self.trusted = False

    @classmethod
    def of(cls, entries: Mapping[bytes, Entry]) -> Manifest:
        """A manifest that is not trusted to be still true: every path is read again by the next scan."""
        manifest = cls()
        for path in sorted(entries):
            manifest.put(path, Known(0, DIRTY, 1, entries[path]))
        return manifest

    def __len__(self) -> int:
        """How many entries are known."""
        return sum(map(len, self.folders.values()))

    def get(self, path: bytes) -> Known | None:
        parent, name = split(path)
        return self.folders.get(parent, {}).get(name)

    def put(self, path: bytes, known: Known) -> None:
        parent, name = split(path)
        self._unlink(path)
        entries = self.folders.get(parent)
        if entries is None:
            entries = self.folders[parent] = {}
        entries[name] = known
        if known.entry.kind is Kind.FOLDER:
            self.folders.setdefault(path, {})
            if too_deep(path):
                self.beyond.add(path)
        elif known.nlink > 1:
            self.hard.setdefault(known.ino, set()).add(path)

    def soil(self, path: bytes) -> None:
        """Have the next scan read this path again."""
        self.stale.add(split(path)[0] if path else b"")
        if known := self.get(path):
            self.put(path, known._replace(ctime_ns=DIRTY))

    def remove(self, path: bytes) -> None:
        parent, name = split(path)
        self._unlink(path)
        self.folders.get(parent, {}).pop(name, None)
        if path:
            self.folders.pop(path, None)
            self.beyond.discard(path)

    def below(self, folder: bytes) -> Iterator[bytes]:
        """Every path under a folder, parents first. The manifest may be changed once the iterator is used up."""
        todo = [folder]
        while todo:
            above = todo.pop()
            for name, known in self.folders.get(above, {}).items():
                path = above + b"/" + name if above else name
                yield path
                if known.entry.kind is Kind.FOLDER:
                    todo.append(path)

    def everything(self) -> Iterator[tuple[bytes, Known]]:
        """Every path, the root's (empty) first, and what is known of it."""
        for folder, entries in self.folders.items():
            prefix = folder + b"/" if folder not in (b"", _ABOVE) else b""
            for name, known in entries.items():
                yield prefix + name, known

    def apply(self, changes: Iterable[Change]) -> None:
        """Become what the changes lead to. How the disk looks there now is not known, so those paths are
        dirty. Folders that were there keep their inode, by which the next scan knows that they need not be
        read whole.
        """
        ordered = sorted(changes, key=lambda change: change.path)
        inodes = {c.path: known.ino for c in ordered if (known := _folder(self.get(c.path)))}
        for change in reversed(ordered):
            self.stale.add(split(change.path)[0] if change.path else b"")
            if change.after is None or change.after.kind is not Kind.FOLDER:
                self.remove(change.path)
        for change in ordered:
            if change.after is not None:
                self.put(change.path, Known(inodes.get(change.path, 0), DIRTY, 1, change.after))

    def _unlink(self, path: bytes) -> None:
        known = self.get(path)
        if known is None or known.nlink < 2:
            return
        names = self.hard.get(known.ino, set())
        names.discard(path)
        if not names:
            self.hard.pop(known.ino, None)


def _folder(known: Known | None) -> Known | None:
    return known if known is not None and known.entry.kind is Kind.FOLDER else None
