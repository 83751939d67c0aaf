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
import socket
import stat
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from mulligan.policies.exclusion import NOTHING, Exclusion
from mulligan.runtime.errors import WorkspaceInvalid
from mulligan.runtime.folder import Entry, Folder, Kind, key_of, kind_of
from mulligan.runtime.importing import Count, Progress
from mulligan.runtime.workspace import (
    MODE,
    UNREAD,
    Baseline,
    Staging,
    Tree,
    checked,
    leading_outside,
    stage,
    walk,
)
from mulligan.sandbox import overlay
from mulligan.sandbox.snapshots.detector import filesystem_of
from mulligan.sandbox.snapshots.lower import Lower, Seen, Which
from mulligan.sandbox.snapshots.removal import remove_folder

#: from so many entries, or bytes, on a folder is laid beneath where it can be: to copy less is soon done, and a copy
#: is nobody else's to change
MANY, MUCH = 5_000, 256 << 20
STAGINGS = ("auto", "copy", "overlay")
#: files that changed less than this ago are not referred to: another change may leave the time as it is
_SETTLED_NS = 20_000_000
#: filesystems that can be mapped to another user, and report every change
_LAYERS = frozenset(("ext4", "xfs", "btrfs", "f2fs"))
_OF_THE_KERNEL = ("system.posix_acl_", "security.capability", "trusted.overlay.")
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
    """`lower` is for the store, and closed by who has this."""

    baseline: Baseline
    lower: Lower


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
        raise NotLayered("it takes root to mount one")
    if not exclude.empty:
        raise NotLayered("what is excluded could come later, and would show through")
    real = checked(source, place.workspace)
    try:
        with Folder.open(real) as original:
            return _Laying(original, place, user).run(progress, only_large)
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


def engine_sees_mounts(engine: str) -> bool:
    """Whether what is mounted here is seen by who makes the sandbox: a Docker engine may live among other mounts."""
    if engine != "docker":
        return True
    address = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    try:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(address.removeprefix("unix://"))
            said = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        (pid, _, _) = struct.unpack("3i", said)
        return os.stat(f"/proc/{pid}/ns/mnt").st_ino == os.stat("/proc/self/ns/mnt").st_ino
    except OSError:
        return False


class _Laying:
    def __init__(self, original: Folder, place: Place, user: tuple[int, int]) -> None:
        self._original, self._place, self._user = original, place, user

    def run(self, progress: Progress | None, only_large: bool) -> Layered:
        filesystem = filesystem_of(self._original.descriptor)
        if filesystem not in _LAYERS:
            raise NotLayered(
                f"a filesystem like the folder's ({filesystem or 'unknown'}) is not laid beneath"
            )
        tree = walk(self._original, NOTHING)
        if only_large and len(tree) < MANY and _bytes(tree) < MUCH:
            raise NotLayered("it is small")
        owner = self._owner(tree)
        copied = self._fill_upper(tree, {path for path, status in self._odd(tree, owner)})
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
            entries, files = self._look(
                tree, merged, copied, Count(progress, "looking through", len(tree), 0)
            )
        baseline = Baseline(
            source=self._original.path,
            identity=self._original.identity,
            entries=entries,
            left_out=tuple(path for path, status in tree if kind_of(status) is Kind.OTHER),
            outside=frozenset(leading_outside(entries)),
            excluded=NOTHING,
        )
        place = os.fsencode(self._place.workspace.name)
        at = fcntl.fcntl(self._original.descriptor, fcntl.F_DUPFD_CLOEXEC, 0)
        return Layered(baseline, Lower(place, self._original.path, files, at))

    def _owner(self, tree: Tree) -> tuple[int, int]:
        """Whose the folder is: the one who owns every folder in it, for those cannot be copied to change hands."""
        top = os.fstat(self._original.descriptor)
        owner = top.st_uid, top.st_gid
        for path, status in tree:
            if status.st_dev != top.st_dev:
                raise NotLayered(f"something else is mounted in it: {_shown(path)}")
            if stat.S_ISDIR(status.st_mode) and (status.st_uid, status.st_gid) != owner:
                raise NotLayered(f"folders in it belong to several users: {_shown(path)}")
        return owner

    def _odd(self, tree: Tree, owner: tuple[int, int]) -> Iterator[tuple[bytes, os.stat_result]]:
        """What the lower layer cannot show as a copy would be."""
        for folder, group in _by_folder(tree):
            with self._original.at(folder) as at:
                for path, status in group:
                    if _is_odd(status, owner) or _has_special_attributes(at, path, status):
                        yield path, status

    def _fill_upper(self, tree: Tree, odd: set[bytes]) -> dict[bytes, Entry]:
        """Copy what is odd, and hide what is hidden. The entries of what was copied."""
        for folder in (self._place.layer, self._place.upper, self._place.work):
            folder.mkdir(mode=0o700)
        hidden = [path for path, status in tree if kind_of(status) is Kind.OTHER]
        wanted = odd | {above for path in (*odd, *hidden) for above in _above(path)}
        few = [(path, status) for path, status in tree if path in wanted]
        with Folder.open(self._place.upper) as upper:
            staging = Staging(self._original, upper, *self._user)
            staging.bring(few, Count(None, "copying", 0, 0))
            for path in hidden:
                with upper.parent(path) as (at, name):
                    overlay.whiteout(name, at)
            staging.finish_folders(few)
        return staging.entries

    def _look(
        self, tree: Tree, merged: Folder, copied: dict[bytes, Entry], count: Count
    ) -> tuple[dict[bytes, Entry], dict[bytes, Seen]]:
        """The baseline, and the files that may be referred to, as they are seen through the mount."""
        device = os.fstat(merged.descriptor).st_dev
        before = time.time_ns() - _SETTLED_NS
        entries: dict[bytes, Entry] = {}
        files: dict[bytes, Seen] = {}
        for folder, group in _by_folder(tree):
            with merged.at(folder) as at:
                for path, status in group:
                    count.add(0)
                    if kind_of(status) is Kind.OTHER:
                        continue
                    found = os.stat(path.rpartition(b"/")[2], dir_fd=at, follow_symlinks=False)
                    self._check(path, status, found, device)
                    entries[path] = _entry(path, found, copied.get(path), at)
                    below, above = Which.of(status), Which.of(found)
                    unread = entries[path].kind is Kind.FILE and entries[path].content == UNREAD
                    if unread and below[1:] == above[1:] and below.ctime_ns < before:
                        files[path] = Seen(above, below)
        return entries, files

    def _check(self, path: bytes, below: os.stat_result, above: os.stat_result, device: int) -> None:
        if above.st_dev != device:
            raise NotLayered("the session's own folder is on a filesystem that cannot be numbered with it")
        if kind_of(above) is not kind_of(below) or (above.st_uid, above.st_gid) != self._user:
            raise NotLayered(f"it is seen as another: {_shown(path)}")


