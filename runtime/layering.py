"""A large folder lies beneath the session's workspace and is not copied (decision 23).

The workspace is then an overlay mount (`sandbox/overlay.py`): the user's folder is its read-only lower layer. What an
overlay cannot show as a copy would be is copied into the upper layer all the same: files of several names (a first
write would part them), of another owner than the folder's, with access lists or special bits. Pipes, sockets and
devices are hidden there by whiteouts. What is excluded or hidden cannot be: it may come later, and would show through.
So a folder of which something is to be left out is copied. Then every path is looked at through the mount: a session
never works on a view that lacks what the baseline has, for a commit would take that for a removal.

Whether it can be done is tried, not guessed: `lay` raises NotLayered with the reason, has undone what it did, and the
folder is copied instead.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import stat
import time
from collections.abc import Container, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from mulligan.policies.exclusion import NOTHING, Exclusion
from mulligan.runtime.folder import Entry, Folder, Kind, key_of, kind_of
from mulligan.runtime.importing import Count, Progress
from mulligan.runtime.walking import Found, folders
from mulligan.runtime.workspace import (
    MODE,
    UNREAD,
    Baseline,
    Staging,
    checked,
    content_of,
    leading_outside,
    refuse,
)
from mulligan.sandbox import overlay
from mulligan.sandbox.attributes import Names
from mulligan.sandbox.snapshots.detector import filesystem_of
from mulligan.sandbox.snapshots.lower import Looked, Lower, LowerWatches, Which
from mulligan.sandbox.snapshots.removal import remove_folder
from mulligan.sandbox.snapshots.store import MOST_WATCHES

#: from so many entries, or bytes, on a folder is laid beneath where it can be: to copy less is soon done, and a copy
#: is nobody else's to change
MANY, MUCH = 5_000, 256 << 20
#: files that changed less than this ago are not referred to: another change may leave the time as it is
_SETTLED_NS = 20_000_000
#: filesystems that can be mapped to another user, and report every change
_LAYERS = frozenset(("ext4", "xfs", "btrfs", "f2fs"))
_OF_THE_KERNEL = (b"system.posix_acl_", b"security.capability")
_ELSEWHERE = "the session's own folder is on a filesystem that cannot be numbered with it"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class NotLayered(Exception):
    """Why a folder is not laid beneath a session; nothing of the try is left."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a session's workspace is, and where its upper layer may be: a folder beside it, made and removed here."""

    workspace: Path
    layer: Path

    @property
    def upper(self) -> Path:
        return self.layer / "upper"

    @property
    def work(self) -> Path:
        return self.layer / "work"


@dataclass(frozen=True, slots=True)
class Layered:
    """`lower` and `watches` are for the store; who has this calls `close`."""

    baseline: Baseline
    lower: Lower
    watches: LowerWatches

    def close(self) -> None:
        self.watches.close()
        self.lower.close()


def lay(
    source: Path,
    place: Place,
    *,
    user: tuple[int, int],
    progress: Progress | None = None,
    exclude: Exclusion,
    only_large: bool,
) -> Layered:
    """Mount the workspace over the user's folder; `unlay` is its end. `user` are uid and gid of the session.

    Raises NotLayered, and WorkspaceInvalid where the folder can be no workspace at all.
    """
    if os.geteuid() != 0:
        raise NotLayered("without root no folder in it could be renamed")
    if not exclude.empty:
        raise NotLayered("what is excluded could come later, and would show through")
    real = checked(source, place.workspace)
    try:
        with Folder.open(real) as original, ExitStack() as resources:
            layered = _Laying(original, place, user).run(resources, progress, only_large)
            resources.pop_all()
            return layered
    except OSError as error:
        unlay(place)
        raise NotLayered(f"the kernel or a filesystem refuses: {error.strerror or error}") from error
    except NotLayered:
        unlay(place)
        raise


def unlay(place: Place) -> None:
    """Take the mount away, with what the session wrote. May be repeated. Raises OSError."""
    overlay.unmount(place.workspace)
    remove_folder(place.layer)
    with suppress(FileNotFoundError):
        place.workspace.chmod(0o755)


