"""Exact snapshots of one folder, and the way back to each of them.

A store keeps a tree of snapshots: each is its parent and what changed since. The tree of files is taken to
equal the `head`; a snapshot records what differs from it, a restore puts back what differs from another and
moves the head there, so that what comes after is a branch. Nothing is ever overwritten: a restore begins with
a snapshot of what is there now.

One process holds a store (flock), and one thread at a time calls it. It may be killed at any moment: a
snapshot is there when its index commit is, and a restore that was under way is run again when the store is
next opened.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

from mulligan.sandbox.errors import SnapshotError
from mulligan.sandbox.snapshots.blobs import Blobs, Unkept
from mulligan.sandbox.snapshots.collection import Collected, Pass
from mulligan.sandbox.snapshots.detector import Detection, Detector, choose, times_tell
from mulligan.sandbox.snapshots.entry import (
    Change,
    FilesRestored,
    Snapshot,
    Unrestored,
    compose,
    inverse,
    is_reference,
)
from mulligan.sandbox.snapshots.folders import FOLDER, Folders
from mulligan.sandbox.snapshots.heed import Heed
from mulligan.sandbox.snapshots.index import Index, Stopped
from mulligan.sandbox.snapshots.lower import Lower, LowerWatches
from mulligan.sandbox.snapshots.manifest import Manifest
from mulligan.sandbox.snapshots.reader import StoreReader
from mulligan.sandbox.snapshots.restore import Restore
from mulligan.sandbox.snapshots.scan import Scan

#: More watches than any user has by default.
MOST_WATCHES = 1 << 20
#: so many entries are looked at one by one before the tree is walked
_FEW = 1000
_TOO_DEEP = "what is in it lies too deep to be captured"


class SnapshotStore(StoreReader):
    """Made by `open`. Ids are positive integers, given out in order."""

    def __init__(
        self,
        root: int,
        folder: Path,
        index: Index,
        blobs: Blobs,
        detector: Detector,
        resources: ExitStack,
    ) -> None:
        super().__init__(index, blobs, resources)
        self._root = root
        self._folder = folder
        self._detector = detector
        self._manifest = Manifest()
        self._below: LowerWatches | None = None
        self._mapped: frozenset[bytes] = frozenset()

    @classmethod
    def open(cls, root: Path, folder: Path, *, watches: int = MOST_WATCHES) -> Self:
        """Open the store in `folder`, made if need be, over the tree `root`, which must be there.

        At most `watches` folders are watched for changes; with 0, or where that is too few, every entry is
        compared each time: `detector` says how it is done and why.
        `folder` must be out of the sandbox's reach. Finishes a restore that was cut short. Raises
        SnapshotError when another process holds the store or a folder cannot be used, StoreDamaged when the
        index cannot be read.
        """
        with ExitStack() as resources, _explained("open the snapshot store"):
            top = os.open(root, FOLDER)
            resources.callback(os.close, top)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _hold(folder, resources)
            index = Index.open(folder / "index.sqlite")
            resources.callback(index.close)
            blobs = Blobs.open(folder, index)
            resources.callback(blobs.close)
            detector = choose(top, watches)
            resources.callback(detector.close)
            store = cls(top, folder, index, blobs, detector, resources.pop_all())
        store._resume()
        return store

    def lie_on(self, lower: Lower, watches: LowerWatches) -> None:
        """Refer to the files of `lower`, and look where its `watches` tell. Before the first snapshot."""
        self._index.lie_on(lower.place, os.fsencode(lower.folder))
        self._blobs.lower = lower
        self._below = watches

    @property
    def head(self) -> int | None:
        """The snapshot that the tree was last known to equal."""
        return self._index.head

    @property
    def detector(self) -> Detection:
        """How changes are found: by watches, or by a scan of everything; and why."""
        if self._below is not None and self._below.why:
            return Detection("scan", self._below.why)
        return self._detector.detection

    @property
    def size(self) -> int:
        """How many entries the tree had when it was last looked at."""
        return len(self._manifest)

    def snapshot(
        self,
        *,
        mapped: Iterable[bytes] = (),
        folders: Iterable[bytes] = (),
        thorough: bool | None = None,
        looked_at: Callable[[int], None] | None = None,
    ) -> Snapshot:
        """Record the tree as it is now; the head again, without changes, when the tree still equals it.

        `mapped` are files that processes may write through shared memory maps, which nothing reports: they are
        read by content, now and at the next snapshot. `folders` are looked into whether they were reported or not.
        `thorough` compares every entry, and so finds what no watch reports: writes through a second name that came
        and went, or through a lost one. None does so where names have come or gone; False is for who knows that no
        hard link was made. `looked_at` is called with the size of each entry that is read. Raises SnapshotError, with
        `errno`, when something cannot be read or kept; the head is
        then where it was, and a later snapshot has all that this one should have had.
        """
        return self._record(
            frozenset(mapped), folders=frozenset(folders), thorough=thorough, looked_at=looked_at
        )

    def restore(
        self, id: int, *, mapped: Iterable[bytes] = (), thorough: bool | None = None, keep: bool = True
    ) -> FilesRestored:
        """Make the tree equal to a snapshot, after a snapshot of what is there now, which takes `mapped` and
        `thorough`. Without `keep` there is no such snapshot: what is there now is lost, and takes no room.

        Only paths that differ are touched, and nothing is written when none does. What could not be restored
        is listed in `stands`, and is in the next snapshot as a change; so is what was too deep to be captured.
        Raises SnapshotError before anything was touched, or when the arrival cannot be recorded; then it may
        be repeated, and is when the store is next opened.
        """
        intent = self._index.require(id)
        deep = tuple(Unrestored(path, _TOO_DEEP) for path in self._index.beyond(id))
        if keep:
            now = self._record(frozenset(mapped), thorough=thorough, intent=intent).id
            changes = self.diff(now, id)
        else:
            changes = self._away_from_here(frozenset(mapped), id)
        if keep and self.head == id:
            return FilesRestored(id, (), deep)
        with self._restarting(), Folders(self._root) as folders:
            heed, stale = Heed(folders, self._detector, changes), frozenset(self._manifest.stale)
            heed.begin()
            stands = Restore(folders, self._manifest, self._blobs, changes).run()
            self._manifest.apply(changes)
            heed.end(self._manifest, stale)
            self._index.arrive(id)
        if not keep and any(change.after and is_reference(change.after.data) for change in changes):
            with suppress(SnapshotError):  # where the disk is full, the next snapshot does it
                self._record(frozenset(mapped), thorough=thorough)  # keeps what was only referred to
        failed = {stand.path for stand in stands}
        done = tuple(change for change in changes if change.path not in failed)
        return FilesRestored(id, done, (*stands, *(each for each in deep if each.path not in failed)))

    def _away_from_here(self, mapped: frozenset[bytes], id: int) -> tuple[Change, ...]:
        """What leads from the tree as it is to a snapshot, without keeping what is there. The intent is recorded
        first, so a restore that is cut short is run again all the same."""
        self._detector.changed()
        with self._restarting(), _explained("look at the files"), Folders(self._root) as folders:
            head = self._index.require(self.head or 0)
            self._index.commit(Snapshot(head, self._index.parents[head], ()), {}, None, id)
            unkept = Unkept(passing=head == id)
            told = times_tell(self._root)
            now_ns = time.time_ns()
            lower = self._blobs.lower
            scan = Scan(folders, self._manifest, unkept, self._detector, now_ns, told, None, lower)
            now = scan.run(None, mapped | self._mapped)
            self._mapped = mapped
            return compose(inverse(now), self.diff(head, id))

    def capture(self, id: int, path: bytes) -> None:
        """Keep what a file at a snapshot held, where that lies in the user's folder alone. Raises SnapshotError."""
        entry = self._index.entry(id, path)
        if entry is not None and is_reference(entry.data):
            assert entry.data is not None
            with self._restarting(), _explained("keep a file of the user's"):
                self._blobs.capture_now(entry.data)

    def lost(self, id: int) -> tuple[bytes, ...]:
        """The files of a snapshot that are known not to be had any more: the user changed theirs."""
        lower = self._blobs.lower
        found = ((lower.path(each), each) for each in lower.lost) if lower is not None else ()
        entries = ((path, each, self._index.entry(id, path)) for path, each in found)
        return tuple(
            sorted(path for path, each, entry in entries if entry is not None and entry.data == each)
        )

    @property
    def taken(self) -> int:
        """The bytes that the store takes on the disk, about."""
        return self._blobs.size + self._index.size

    def collect(
        self,
        reach: Collection[int],
        *,
        spare: Collection[int] = (),
        most: int | None = None,
        announce: Callable[[tuple[int, ...]], None] = lambda ids: None,
        give_way: Callable[[], bool] = lambda: False,
    ) -> Collected:
        """Let go of the snapshots that are not in `reach`, and of what only they had; where the store takes more than
        `most` bytes, also of the oldest in reach. Never of the first, the head, or one of `spare`.

        `announce` is told which of those in reach go, when that can still fail: from then on nobody should ask for
        them. It is put off while readers are attached, and when `give_way` says that somebody waits, at any time.
        """
        with _alone(self._folder) as alone:
            if not alone:
                return Collected(put_off="somebody reads the store")
            try:
                collected = self._collect(reach, spare, most, announce, give_way)
            except Stopped:
                return Collected(put_off="somebody waits")
            with _explained("let go of snapshots"):
                self._blobs.sweep()
            return collected

    def _collect(
        self,
        reach: Collection[int],
        spare: Collection[int],
        most: int | None,
        announce: Callable[[tuple[int, ...]], None],
        give_way: Callable[[], bool],
    ) -> Collected:
        keep = {id for id in (*spare, self.head, self._index.intent) if id is not None}
        excess = 0 if most is None else self.taken - most
        with self._index.letting_go(give_way) as db:
            one = Pass(db, dict(self._index.parents), self._blobs.weigh, give_way)
            let_go = one.run(reach, keep, excess)
            announce(let_go)
        return Collected(let_go, one.removed)

    def _record(
        self,
        mapped: frozenset[bytes],
        *,
        folders: frozenset[bytes] = frozenset(),
        thorough: bool | None,
        intent: int | None = None,
        looked_at: Callable[[int], None] | None = None,
    ) -> Snapshot:
        """Scan, keep, commit. A tree that equals the head is the head; the intent to restore the head is none."""
        mapped, self._mapped = mapped | self._mapped, mapped
        changed = self._changed()
        if thorough is None:
            thorough = bool(self._manifest.again) or self._names_changed(changed or ())
        if (thorough and not self._looks_the_same(mapped)) or not self._manifest.trusted:
            changed = None
        changed = changed if changed is None else changed | folders
        snapshot = self._unchanged(changed, mapped) or self._scan(changed, mapped, looked_at)
        if snapshot.id != self.head or intent not in (None, self.head):
            with self._restarting(), _explained("take a snapshot"):
                self._blobs.seal()
                captured = self._blobs.captured
                self._index.commit(snapshot, self._blobs.pending, self._blobs.few, intent, captured)
                self._blobs.done()
        if self._below is not None and snapshot.parent is None:
            self._below.remember(self._manifest)
        return replace(snapshot, changes=self._index.resolved(snapshot.changes))

    def _changed(self) -> set[bytes] | None:
        """The folders in which something may have changed; None: anywhere."""
        changed = self._detector.changed()
        if self._below is None:
            return changed
        below = self._below.changed(self._manifest)
        return None if changed is None or below is None else changed | below

    def _unchanged(self, changed: set[bytes] | None, mapped: frozenset[bytes]) -> Snapshot | None:
        """The head, if there is proof that nothing changed without a look at the tree."""
        manifest = self._manifest
        if self.head is None or changed is None or changed or mapped or manifest.hard:
            return None
        if manifest.stale or manifest.again:
            return None
        return self._head_again()

    def _looks_the_same(self, mapped: frozenset[bytes]) -> bool:
        """Whether every entry of a small tree has the key that the last scan left it, which is all that comparing every
        entry would find. An entry that came or went moves the time of its folder."""
        if mapped or len(self._manifest) > _FEW or not times_tell(self._root):
            return False
        try:
            return all(
                (st.st_ino, st.st_ctime_ns) == (known.ino, known.ctime_ns)
                for path, known in self._manifest.everything()
                for st in (os.stat(path or b".", dir_fd=self._root, follow_symlinks=False),)
            )
        except OSError:
            return False

    def _head_again(self) -> Snapshot:
        assert self.head is not None
        return Snapshot(self.head, self._index.parents[self.head], (), self._beyond())

    def _beyond(self) -> tuple[bytes, ...]:
        return tuple(sorted(self._manifest.beyond))

    def _scan(
        self,
        changed: set[bytes] | None,
        mapped: frozenset[bytes],
        looked_at: Callable[[int], None] | None,
    ) -> Snapshot:
        id = self._index.next_id()
        with self._restarting(), _explained("take a snapshot"), Folders(self._root) as folders:
            self._blobs.begin(id)
            now_ns, told, lower = time.time_ns(), times_tell(self._root), self._blobs.lower
            scan = Scan(folders, self._manifest, self._blobs, self._detector, now_ns, told, looked_at, lower)
            changes = scan.run(changed, mapped)
            if changes or self.head is None:
                return Snapshot(id, self.head, changes, self._beyond())
            self._blobs.abandon()
            return self._head_again()

    def _names_changed(self, folders: Iterable[bytes]) -> bool:
        """Whether names have come or gone in one of these folders. That moves its ctime, which nobody can set."""
        with Folders(self._root) as opened:
            return any(self._moved(opened, folder) for folder in folders)

    def _moved(self, opened: Folders, folder: bytes) -> bool:
        known = self._manifest.get(folder)
        try:
            return known is None or os.fstat(opened.at(folder)).st_ctime_ns != known.ctime_ns
        except OSError:
            return True

    @contextmanager
    def _restarting(self) -> Iterator[None]:
        """When the work within fails, forget what it learned: all is compared with the head again, by
        content.
        """
        try:
            yield
        except BaseException:
            self._blobs.abandon()
            self._index.refresh()
            self._manifest = self._at_head()
            raise

    def _at_head(self) -> Manifest:
        return Manifest() if self.head is None else Manifest.of(self.entries(self.head))

    def _resume(self) -> None:
        try:
            self._manifest = self._at_head()
            if self._index.intent is not None:
                self.restore(self._index.intent)
        except BaseException:
            self.close()
            raise


def _hold(folder: Path, resources: ExitStack) -> None:
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    resources.callback(os.close, lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        hint = "One session holds it at a time: close the other one, or wait until its process has ended."
        failure = SnapshotError(f"the snapshot store {folder} is in use", hint=hint)
        failure.errno = errno.EWOULDBLOCK
        raise failure from error


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether no reader is attached, and none can be until the end of the block."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        alone = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            alone = False
        yield alone
    finally:
        os.close(descriptor)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """The operating system's errors as ours."""
    try:
        yield
    except SnapshotError:
        raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = (
            "Make room on the disk, then try again: nothing is lost."
            if full
            else "See the path that is named."
        )
        where = f": {os.fsdecode(error.filename)!r}" if isinstance(error.filename, (str, bytes)) else ""
        failure = SnapshotError(f"could not {what}: {error.strerror}{where}", hint=hint)
        failure.errno = error.errno
        raise failure from error