def _entry(path: bytes, found: os.stat_result, copied: Entry | None, at: int) -> Entry:
    kind = kind_of(found)
    if kind is Kind.FOLDER:
        return Entry(kind=kind, mode=found.st_mode & MODE)
    if copied is not None:
        return replace(copied, key=key_of(found))
    if kind is Kind.LINK:
        target = os.readlink(path.rpartition(b"/")[2], dir_fd=at)
        return Entry(kind=kind, mode=0, content=target, key=key_of(found))
    return Entry(kind=kind, mode=found.st_mode & MODE, size=found.st_size, content=UNREAD, key=key_of(found))


def _is_odd(status: os.stat_result, owner: tuple[int, int]) -> bool:
    several = not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1
    special = not stat.S_ISLNK(status.st_mode) and stat.S_IMODE(status.st_mode) & ~MODE
    return several or bool(special) or (status.st_uid, status.st_gid) != owner


def _has_special_attributes(at: int, path: bytes, status: os.stat_result) -> bool:
    where = b"/proc/self/fd/%d/%s" % (at, path.rpartition(b"/")[2])
    try:
        names = os.listxattr(where, follow_symlinks=False)
    except OSError:
        return False
    if any(name.startswith("trusted.overlay.") for name in names):
        raise NotLayered(f"it is a layer of another overlay: {_shown(path)}")
    return any(name.startswith(_OF_THE_KERNEL) for name in names)


def _by_folder(tree: Tree) -> Iterable[tuple[bytes, Iterator[tuple[bytes, os.stat_result]]]]:
    return itertools.groupby(tree, key=lambda item: item[0].rpartition(b"/")[0])


def _above(path: bytes) -> Iterator[bytes]:
    while path := path.rpartition(b"/")[0]:
        yield path


def _bytes(tree: Tree) -> int:
    return sum(status.st_size for _, status in tree if stat.S_ISREG(status.st_mode))


def _shown(path: bytes) -> str:
    return ascii(os.fsdecode(path))[1:-1]


@dataclass(frozen=True, slots=True)
class Brought:
    """The user's folder as the session has it, and in words by which way; `layered` where it lies beneath."""

    baseline: Baseline
    how: str
    layered: Layered | None = None


def bring(
    source: Path | None,
    place: Place,
    *,
    staging: str,
    obstacle: str,
    user: tuple[int, int],
    progress: Progress | None,
    exclude: Exclusion,
) -> Brought:
    """Lay the user's folder beneath the workspace, or copy it. `staging` is "auto" (lay a large one beneath where that
    can be), "copy", or "overlay" (WorkspaceInvalid where it cannot be). `obstacle` is why nothing can be laid beneath
    this session, if so. Raises WorkspaceInvalid."""
    if staging not in STAGINGS:
        raise WorkspaceInvalid(
            f"staging is {', '.join(map(repr, STAGINGS))}, not {staging!r}", hint="'auto' is the default"
        )
    uid, gid = user
    why = "it was asked for"
    if source is not None and staging != "copy":
        try:
            if obstacle:
                raise NotLayered(obstacle)
            only_large = staging == "auto"
            layered = lay(source, place, user=user, progress=progress, exclude=exclude, only_large=only_large)
            return Brought(layered.baseline, "an overlay: nothing is copied", layered)
        except NotLayered as error:
            why = str(error)
    if source is not None and staging == "overlay":
        raise WorkspaceInvalid(
            f"the workspace {source} cannot be laid beneath the session: {why}",
            hint="with staging='auto' it is copied instead",
        )
    baseline = stage(source, place.workspace, uid=uid, gid=gid, progress=progress, exclude=exclude)
    return Brought(baseline, f"a copy: {why}" if source is not None else "empty")