class _Laying:
    """One try. What is looked at, and where it is watched from then on, is found in a single pass over the folder; the
    mount is asked for the names alone, and for one file of each folder."""

    def __init__(self, original: Folder, place: Place, user: tuple[int, int]) -> None:
        self._original, self._place, self._user = original, place, user
        self._tree: list[tuple[bytes, list[Found]]] = []  #: what is in each folder
        self._odd: set[bytes] = set()  #: what the lower layer cannot show as a copy would be
        self._adorned: set[bytes] = set()
        self._names = Names()
        self._count = self._bytes = 0

    def run(self, resources: ExitStack, progress: Progress | None, only_large: bool) -> Layered:
        filesystem = filesystem_of(self._original.descriptor)
        if filesystem not in _LAYERS:
            raise NotLayered(
                f"a filesystem like the folder's ({filesystem or 'unknown'}) is not laid beneath"
            )
        place = os.fsencode(self._place.workspace.name)
        at = fcntl.fcntl(self._original.descriptor, fcntl.F_DUPFD_CLOEXEC, 0)
        lower = Lower(place, self._original.path, at)
        resources.callback(lower.close)
        watches = LowerWatches(lower, MOST_WATCHES)
        resources.callback(watches.close)
        settled = time.time_ns() - _SETTLED_NS
        owner = self._walk(watches)
        if only_large and self._count < MANY and self._bytes < MUCH:
            raise NotLayered("it is small")
        copied = self._fill_upper()
        self._place.workspace.chmod(0)  # where the mount is not seen, nobody works on what is beneath it
        overlay.mount(
            self._original.descriptor,
            self._place.upper,
            self._place.work,
            self._place.workspace,
            owner=owner,
            user=self._user,
        )
        with Folder.open(self._place.workspace) as merged:
            numbering = self._look(merged, copied, Count(progress, "looking through", self._count, 0))
            entries, files = self._take_over(merged, copied, numbering, settled)
        found = (
            {} if watches.why else dict(self._tree)
        )  # without watches nobody tells where that is no longer true
        lower.looked = Looked(
            files, frozenset(self._adorned), numbering, self._user, found, self._place.upper
        )
        baseline = Baseline(
            source=self._original.path,
            identity=self._original.identity,
            entries=entries,
            left_out=tuple(path for path, status in self._all() if kind_of(status) is Kind.OTHER),
            outside=frozenset(leading_outside(entries)),
            excluded=NOTHING,
        )
        return Layered(baseline, lower, watches)

    def _all(self) -> Iterator[Found]:
        return itertools.chain.from_iterable(found for _, found in self._tree)

    def _walk(self, watches: LowerWatches) -> tuple[int, int]:
        """Whose the folder is: the one who owns every folder in it, for those cannot be copied to change hands."""
        top = os.fstat(self._original.descriptor)
        owner = top.st_uid, top.st_gid
        for folder, at, found in folders(self._original.descriptor, refuse, entering=watches.entering):
            self._tree.append((folder, found))
            self._count += len(found)
            for path, status in found:
                if status.st_dev != top.st_dev:
                    raise NotLayered(f"something else is mounted in it: {_shown(path)}")
                if _is_odd(status, owner) or self._has_special_attributes(at, path):
                    if stat.S_ISDIR(status.st_mode) and (status.st_uid, status.st_gid) != owner:
                        raise NotLayered(f"folders in it belong to several users: {_shown(path)}")
                    self._odd.add(path)
                self._bytes += content_of(status)
        return owner

    def _has_special_attributes(self, at: int, path: bytes) -> bool:
        names = self._names(at, path.rpartition(b"/")[2])
        if not names:
            return False
        self._adorned.add(path)
        if any(name.startswith(b"trusted.overlay.") for name in names):
            raise NotLayered(f"it is a layer of another overlay: {_shown(path)}")
        return any(name.startswith(_OF_THE_KERNEL) for name in names)

    def _fill_upper(self) -> dict[bytes, Entry]:
        """Copy what is odd, and hide what is hidden. The entries of what was copied."""
        for folder in (self._place.layer, self._place.upper, self._place.work):
            folder.mkdir(mode=0o700)
        hidden = [path for path, status in self._all() if kind_of(status) is Kind.OTHER]
        wanted = self._odd | {above for path in (*self._odd, *hidden) for above in _above(path)}
        few = [(path, status) for path, status in self._all() if path in wanted]
        with Folder.open(self._place.upper) as upper:
            staging = Staging(self._original, upper, *self._user)
            staging.bring(few, Count(None, "copying", 0, 0))
            for path in hidden:
                with upper.parent(path) as (at, name):
                    overlay.whiteout(name, at)
            staging.finish_folders(few)
        return staging.entries

    def _look(self, merged: Folder, copied: Container[bytes], count: Count) -> int:
        """See that every name is there through the mount, as the kind of thing that it is. By what the numbers of
        files' inodes differ there: overlayfs may mark them with their layer, all alike."""
        device = os.fstat(merged.descriptor).st_dev
        numberings: set[int] = set()
        for folder, found in self._tree:
            with merged.at(folder) as at:
                shown = _kinds(at)
                for path, status in found:
                    count.add(0)
                    name, kind = path.rpartition(b"/")[2], kind_of(status)
                    if kind is not Kind.OTHER and shown.get(name) is not kind:
                        raise NotLayered(f"it is seen as another: {_shown(path)}")
                for path, status in itertools.islice(_files(found, copied), 1):
                    above = os.stat(path.rpartition(b"/")[2], dir_fd=at, follow_symlinks=False)
                    if above.st_dev != device:
                        raise NotLayered(_ELSEWHERE)
                    if (above.st_uid, above.st_gid) != self._user:
                        raise NotLayered(f"it is seen as another's: {_shown(path)}")
                    numberings.add(above.st_ino ^ status.st_ino)
        if len(numberings) > 1:
            raise NotLayered(_ELSEWHERE)
        return numberings.pop() if numberings else 0

    def _take_over(
        self, merged: Folder, copied: Mapping[bytes, Entry], numbering: int, settled: int
    ) -> tuple[dict[bytes, Entry], dict[bytes, Which]]:
        """The baseline, and the files that may be referred to."""
        entries: dict[bytes, Entry] = {}
        files: dict[bytes, Which] = {}
        for path, status in self._all():
            kind, mode = kind_of(status), status.st_mode & MODE
            if kind is Kind.FOLDER:
                entries[path] = Entry(kind=kind, mode=mode)
            elif path in copied:
                if (found := merged.status(path)) is not None:
                    entries[path] = replace(copied[path], key=key_of(found))
            elif kind is not Kind.OTHER:
                key = status.st_ino ^ numbering, status.st_ctime_ns, status.st_size
                if kind is Kind.LINK:
                    target = self._target(path)
                    entries[path] = Entry(kind=kind, mode=0, content=target, key=key)
                    continue
                entries[path] = Entry(kind=kind, mode=mode, size=status.st_size, content=UNREAD, key=key)
                if status.st_ctime_ns < settled:
                    files[path] = Which.of(status)
        return entries, files

    def _target(self, path: bytes) -> bytes:
        with self._original.parent(path) as (at, name):
            return os.readlink(name, dir_fd=at)


