"""Finding what changed: one pass over the tree against the manifest, keeping the contents that are new.

The change key is (inode, ctime): whoever may write a file cannot set its ctime. A ctime is only as fine as
the kernel's clock tick, so a file changed within 10 ms of the scan, or while it was read, is marked dirty,
and is read again, whatever its key says, as soon as its folder is looked into. Not seen by any key: stores
through a shared memory map onto a page that is dirty already. Whoever knows of such maps names their files.

With a detector that knows which folders changed, only these are looked into, and whole folders that are new
or took another's place. link(2) marks the new name's folder alone, so all files that have several names are
looked at each time.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace

from mulligan.sandbox.snapshots.blobs import SMALL, Blobs, Unkept
from mulligan.sandbox.snapshots.content import read
from mulligan.sandbox.snapshots.detector import Detector
from mulligan.sandbox.snapshots.entry import Change, Entry, Kind, is_reference, kind_of
from mulligan.sandbox.snapshots.folders import Folders, handle, open_file, read_xattrs
from mulligan.sandbox.snapshots.lower import Lower
from mulligan.sandbox.snapshots.manifest import DIRTY, Known, Manifest, split, too_deep

#: The coarsest tick of the clock that file times are taken from.
_TICK_NS = 10_000_000

#: How Python has made text of the names that it was given.
_NAMES = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()

#: What an open says when the path is not what it was a moment ago.
_MOVED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE, errno.EINVAL, errno.ENXIO}

#: Names in a folder, and what is said of them.
Found = list[tuple[bytes, os.stat_result]]


class Scan:
    """One pass. Changes the manifest as it goes: when `run` raises, the manifest must be built anew.

    `now_ns` is the time when the pass begins, by the clock of the file times. Where those do not tell of every change
    (`times_tell`), the files of each folder that is looked into are read.
    """

    def __init__(
        self,
        folders: Folders,
        manifest: Manifest,
        blobs: Blobs | Unkept,
        detector: Detector,
        now_ns: int,
        times_tell: bool,
        looked_at: Callable[[int], None] | None = None,
        lower: Lower | None = None,
    ) -> None:
        """`looked_at` is called with the size of each entry that is read, in bytes. What is the user's own file in
        `lower` is not read."""
        self._folders = folders
        self._manifest = manifest
        self._blobs = blobs
        self._passing = isinstance(blobs, Unkept) and blobs.passing
        self._detector = detector
        self._settled_ns = now_ns - _TICK_NS
        self._times_tell = times_tell
        self._looked_at = looked_at
        self._lower = lower
        self._before: dict[bytes, Entry | None] = {}
        self._inodes: set[int] = set()
        self._visited: set[bytes] = set()

    def run(self, changed: set[bytes] | None, mapped: Iterable[bytes] = ()) -> tuple[Change, ...]:
        """What differs from the manifest, sorted by path, in the folders that `changed` (None: anywhere) and in
        the files that are `mapped`. Raises OSError when something cannot be read or kept.
        """
        stale, self._manifest.stale = self._manifest.stale, set()
        again, self._manifest.again = self._manifest.again, set()
        if changed is None:
            self._explore(b"", everywhere=True)
        else:
            changed = changed | stale
            for folder in sorted(changed | self._look_at(again, changed)):
                if folder in self._manifest.folders:
                    self._explore(folder, everywhere=False)
            self._look_again(self._old_names())
            self._look_again(path for names in self._manifest.hard.values() for path in names)
        self._look_again(self._all_names(mapped), anyway=True)
        self._regroup()
        self._folders.relock()
        self._manifest.trusted = True
        return tuple(self._changes())

    def _explore(self, top: bytes, *, everywhere: bool) -> None:
        todo = [top]
        while todo:
            folder = todo.pop()
            if folder not in self._visited and not too_deep(folder):
                self._visited.add(folder)
                todo.extend(self._visit(folder, everywhere))

    def _look_again(self, paths: Iterable[bytes], *, anyway: bool = False) -> None:
        """Look at single entries whose folders need not have been reported."""
        for path in sorted(paths):
            folder, name = split(path)
            known = self._manifest.get(path)
            if known is None or (folder in self._visited and not anyway):
                continue
            try:
                st = os.stat(name, dir_fd=self._folders.at(folder), follow_symlinks=False)
            except OSError:
                self._manifest.stale.add(folder)
                continue
            if anyway or known.ctime_ns != st.st_ctime_ns or known.ino != st.st_ino:
                found = self._look(folder, name, st, known)
                if found is not None and found.entry.kind is Kind.FOLDER:
                    self._manifest.stale.add(path)

    def _look_at(self, paths: Iterable[bytes], visited: set[bytes]) -> set[bytes]:
        """Look at single paths, but for those in folders that are `visited` all the same. The folders that have to be
        because something came, went or became another kind of thing."""
        to_visit: set[bytes] = set()
        for path in sorted(paths):
            folder, name = split(path) if path else (b"", b"")
            if folder not in visited and not self._is_alike(path, folder, name):
                to_visit.add(folder)
        return to_visit

    def _is_alike(self, path: bytes, folder: bytes, name: bytes) -> bool:
        """Look at one path. Whether it is there, or not there, as it was, and a folder the same one."""
        known = self._manifest.get(path)
        try:
            if known is not None and known.entry.kind is Kind.FOLDER:
                fd = self._folders.at(path)
                if os.fstat(fd).st_ino != known.ino:
                    return False
                self._itself(path, fd)
                return True
            st = os.stat(name, dir_fd=self._folders.at(folder), follow_symlinks=False)
        except OSError:
            return known is None
        if known is None or kind_of(st.st_mode) is not known.entry.kind:
            return False
        found = self._look(folder, name, st, known)
        return found is not None and found.entry.kind is known.entry.kind

    def _all_names(self, paths: Iterable[bytes]) -> set[bytes]:
        names = set(paths)
        for path in list(names):
            if (known := self._manifest.get(path)) and known.nlink > 1:
                names |= self._manifest.hard.get(known.ino, set())
        return names

    def _old_names(self) -> list[bytes]:
        """The names that files had before they got the others that were found now."""
        hard = self._manifest.hard
        wanted = {inode for inode in self._inodes if self._nlink(inode) > len(hard.get(inode, ()))}
        if not wanted:
            return []
        return [
            folder + b"/" + name if folder else name
            for folder, entries in self._manifest.folders.items()
            for name, known in entries.items()
            if known.ino in wanted and known.nlink == 1 and known.entry.kind is not Kind.FOLDER
        ]

    def _nlink(self, inode: int) -> int:
        known = [self._manifest.get(path) for path in self._manifest.hard.get(inode, ())]
        return max((each.nlink for each in known if each is not None), default=0)

    def _changes(self) -> list[Change]:
        found = []
        for path, before in sorted(self._before.items()):
            known = self._manifest.get(path)
            after = known.entry if known else None
            if before != after:
                found.append(Change(path, before, after))
        return found

    def _itself(self, folder: bytes, fd: int) -> None:
        """Compare a folder's own attributes: its entries change its time, which nobody reports to the folder
        above.
        """
        known = self._manifest.get(folder)
        st = os.fstat(fd)
        if known is None or known.ctime_ns != st.st_ctime_ns or known.ino != st.st_ino:
            found = self._plain(st, Kind.FOLDER, read_xattrs(fd, opened=True))
            mode = self._folders.unlocked.get(folder, found.entry.mode)
            self._put(folder, known, found._replace(entry=replace(found.entry, mode=mode)))

    def _visit(self, folder: bytes, everywhere: bool) -> list[bytes]:
        """Compare one folder's entries; the folders in it that have to be visited too, last name first."""
        inner = []
        left = self._manifest.folders.get(folder, {}).copy()
        prefix = folder + b"/" if folder else b""
        for name, st in self._list(folder, left, everywhere):
            known = was = left.pop(name, None)
            moved = was is None or was.ctime_ns != st.st_ctime_ns or was.ino != st.st_ino
            if moved or not (self._times_tell or stat.S_ISDIR(st.st_mode)):
                known = self._look(folder, name, st, was)
            if (
                known is not None
                and known.entry.kind is Kind.FOLDER
                and (everywhere or not _same(was, known))
                and not (was is None and self._passing)
            ):
                inner.append(prefix + name)
        for name, gone in left.items():
            self._gone(prefix + name, gone)
        inner.sort(reverse=True)
        return inner

    def _adopt(self, folder: bytes, fd: int, known: dict[bytes, Known], rest: list[bytes]) -> Found:
        """Enter these of the user's files, of which nothing was known; what is said of the rest."""
        prefix = folder + b"/" if folder else b""
        self._manifest.folders.setdefault(folder, {}).update(known)
        for name, each in known.items():
            self._before.setdefault(prefix + name, None)
            if self._looked_at is not None:
                self._looked_at(each.entry.size)
        return [(name, os.stat(name, dir_fd=fd, follow_symlinks=False)) for name in rest]

    def _list(self, folder: bytes, left: dict[bytes, Known], everywhere: bool) -> Found:
        """Arm a folder and read it. What is as it was known is taken out of `left` at once, for that is nearly all;
        what is found is the rest, and folders that have to be visited.
        """
        found: Found = []
        try:
            fd = self._folders.at(folder)
            self._detector.arm(folder, fd)
            self._itself(folder, fd)
            if not left and self._lower and (untouched := self._lower.untouched(folder)):
                return self._adopt(folder, fd, *untouched)
            with os.scandir(fd) as items:
                for item in items:
                    try:
                        st = item.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    name = item.name.encode(*_NAMES)
                    known = left.get(name)
                    if (
                        self._times_tell
                        and known is not None
                        and st.st_ctime_ns == known.ctime_ns
                        and st.st_ino == known.ino
                        and not (everywhere and known.entry.kind is Kind.FOLDER)
                    ):
                        del left[name]
                    else:
                        found.append((name, st))
        except OSError as error:
            if error.errno not in _MOVED:
                raise
            self._manifest.soil(folder)
            self._manifest.stale.add(folder)
        return found

    def _look(self, folder: bytes, name: bytes, st: os.stat_result, known: Known | None) -> Known | None:
        """Read one entry that may have changed. What changes kind at every look keeps what was known, dirty."""
        path = folder + b"/" + name if folder else name
        for _ in range(3):
            try:
                found = self._read(self._folders.at(folder), path, st, known)
                self._put(path, known, found)
                if self._looked_at is not None:
                    self._looked_at(found.entry.size)
                return found
            except OSError as error:
                if error.errno not in _MOVED:
                    raise
            try:
                st = os.stat(name, dir_fd=self._folders.at(folder), follow_symlinks=False)
            except OSError:
                if known is not None:
                    self._gone(path, known)
                return None
        self._manifest.soil(path)
        return known

    def _read(self, fd: int, path: bytes, st: os.stat_result, known: Known | None) -> Known:
        kind, name = kind_of(st.st_mode), split(path)[1]
        if known is None and self._passing:
            return self._plain(st, kind, ())
        if kind is Kind.FILE and self._lower and (reference := self._lower.reference(path, st)):
            with handle(fd, name) as it:
                return self._plain(st, kind, read_xattrs(it), reference, st.st_size)
        if kind is Kind.FILE:
            return self._file(fd, name, known)
        if kind is Kind.SYMLINK:
            return self._plain(st, kind, (), os.readlink(name, dir_fd=fd))
        with handle(fd, name) as it:
            return self._plain(st, kind, read_xattrs(it))

    def _file(self, folder: int, name: bytes, known: Known | None) -> Known:
        fd = open_file(folder, name, os.O_RDONLY)
        try:
            st = os.fstat(fd)
            data, size = self._keep(fd, st, known)
            found = self._plain(st, Kind.FILE, read_xattrs(fd, opened=True), data, size)
            torn = os.fstat(fd).st_ctime_ns != st.st_ctime_ns
            return found._replace(ctime_ns=DIRTY) if torn else found
        finally:
            os.close(fd)

    def _keep(self, fd: int, st: os.stat_result, known: Known | None) -> tuple[bytes, int]:
        was = known.entry if known else None
        if st.st_size <= SMALL and len(data := read(fd, SMALL + 1, st.st_size)) <= SMALL:
            return self._blobs.add_small(data, was.data if was else None), len(data)
        unmoved = was is not None and (was.size, was.mtime_ns) == (st.st_size, st.st_mtime_ns)
        likely_here = unmoved or st.st_nlink > 1
        return self._blobs.add_large(fd, likely_here=likely_here, was=was.data if was else None)

    def _plain(
        self,
        st: os.stat_result,
        kind: Kind,
        xattrs: tuple[tuple[bytes, bytes], ...],
        data: bytes | None = None,
        size: int = 0,
    ) -> Known:
        mode, ctime_ns = stat.S_IMODE(st.st_mode), st.st_ctime_ns
        entry = Entry(kind, mode, st.st_uid, st.st_gid, size, st.st_mtime_ns, data, xattrs)
        links = 1 if kind is Kind.FOLDER else st.st_nlink
        return Known(st.st_ino, ctime_ns if ctime_ns < self._settled_ns else DIRTY, links, entry)

    def _put(self, path: bytes, known: Known | None, found: Known) -> None:
        if known is not None:
            if known.entry.data != found.entry.data:
                self._keep_below(known)
            if known.entry.kind is Kind.FOLDER and found.entry.kind is not Kind.FOLDER:
                self._gone(path, known)
            elif known.entry.links and found.nlink > 1:
                found = found._replace(entry=replace(found.entry, links=known.entry.links))
        self._note(path, known)
        if found.nlink > 1:
            self._inodes.add(found.ino)
        self._manifest.put(path, found)

    def _gone(self, path: bytes, known: Known) -> None:
        if known.entry.kind is Kind.FOLDER:
            for inner in reversed(list(self._manifest.below(path))):
                if (lost := self._manifest.get(inner)) is not None:
                    self._keep_below(lost)
                self._note(inner, lost)
                self._manifest.remove(inner)
        self._keep_below(known)
        self._note(path, known)
        self._manifest.remove(path)

    def _keep_below(self, known: Known) -> None:
        """What was known is about to be forgotten: where it was the user's own file, its content is kept now."""
        if known.entry.kind is Kind.FILE and known.entry.data is not None and is_reference(known.entry.data):
            self._blobs.capture(known.entry.data)

    def _note(self, path: bytes, known: Known | None) -> None:
        if path not in self._before:
            was = self._manifest.get(path)
            self._before[path] = was.entry if was else None
        if known is not None and known.nlink > 1:
            self._inodes.add(known.ino)

    def _regroup(self) -> None:
        """Give every name of an inode the same entry, with all its names in it."""
        for inode in self._inodes:
            names = sorted(self._manifest.hard.get(inode, ()))
            links = tuple(names) if len(names) > 1 else ()
            shared: Entry | None = None
            for name in names:
                known = self._manifest.get(name)
                assert known is not None
                shared = shared or replace(known.entry, links=links)
                if known.entry != shared:
                    self._note(name, None)
                    self._manifest.put(name, known._replace(entry=shared))


def _same(was: Known | None, known: Known) -> bool:
    """Whether it is the very folder that was there before."""
    return was is not None and was.entry.kind is Kind.FOLDER and was.ino == known.ino
