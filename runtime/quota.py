"""The disk bound, supervised: what a session's files hold is looked at while an action runs.

The kernel bounds a single file (RLIMIT_FSIZE); the sum is only looked at, so a fast writer overshoots by what it
writes in one interval. A look is cheap: the filesystem's free space tells when a walk is worth its time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

#: bytes of free space whose loss makes us walk the tree again
STRIDE = 64 << 20
#: free bytes under which an action may not push the host's disk
RESERVE = 256 << 20


class DiskQuota:
    def __init__(self, files: Path, limit: int) -> None:
        self._files = files
        self._limit = limit
        self._looked_at = self._free()

    def exceeded(self) -> str | None:
        """Why the running action must end, or None. Called a few times a second."""
        free = self._free()
        if free < RESERVE:
            return f"the host's disk is nearly full ({free >> 20} MiB are left)"
        if self._looked_at - free < STRIDE:
            return None
        self._looked_at = free
        used = sum(_sizes(self._files))
        return (
            f"the session's files hold {used:,} bytes; the most is {self._limit:,}"
            if used > self._limit
            else None
        )

    def _free(self) -> int:
        status = os.statvfs(self._files)
        return status.f_bavail * status.f_frsize


def _sizes(folder: Path) -> Iterator[int]:
    """Allocated bytes of every entry. The sandbox may change the tree meanwhile."""
    waiting = [os.fspath(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    yield entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:
            continue
