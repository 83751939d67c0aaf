"""A content store with exact snapshots and restores of one directory tree."""

from mulligan.sandbox.snapshots.detector import Detection
from mulligan.sandbox.snapshots.entry import Change, Entry, FilesRestored, Kind, Snapshot, Unrestored
from mulligan.sandbox.snapshots.reader import Holdings, StoreReader
from mulligan.sandbox.snapshots.store import SnapshotStore

__all__ = [
    "Change",
    "Detection",
    "Entry",
    "FilesRestored",
    "Holdings",
    "Kind",
    "Snapshot",
    "SnapshotStore",
    "StoreReader",
    "Unrestored",
]
