"""The user's folder beneath a part of the tree, whose files are named there and not copied.

An entry of a file that nobody has changed yet has a *reference* where another has the key of a content: which file of
the user's it is, by path, inode, ctime and size. Nothing but a change made by the user themselves can make a reference
untrue, for nothing inside can write there; and ctime, which cannot be forged, then tells. Whoever needs such a content
opens it here, and is told where it is no longer what it was.

When a path is about to change in the session, the scan keeps what the reference stands for as an ordinary content
(`Scan`): the index maps the one to the other from then on. So what the user does later takes nothing from undo. What
they change *before* that is gone: the session then sees theirs, as a change, and undo says that it has not the other.

What the user changes shows through an overlay at times that nobody promises: an edit in place at once, a name that is
given to another file when the kernel looks it up anew. So each folder that was ever seen to change below is looked into
at every scan from then on (`LowerWatches`), which no report of the session's own folders would lead to. Where the
session has that folder under another name, it is not known where to look: then everything is looked at.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from mulligan.sandbox.errors import StoreDamaged
from mulligan.sandbox.snapshots.detector import Watches, filesystem_of
from mulligan.sandbox.snapshots.entry import REFERENCE, Entry, Kind
from mulligan.sandbox.snapshots.folders import FOLDER
from mulligan.sandbox.snapshots.manifest import Known, Manifest

_WHICH = struct.Struct(">QqQ")
_CONTENT = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_HINT = (
    "Nothing in the session brings it back. Where a copy matters more than time, open with staging='copy'."
)


class Which(NamedTuple):
    """One file at one moment: what no change leaves as it was."""

    ino: int
    ctime_ns: int
    size: int

    @classmethod
    def of(cls, st: os.stat_result) -> Which:
        return cls(st.st_ino, st.st_ctime_ns, st.st_size)


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found in the user's folder: the files that may be referred to, by their paths there, and which of them
    have extended attributes. Through the overlay all belongs to `user`, uid and gid, and the number of each file's
    inode is xored with `numbering`. `found` is what each folder held, path and status, and `upper` is the folder that
    takes what is written over it: what the first snapshot need not look at again."""

    files: Mapping[bytes, Which]
    adorned: Container[bytes] = ()
    numbering: int = 0
    user: tuple[int, int] = (0, 0)
    found: Mapping[bytes, Sequence[tuple[bytes, os.stat_result]]] = field(default_factory=dict)
    upper: Path = Path()


class Lower:
    """`place` is where it lies in the tree, `folder` where it is. Without having `looked` it only opens what was
    referred to before. `at` is the folder itself, open, to be closed by `close`: it is found then though the user moves
    it."""

    def __init__(
        self,
        place: bytes,
        folder: Path,
        at: int | None = None,
    ) -> None:
        self.place = place
        self.folder = folder
        self.looked = Looked({})
        #: folders in which the user changed something since they were looked into
        self.touched: set[bytes] = set()
        self.lost: set[bytes] = set()  #: references that were asked for in vain
        self._inside = place + b"/"
        self._at = at

    def close(self) -> None:
        if self._at is not None:
            os.close(self._at)
            self._at = None

    def reference(self, path: bytes, st: os.stat_result) -> bytes | None:
        """The reference for a file of the tree that has this status; None where it is not just the user's."""
        if not path.startswith(self._inside):
            return None
        inner = path[len(self._inside) :]
        which = self.looked.files.get(inner)
        if which is None or which != (st.st_ino ^ self.looked.numbering, st.st_ctime_ns, st.st_size):
            return None
        return REFERENCE + _WHICH.pack(*which) + inner

    def untouched(self, folder: bytes) -> tuple[dict[bytes, Known], list[bytes]] | None:
        """What is in a folder of the tree where neither the user nor the session has touched it since it was looked
        into: the files that are referred to, by name, and the names of the rest. To be asked for the first snapshot
        only, when the folder reports what changes from now on. In the upper layer is each folder in which anything
        was written."""
        inner = folder[len(self._inside) :]
        found = self.looked.found.get(inner) if folder.startswith(self._inside) else None
        if (
            found is None
            or inner in self.touched
            or os.path.lexists(os.fsencode(self.looked.upper) + b"/" + inner)
        ):
            return None
        start = len(inner) + 1
        known: dict[bytes, Known] = {}
        rest: list[bytes] = []
        for path, st in found:
            which = self.looked.files.get(path)
            if which is None or path in self.looked.adorned:
                rest.append(path[start:])
            else:
                known[path[start:]] = self._known(path, which, st)
        return known, rest

    def _known(self, path: bytes, which: Which, st: os.stat_result) -> Known:
        reference = REFERENCE + _WHICH.pack(*which) + path
        mode, times = stat.S_IMODE(st.st_mode), st.st_mtime_ns
        entry = Entry(Kind.FILE, mode, *self.looked.user, which.size, times, reference)
        return Known(which.ino ^ self.looked.numbering, which.ctime_ns, 1, entry)

    @contextmanager
    def open(self, reference: bytes) -> Iterator[int]:
        """The user's file, open to read. Raises StoreDamaged where it is no longer what was referred to; also after
        the block, where it was changed meanwhile: what was read is then worth nothing."""
        which = Which(*_WHICH.unpack_from(reference, len(REFERENCE)))
        try:
            fd = self._file(_inner(reference))
        except OSError as error:
            raise self._changed(reference) from error
        try:
            if Which.of(os.fstat(fd)) != which:
                raise self._changed(reference)
            yield fd
            if Which.of(os.fstat(fd)) != which:
                raise self._changed(reference)
        finally:
            os.close(fd)

    def path(self, reference: bytes) -> bytes:
        """Where in the tree the file was that is referred to."""
        return self.place + b"/" + _inner(reference)

    def _changed(self, reference: bytes) -> StoreDamaged:
        self.lost.add(reference)
        return StoreDamaged(
            f"{os.fsdecode(_inner(reference))!r} lay in your folder and was changed there: what it held was not kept",
            hint=_HINT,
        )

    @contextmanager
    def at(self, path: bytes) -> Iterator[int]:
        """A folder of the user's, open. Component by component, and no link is followed: it may have been
        rearranged. Raises OSError."""
        at = os.open(self.folder, FOLDER) if self._at is None else os.open(".", FOLDER, dir_fd=self._at)
        try:
            for name in path.split(b"/") if path else []:
                inner = os.open(name, FOLDER, dir_fd=at)
                os.close(at)
                at = inner
            yield at
        finally:
            os.close(at)

    def _file(self, path: bytes) -> int:
        folder, _, name = path.rpartition(b"/")
        with self.at(folder) as at:
            fd = os.open(name, _CONTENT, dir_fd=at)
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
        raise OSError(0, "it is no longer a file", name)


