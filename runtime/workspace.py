"""Staging: the session works on a copy of the user's folder; the folder itself is never mounted writable.

The copy is remembered as a `Baseline`, against which commit compares. Each file's digest is taken from the very
bytes that were copied, so an edit by the user while we copy cannot make the two disagree: it shows later as an
edit, which is right. That costs one read of every file, which a lazy digest would save, but by then the bytes
that it should describe may be gone.

The cheap key (inode, ctime_ns, size) is of the *staged* file and answers "did the sandbox change it?". It is
sound because ctime cannot be forged, the first store through a new memory map moves it, and code runs only after the
kernel's clock tick that follows staging: the sandbox starts far later or, where it runs already, that is waited for.
The user's side is always compared by content: a key would miss an edit within one tick, and commit reads that file
anyway to keep its before-image.
"""

from __future__ import annotations

import itertools
import os
import stat
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mulligan.policies.exclusion import NOTHING, Exclusion
from mulligan.runtime.errors import WorkspaceInvalid
from mulligan.runtime.folder import (
    Entry,
    Folder,
    Kind,
    copy_xattrs,
    key_of,
    kind_of,
    points_outside,
    transfer,
)
from mulligan.runtime.importing import Count, Progress

Tree = list[tuple[bytes, os.stat_result]]

_COARSE = 5  # CLOCK_REALTIME_COARSE, for which Python has no name
#: what stands for the content of a file that nobody has read: no digest is empty
UNREAD = b""

MODE = 0o777  # setuid, setgid and sticky stay outside: in the sandbox they would mean nothing good


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """What the user's folder was at the start, or after the last commit.

    `source` is the folder's real path (None: the session began with an empty workspace) and `identity` its
    device and inode. `left_out` are the sockets, pipes and devices that were not copied. `outside` are the links
    that led out of the folder from the start, as (path, target). What `excluded` names was not brought in, and is
    never written.
    """

    source: Path | None
    identity: tuple[int, int] = (0, 0)
    entries: Mapping[bytes, Entry] = field(default_factory=dict, repr=False)
    left_out: tuple[bytes, ...] = ()
    outside: frozenset[tuple[bytes, bytes]] = frozenset()
    excluded: Exclusion = NOTHING

    def with_changes(self, changes: Mapping[bytes, Entry | None]) -> Baseline:
        """Other entries at these paths; None removes one."""
        merged = {**self.entries, **changes}
        return replace(self, entries={path: entry for path, entry in merged.items() if entry is not None})


def stage(
    source: Path | None,
    target: Path,
    *,
    uid: int,
    gid: int,
    progress: Progress | None = None,
    exclude: Exclusion = NOTHING,
) -> Baseline:
    """Copy the user's folder to `target`, which is made, or is empty. Raises `WorkspaceInvalid`.

    Copied: contents (shared where the filesystem can), modes, mtimes, symlinks as symlinks, hard links, user
    xattrs, holes; but nothing that is to `exclude`. Everything is given to uid and gid when we are root. `progress` is
    told of each entry. After an error `target` may be partly filled.
    """
    target.mkdir(parents=True, exist_ok=True)
    if source is None:
        with Folder.open(target) as copy:
            _own(copy.descriptor, uid, gid)
        return Baseline(source=None)
    real = checked(source, target)
    try:
        with Folder.open(real) as original, Folder.open(target) as copy:
            return Staging(original, copy, uid, gid).run(progress, exclude)
    except OSError as error:
        raise _unusable(real, error) from error


def await_tick(since: int) -> None:
    """Until a change to what was staged by `since`, as `tick` tells it, would show in a ctime: 4 ms at the most."""
    while tick() <= since:
        time.sleep(0.0002)


def tick() -> int:
    """The clock that the kernel takes ctimes from, in nanoseconds."""
    return time.clock_gettime_ns(_COARSE)


def checked(source: Path, target: Path) -> Path:
    try:
        real = source.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise WorkspaceInvalid(
            f"the workspace {source} does not exist", hint="make the folder first"
        ) from error
    if not real.is_dir():
        raise WorkspaceInvalid(
            f"the workspace {source} is not a folder", hint=f"name its folder: {real.parent}"
        )
    state = target.resolve()
    if state.is_relative_to(real) or real.is_relative_to(state):
        hint = "name a folder further down, or keep Mulligan's state elsewhere"
        raise WorkspaceInvalid(
            f"the workspace {source} contains the session's own state folder {state}", hint=hint
        )
    return real


def _unusable(real: Path, error: OSError) -> WorkspaceInvalid:
    name = error.filename
    inner = os.fsdecode(name) if isinstance(name, str | bytes) else ""
    where = ascii(str(real / inner))[1:-1]
    hint = "change its permissions, or name a folder without it"
    return WorkspaceInvalid(f"the workspace cannot be copied: {where}: {error.strerror}", hint=hint)


