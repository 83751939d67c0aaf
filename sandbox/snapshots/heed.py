"""Which folders a restore need not have read again: those in which nothing changed but what it changed itself.

A restore sets off the watches of all folders that it touches, and reading them whole would make the next snapshot
twice as dear. So while it runs the detector heeds these folders: it tells of every change by name. Where only names
were heard that are the restore's own, the next scan looks at those alone. It does look at them, by content: somebody
else may have changed the very same ones meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection

from mulligan.sandbox.snapshots.detector import Detector
from mulligan.sandbox.snapshots.entry import Change, Entry, Kind
from mulligan.sandbox.snapshots.folders import Folders
from mulligan.sandbox.snapshots.manifest import Manifest, split

#: More would not fit into the kernel's queue of events.
_MOST = 1000


class Heed:
    """To be begun before the first change of a restore, and ended when the manifest has what it changed."""

    def __init__(self, folders: Folders, detector: Detector, changes: Collection[Change]) -> None:
        self._folders = folders
        self._detector = detector
        self._own = own_names(changes) if len(changes) <= _MOST else {}

    def begin(self) -> None:
        for folder in sorted(self._own):
            try:
                self._detector.heed(folder, self._folders.at(folder))
            except OSError:
                continue  # it is not there yet, or another is; then it is read as any new folder

    def end(self, manifest: Manifest, stale: Collection[bytes]) -> None:
        """`stale` are the folders that had to be looked into before. Where one is locked to us, all are read."""
        self._folders.unlocked.clear()  # the restore has locked those again
        for folder in sorted(self._own):
            try:
                self._detector.arm(folder, self._folders.at(folder))
            except OSError:
                continue  # it changed, or its folder did, and that is heard
        locked = bool(self._folders.unlocked)
        self._folders.relock()
        for folder, names in self._detector.heard({} if locked else self._own).items():
            if folder in stale or locked:
                continue
            manifest.stale.discard(folder)
            manifest.again |= {_path(folder, name) for name in names | self._own[folder]}


def own_names(changes: Collection[Change]) -> dict[bytes, set[bytes]]:
    """The names that a restore changes, by folder, the empty one for the folder itself; of folders where it makes and
    removes none, and where no file has other names elsewhere."""
    own: dict[bytes, set[bytes]] = {}
    intricate: set[bytes] = set()
    for change in changes:
        folder, name = split(change.path) if change.path else (b"", b"")
        own.setdefault(folder, {b""}).add(name)
        if _has_names(change.before) or _has_names(change.after) or _kind_changes(change):
            intricate.add(folder)
    return {folder: names for folder, names in own.items() if folder not in intricate}


def _has_names(entry: Entry | None) -> bool:
    return entry is not None and bool(entry.links)


def _kind_changes(change: Change) -> bool:
    """Whether a folder comes or goes."""
    kinds = [entry is not None and entry.kind is Kind.FOLDER for entry in (change.before, change.after)]
    return kinds[0] is not kinds[1]


def _path(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder and name else folder or name
