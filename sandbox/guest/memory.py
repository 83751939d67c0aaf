"""What the control group of this sandbox tells of its memory, where there is one and it can be read (Docker).

Twins share most of their pages with one another and with the worker, and none of them lets itself be looked into. So
what they hold is not summed up: it is what the whole group is charged for less what the other processes answer for.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable

from . import processes

#: version 2 and 1 of control groups: folder, files of the limit, of what is used and of events, and what is anonymous
_GROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current", "memory.events", (b"anon ", b"shmem ")),
    (
        "/sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "memory.oom_control",
        (b"total_rss ", b"total_shmem "),
    ),
)
#: the part of the limit beyond which the oldest twins are given up
CROWDED = 0.6


def limit() -> int:
    """Bytes; 0 where nothing tells."""
    folder, name, _, _, _ = _group()
    return _number(f"{folder}/{name}") if folder else 0


def charged() -> int:
    """Bytes of anonymous and shared memory of all processes; 0 where nothing tells."""
    folder, _, _, _, names = _group()
    return sum(_values(f"{folder}/memory.stat", names)) if folder else 0


def killed() -> int:
    """How many processes the kernel has killed because the memory ran out."""
    folder, _, _, events, _ = _group()
    return sum(_values(f"{folder}/{events}", (b"oom_kill ",))) if folder else 0


def crowded(most: int) -> bool:
    """Whether little is left of `most` bytes. Page cache does not count, and what it cannot tell is not crowded."""
    if not most:
        return False
    folder, _, used, _, _ = _group()
    return _number(f"{folder}/{used}") > CROWDED * most and charged() > CROWDED * most


@functools.cache
def _group() -> tuple[str, str, str, str, tuple[bytes, ...]]:
    return next((each for each in _GROUPS if os.path.exists(f"{each[0]}/{each[1]}")), ("", "", "", "", ()))


def _number(path: str) -> int:
    try:
        text = processes.read(path).strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() else 0  # version 2 says "max" where there is no limit


def _values(path: str, names: tuple[bytes, ...]) -> Iterable[int]:
    try:
        lines = processes.read(path).splitlines()
    except OSError:
        return ()
    return [int(line.split()[1]) for line in lines if line.startswith(names)]
