"""Whose uid the sandbox's processes have.

An ordinary user's sandboxes run as that user, confined. Root's would share one unprivileged uid, and with it a
count of processes and the right to signal each other; so each of root's live sessions holds a uid that no other
has, by a lock that the operating system lets go of when the process ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: above the ranges that distributions give to people, services and containers' root
FIRST, MOST = 200_000, 60_000
LOCKS = Path("/run/mulligan-users")


@contextmanager
def claim_user() -> Iterator[tuple[int, int]]:
    """The uid and gid for one session, held until the end of the block."""
    if os.geteuid() != 0:
        yield os.getuid(), os.getgid()
        return
    LOCKS.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, number = _first_free()
    try:
        yield FIRST + number, FIRST + number
    finally:
        os.close(descriptor)


def _first_free() -> tuple[int, int]:
    for number in range(MOST):
        descriptor = os.open(
            LOCKS / str(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        return descriptor, number
    raise RuntimeError(f"{MOST} sessions are open at once")
