"""Making the tree equal to a snapshot, touching only what differs.

A file is rewritten in place wherever it can be, so that descriptors, appenders and memory maps of processes
that live on stay valid; a rename over it would lose all three. Order: removals, folders, contents, links, metadata,
folders' metadata deepest first (their times come last, for the steps before change them).

Nothing here trusts the tree to hold still. Each step reaches its object by `Folders`, is tried twice, and
what then does not work or does not look as it should is listed with the reason; the rest is restored all the
same. Every step may be repeated, so a restore that was cut short is simply run again.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from mulligan.sandbox.errors import SnapshotError
from mulligan.sandbox.snapshots.blobs import Blobs
from mulligan.sandbox.snapshots.entry import Change, Entry, Kind, Unrestored, kind_of
from mulligan.sandbox.snapshots.folders import Folders, handle, open_file, reach, read_xattrs
from mulligan.sandbox.snapshots.manifest import Manifest
from mulligan.sandbox.snapshots.plan import Plan
from mulligan.sandbox.snapshots.removal import remove_tree

_ALL = 0o700
_UNMAKEABLE = {Kind.SOCKET: "a socket cannot be made again", Kind.DEVICE: "a device is never made again"}


class Restore:
    """One restore. `manifest` is the tree as it is now; it is only read."""

    def __init__(self, folders: Folders, manifest: Manifest, blobs: Blobs, changes: Iterable[Change]) -> None:
        self._folders = folders
        self._manifest = manifest
        self._blobs = blobs
        self._targets = {change.path: change.after for change in changes}
        self._plan = Plan.of(changes)
        self._stirred: set[bytes] = set()  #: folders whose own times we disturbed
        self._settled: set[bytes] = set()
        self._stands: dict[bytes, str] = {}

    def run(self) -> tuple[Unrestored, ...]:
        plan = self._plan
        self._remove_all(plan.remove)
        for path in plan.folders:
            self._attempt(path, self._make_folder)
        for step, paths in ((self._rewrite, plan.rewrite), (self._make, plan.make)):
            for path in paths:
                self._attempt(path, step)
                if self._has_one_name(path):  # while its folder is at hand
                    self._attempt(path, self._settle)
        for path, leader in plan.link.items():
            self._attempt(path, partial(self._link, leader))
        for path in plan.settle:
            if path not in self._settled:
                self._attempt(path, self._settle)
        self._open_ways(self._folders_to_settle())
        for path in sorted(self._folders_to_settle(), reverse=True):
            self._attempt(path, self._settle)
        return tuple(Unrestored(path, why) for path, why in sorted(self._stands.items()))

    def _has_one_name(self, path: bytes) -> bool:
        """Now and in the target: then no later step concerns it."""
        known = self._manifest.get(path)
        return not self._wanted(path).links and (
            known is None or (known.nlink == 1 and not known.entry.links)
        )

    def _attempt(self, path: bytes, step: Callable[[bytes], None]) -> None:
        if path in self._stands:
            return
        try:
            step(path)
        except OSError:
            self._folders.forget()
            try:
                step(path)
            except SnapshotError as error:
                self._stands[path] = error.message
            except OSError as error:
                self._stands[path] = error.strerror or str(error)

    def _target(self, path: bytes) -> Entry | None:
        if path in self._targets:
            return self._targets[path]
        known = self._manifest.get(path)
        return known.entry if known else None

    def _wanted(self, path: bytes) -> Entry:
        entry = self._target(path)
        assert entry is not None, "the plan names only paths of the target"
        return entry

    def _folders_to_settle(self) -> set[bytes]:
        changed = {path for path, entry in self._targets.items() if entry and entry.kind is Kind.FOLDER}
        touched = self._stirred | self._folders.unlocked.keys()
        return changed | {
            path for path in touched if (entry := self._target(path)) and entry.kind is Kind.FOLDER
        }

    def _open_ways(self, folders: set[bytes]) -> None:
        """Unlock what is on the way to these folders now, so that what was unlocked is known before any is
        settled.
        """
        for path in sorted(folders):
            with suppress(OSError):
                self._folders.parent(path)

    def _into(self, path: bytes) -> tuple[int, bytes]:
        """The folder of a path, to add to it or remove from it."""
        self._stirred.add(path.rpartition(b"/")[0])
        return self._folders.parent(path, _ALL)

    def _remove_all(self, paths: list[bytes]) -> None:
        """Remove folders whole, with what came into them since, and what was too deep to be captured. Where that
        does not work, path by path, so that each that stays is named.
        """
        going = set(paths)
        tops = [path for path in paths if path.rpartition(b"/")[0] not in going]
        single = {path for path in tops if not self._remove_whole(path)}
        inner = tuple(path + b"/" for path in single)
        for path in paths:
            if path in single or path.startswith(inner):
                self._attempt(path, self._remove)

    def _remove_whole(self, path: bytes) -> bool:
        known = self._manifest.get(path)
        if known is None or known.entry.kind is not Kind.FOLDER:
            return False
        try:
            remove_tree(*self._into(path), known.ino)
        except OSError:
            self._folders.forget()
            return False
        return True

    def _remove(self, path: bytes) -> None:
        folder, name = self._into(path)
        with suppress(FileNotFoundError):
            if kind_of(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode) is Kind.FOLDER:
                self._folders.unlocked.pop(path, None)
                os.rmdir(name, dir_fd=folder)
            else:
                os.unlink(name, dir_fd=folder)

    def _make_folder(self, path: bytes) -> None:
        folder, name = self._into(path)
        try:
            os.mkdir(name, _ALL, dir_fd=folder)
        except FileExistsError:
            self._folders.at(path)

    def _rewrite(self, path: bytes) -> None:
        self._blobs.require(self._wanted(path).data)  # before it is opened: over a lower layer, that copies
        folder, name = self._folders.parent(path)
        known = self._manifest.get(path)
        try:
            fd = open_file(folder, name, os.O_RDWR)
        except OSError as error:
            if error.errno == errno.ETXTBSY:  # it runs as a program just now: that one keeps its inode
                return self._make(path)
            raise
        try:
            if known is None or os.fstat(fd).st_ino != known.ino:
                raise OSError(errno.ESTALE, "another file took its place")
            self._fill(fd, path)
        finally:
            os.close(fd)

    def _fill(self, fd: int, path: bytes) -> None:
        key = self._wanted(path).data
        assert key is not None, "files have contents"
        self._blobs.pour(key, fd)

    def _make(self, path: bytes) -> None:
        entry = self._wanted(path)
        if entry.kind in _UNMAKEABLE:
            raise OSError(errno.EOPNOTSUPP, _UNMAKEABLE[entry.kind])
        if entry.kind is Kind.FILE:
            self._blobs.require(entry.data)  # before what is there is removed
        folder, name = self._into(path)
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        if entry.kind is Kind.SYMLINK:
            os.symlink(entry.data or b"", name, dir_fd=folder)
        elif entry.kind is Kind.FIFO:
            os.mkfifo(name, 0o600, dir_fd=folder)
        else:
            self._make_file(folder, name, path)

    def _make_file(self, folder: int, name: bytes, path: bytes) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=folder)
        try:
            self._fill(fd, path)
        except OSError:
            with suppress(OSError):
                os.unlink(name, dir_fd=folder)
            raise
        finally:
            os.close(fd)

    def _link(self, leader: bytes, path: bytes) -> None:
        if leader in self._stands:
            raise OSError(
                errno.ENOENT, f"{os.fsdecode(leader)!r}, whose other name it is, could not be restored"
            )
        above, first = self._folders.parent(leader)
        source = os.dup(above)
        try:
            folder, name = self._into(path)
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            os.link(first, name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
        finally:
            os.close(source)

    def _settle(self, path: bytes) -> None:
        """Owner, attributes, mode and times; then see whether all is as it should be."""
        entry = self._wanted(path)
        folder, name = self._folders.parent(path)
        with handle(folder, name) as it:
            before = os.fstat(it)
            if kind_of(before.st_mode) is not entry.kind:
                raise OSError(errno.ESTALE, "something else took its place")
            with suppress(PermissionError):  # what was not allowed shows below
                _dress(it, before, entry)
            if wrong := _differences(it, entry):
                raise OSError(errno.EPERM, f"could not be set, or changed at once: {', '.join(wrong)}")
        self._settled.add(path)


def _dress(it: int, st: os.stat_result, entry: Entry) -> None:
    at = reach(it)
    try:
        if (st.st_uid, st.st_gid) != (entry.uid, entry.gid):
            os.chown(at, entry.uid, entry.gid)
    finally:
        if entry.kind is not Kind.SYMLINK:
            _set_xattrs(it, entry)
            if stat.S_IMODE(os.fstat(it).st_mode) != entry.mode:
                os.chmod(at, entry.mode)
        os.utime(at, ns=(st.st_atime_ns, entry.mtime_ns))


def _set_xattrs(it: int, entry: Entry) -> None:
    at, wanted = reach(it), dict(entry.xattrs)
    have = dict(read_xattrs(it))
    if have == wanted:
        return
    if os.geteuid():
        os.chmod(at, entry.mode | 0o600)
    for name in have.keys() - wanted.keys():
        os.removexattr(at, name)
    for name, value in wanted.items():
        if have.get(name) != value:
            os.setxattr(at, name, value)


def _differences(it: int, entry: Entry) -> list[str]:
    st = os.fstat(it)
    is_file = entry.kind is Kind.FILE
    names = max(len(entry.links), 1)
    right = {
        "owner": (st.st_uid, st.st_gid) == (entry.uid, entry.gid),
        "mode": entry.kind is Kind.SYMLINK or stat.S_IMODE(st.st_mode) == entry.mode,
        "size": not is_file or st.st_size == entry.size,
        "time": st.st_mtime_ns == entry.mtime_ns,
        "number of names": entry.kind is Kind.FOLDER or st.st_nlink == names,
        "attributes": entry.kind is Kind.SYMLINK or read_xattrs(it) == entry.xattrs,
    }
    return [what for what, holds in right.items() if not holds]