def _inner(reference: bytes) -> bytes:
    return reference[len(REFERENCE) + _WHICH.size :]


class LowerWatches:
    """Tells where the user changed their folder since the watches were set. `limit` bounds how many there are. Whoever
    lists the folder first says of each folder that it is `entering` it: none is missed that comes meanwhile."""

    def __init__(self, lower: Lower, limit: int) -> None:
        self._lower = lower
        with lower.at(b"") as fd:
            self._watches = Watches.make(limit, filesystem_of(fd) or "")
        self._below: dict[bytes, int] = {}  #: the inode of each folder of theirs
        self._above: dict[bytes, int] = {}  #: and as it was seen in the tree at first
        self._numbered_alike = False
        #: why everything is looked at each time, if so
        self.why = "" if self._watches is not None else "there is no inotify"

    def entering(self, folder: bytes, fd: int) -> None:
        """Watch a folder that is open as `fd` from now on."""
        if self._watches is None:
            return
        self._watches.arm(folder, fd)
        self._note(folder, os.fstat(fd).st_ino)
        if self._watches.detection.name == "scan":
            self._stop(self._watches.detection.why)

    def remember(self, manifest: Manifest) -> None:
        """How the first snapshot has the folders: that they were not moved yet is known then alone."""
        for folder in self._below:
            if known := manifest.get(self._path(folder)):
                self._above[folder] = known.ino
        self._look_again()
        inner = [folder for folder in self._above if folder]
        self._numbered_alike = bool(inner) and all(self._above[each] == self._below[each] for each in inner)

    def changed(self, manifest: Manifest) -> set[bytes] | None:
        """The folders of the tree to be looked into, all that ever changed; None: anywhere. What changed below one
        that the tree has not, or has another in the place of, may show under another name."""
        if self._watches is None:
            return None
        touched = self._lower.touched
        fired = self._watches.changed()
        if fired is None:
            self._stop(f"too much changed at once, or {self._watches.detection.why}")
            return None
        for folder in fired:
            self._arm_below(folder)
        touched |= fired
        elsewhere = not all(self._is_there(folder, manifest) for folder in touched)
        return None if self.why or elsewhere else {self._path(folder) for folder in touched}

    def close(self) -> None:
        if self._watches is not None:
            self._watches.close()

    def _path(self, folder: bytes) -> bytes:
        place = self._lower.place
        return place + b"/" + folder if folder else place

    def _is_there(self, folder: bytes, manifest: Manifest) -> bool:
        """Whether what lies over a folder of theirs is in the tree by the same path. One that came after the first
        snapshot is only known where the overlay numbers folders as they are below."""
        known = manifest.get(self._path(folder))
        if known is None or known.entry.kind is not Kind.FOLDER or not known.ino:
            return False
        if folder in self._above:
            return known.ino == self._above[folder]
        return self._numbered_alike and known.ino == self._below.get(folder)

    def _stop(self, why: str) -> None:
        self.close()
        self._look_again()
        self._watches, self.why = None, why

    def _look_again(self) -> None:
        """From now on what was found at first tells nothing."""
        self._lower.looked = replace(self._lower.looked, found={})

    def _note(self, folder: bytes, inode: int) -> None:
        """Which folder of theirs has this path; where it is another than it was, what was seen of that one is void."""
        if self._below.setdefault(folder, inode) != inode:
            self._below[folder] = inode
            self._above.pop(folder, None)

    def _arm_below(self, top: bytes) -> None:
        """A folder again, and what is new in it: that one has no watch yet."""
        todo = [top]
        while todo and self._watches is not None:
            folder = todo.pop()
            with suppress(OSError), self._lower.at(folder) as fd:  # gone: its parent's watch tells
                self.entering(folder, fd)
                with os.scandir(fd) as items:
                    inner = [os.fsencode(item.name) for item in items if item.is_dir(follow_symlinks=False)]
                todo += [folder + b"/" + name if folder else name for name in inner]