def _kinds(at: int) -> dict[bytes, Kind]:
    """What is in a folder, by its name."""
    listing = os.open(".", _FOLDER, dir_fd=at)
    try:
        with os.scandir(listing) as entries:
            return {os.fsencode(entry.name): _kind(entry) for entry in entries}
    finally:
        os.close(listing)


def _kind(entry: os.DirEntry[str]) -> Kind:
    if entry.is_file(follow_symlinks=False):
        return Kind.FILE
    if entry.is_dir(follow_symlinks=False):
        return Kind.FOLDER
    return Kind.LINK if entry.is_symlink() else Kind.OTHER


def _files(found: list[Found], copied: Container[bytes]) -> Iterator[Found]:
    """Those that are shown as they lie below."""
    return (each for each in found if kind_of(each[1]) is Kind.FILE and each[0] not in copied)


def _is_odd(status: os.stat_result, owner: tuple[int, int]) -> bool:
    mode = status.st_mode
    several = status.st_nlink > 1 and not stat.S_ISDIR(mode)
    special = mode & 0o7000 and not stat.S_ISLNK(mode)
    return several or bool(special) or (status.st_uid, status.st_gid) != owner


def _above(path: bytes) -> Iterator[bytes]:
    while path := path.rpartition(b"/")[0]:
        yield path


def _shown(path: bytes) -> str:
    return ascii(os.fsdecode(path))[1:-1]