class Staging:
    """One copy in progress, folder by folder."""

    def __init__(self, original: Folder, copy: Folder, uid: int, gid: int) -> None:
        self.original, self.copy = original, copy
        self.uid, self.gid = uid, gid
        self.entries: dict[bytes, Entry] = {}
        self.left_out: list[bytes] = []
        self.linked: dict[tuple[int, int], bytes] = {}

    def run(self, progress: Progress | None, exclude: Exclusion) -> Baseline:
        tree = walk(self.original, exclude)
        count = Count(progress, "copying", len(tree), sum(content_of(status) for _, status in tree))
        self.bring(tree, count)
        self.finish_folders(tree)
        return Baseline(
            source=self.original.path,
            identity=self.original.identity,
            entries=self.entries,
            left_out=tuple(self.left_out),
            outside=frozenset(leading_outside(self.entries)),
            excluded=exclude,
        )

    def bring(self, tree: Tree, count: Count) -> None:
        """Copy these, in the order of a walk. `finish_folders` comes last."""
        for folder, group in itertools.groupby(tree, key=lambda item: item[0].rpartition(b"/")[0]):
            with self.original.at(folder) as there, self.copy.at(folder) as here:
                for path, status in group:
                    self._entry(path, status, there, here)
                    count.add(content_of(status))

    def _entry(self, path: bytes, status: os.stat_result, there: int, here: int) -> None:
        name = path.rpartition(b"/")[2]
        try:
            match kind_of(status):
                case Kind.FOLDER:
                    os.mkdir(name, 0o700, dir_fd=here)
                    self.entries[path] = Entry(kind=Kind.FOLDER, mode=status.st_mode & MODE)
                case Kind.LINK:
                    self.entries[path] = self._link(name, status, there, here)
                case Kind.FILE:
                    self.entries[path] = self._file(path, name, status, there, here)
                case Kind.OTHER:
                    self.left_out.append(path)
        except FileNotFoundError:  # the user removed it while we copied
            return
        except OSError as error:
            refuse(path, error)

    def _link(self, name: bytes, status: os.stat_result, there: int, here: int) -> Entry:
        target = os.readlink(name, dir_fd=there)
        os.symlink(target, name, dir_fd=here)
        if os.geteuid() == 0:
            os.chown(name, self.uid, self.gid, dir_fd=here, follow_symlinks=False)
        os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=here, follow_symlinks=False)
        made = os.stat(name, dir_fd=here, follow_symlinks=False)
        return Entry(kind=Kind.LINK, mode=0, content=target, key=key_of(made))

    def _file(self, path: bytes, name: bytes, status: os.stat_result, there: int, here: int) -> Entry:
        inode = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and (first := self.linked.get(inode)) is not None:
            os.link(first, name, src_dir_fd=self.copy.descriptor, dst_dir_fd=here, follow_symlinks=False)
            return self.entries[first]
        self.linked[inode] = path
        source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=there)
        try:
            target = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=here)
            try:
                return self._content(source, target)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _content(self, source: int, target: int) -> Entry:
        status = os.fstat(source)
        digest = transfer(source, target)
        copy_xattrs(source, target, "user.")
        _own(target, self.uid, self.gid)
        os.fchmod(target, status.st_mode & MODE)
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        made = os.fstat(target)
        mode = status.st_mode & MODE
        return Entry(kind=Kind.FILE, mode=mode, size=made.st_size, content=digest, key=key_of(made))

    def finish_folders(self, tree: Tree) -> None:
        """Modes and times of folders, deepest first, when nothing is put into them any more."""
        folders = [(path, status) for path, status in tree if stat.S_ISDIR(status.st_mode)]
        for path, status in sorted(folders, key=lambda item: item[0].count(b"/"), reverse=True):
            with self.original.parent(path) as (there, name), self.copy.parent(path) as (here, _):
                self._finish(status, _reopen(name, there), _reopen(name, here), status.st_mode & MODE)
        status = os.fstat(self.original.descriptor)
        self._finish(
            status,
            os.dup(self.original.descriptor),
            os.dup(self.copy.descriptor),
            status.st_mode & MODE | 0o700,
        )

    def _finish(self, status: os.stat_result, source: int, target: int, mode: int) -> None:
        try:
            copy_xattrs(source, target, "user.")
            _own(target, self.uid, self.gid)
            os.fchmod(target, mode)
            os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(source)
            os.close(target)


def walk(original: Folder, exclude: Exclusion) -> Tree:
    """What is to be brought in, as `Folder.walk` has it. Raises OSError for what may not be looked into."""

    def left_out(path: bytes, folder: bool) -> bool:
        return exclude.glob_of(path, folder=folder) is not None

    return list(original.walk(refuse, left_out))


def content_of(status: os.stat_result) -> int:
    """Bytes of content."""
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def leading_outside(entries: Mapping[bytes, Entry]) -> Iterable[tuple[bytes, bytes]]:
    for path, entry in entries.items():
        if entry.kind is Kind.LINK and points_outside(path, entry.content):
            yield path, entry.content


def _reopen(name: bytes, at: int) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)


def _own(descriptor: int, uid: int, gid: int) -> None:
    if os.geteuid() == 0:
        os.fchown(descriptor, uid, gid)


def refuse(path: bytes, error: OSError) -> None:
    """An error that names the path."""
    raise OSError(error.errno, error.strerror, path) from error
