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
from mulligan.sandbox.snapshots.removal import remove_folder


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
        for name in ("store", "files"):  # the last one is what marks a session that was not closed
            remove_folder(folder / name)
        return True
    finally:
        os.close(descriptor)
