"""Whose session a folder is, and what becomes of it when its owner died.

A session's owner holds a lock on `owner` in its folder for as long as it lives; the operating system lets go of
it when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mulligan.runtime.commit import recover
from mulligan.runtime.errors import CommitFailed, WorkspaceInvalid
from mulligan.sandbox import overlay
from mulligan.sandbox.snapshots.removal import remove_folder

#: names in a session's folder: the mark that its files are kept, the lock of whoever reads them, and the mark that it
#: is being opened, or waits in a pool: nothing of it is history yet
KEPT, READERS, WAITING = "kept", "readers", "waiting"
#: the folder with what was written over the user's folder, where the workspace is an overlay
LAYER = "layer"


class Owner:
    """A context manager: this process holds the session in `folder`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    @contextmanager
    def claim(cls, folder: Path) -> Iterator[Owner]:
        descriptor = os.open(folder / "owner", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield cls(descriptor)
        finally:
            os.close(descriptor)


def is_open(folder: Path) -> bool:
    """Whether a process holds the session in `folder`."""
    return (folder / "owner").exists() and not _free(folder / "owner")


@contextmanager
def reading(folder: Path) -> Iterator[bool]:
    """Whether the session's files can be read; they are not removed until the end of the block."""
    with _lock(folder / READERS, fcntl.LOCK_SH) as held:
        yield held


def remove_files(folder: Path) -> bool:
    """Remove a session's files and snapshots; whether that was done. Where somebody reads them they are left to the
    next session that opens."""
    with _lock(folder / READERS, fcntl.LOCK_EX) as held:
        if held:
            (folder / KEPT).unlink(missing_ok=True)
            _unmount(folder)
            for name in (
                "output",
                "store",
                "library",
                LAYER,
                "files",
            ):  # the last one is what marks a session that was not closed
                remove_folder(folder / name)
            (folder / READERS).unlink(missing_ok=True)
    return held


def _unmount(folder: Path) -> None:
    """A mount outlives the process that made it, where that was killed."""
    if (folder / LAYER).is_dir():
        overlay.unmount(folder / "files" / "workspace")


@contextmanager
def _lock(path: Path, how: int) -> Iterator[bool]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield _try(descriptor, how)
    finally:
        os.close(descriptor)


def _free(path: Path) -> bool:
    with _lock(path, fcntl.LOCK_SH) as held:
        return held


def _try(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def remove_remains(sessions: Path) -> int:
    """Take back the commits that dead processes left half done and remove the files of their sessions; how many
    sessions there were. Their ledgers and the records of their commits stay."""
    if not sessions.is_dir():
        return 0
    return sum(_remove_if_dead(folder) for folder in sessions.iterdir() if (folder / "files").is_dir())


def _remove_if_dead(folder: Path) -> bool:
    try:
        descriptor = os.open(folder / "owner", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False  # only just being made, or not ours
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        with suppress(WorkspaceInvalid, CommitFailed):  # its record stays, for another try
            recover(folder / "commits")
        if (folder / WAITING).exists():
            _unmount(folder)
            remove_folder(folder)
            return True
        return not (folder / KEPT).exists() and remove_files(folder)
    finally:
        os.close(descriptor)
