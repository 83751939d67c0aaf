"""The kernel's limits on a process, set from outside before it runs its first instruction."""

from __future__ import annotations

import math
import os
import resource
import zlib
from contextlib import suppress
from pathlib import Path

from mulligan.sandbox.isolation import Isolation


def lower(pid: int, isolation: Isolation) -> None:
    """Lower a process's limits for good, and its children's with them. OSError where it has ended."""
    for kind, value in _limits(isolation).items():
        resource.prlimit(pid, kind, (value, value))
    os.sched_setaffinity(pid, processors(isolation))
    with suppress(OSError):  # the kernel's choice in need: a sandbox before anything of the host's
        Path(f"/proc/{pid}/oom_score_adj").write_text("500")


def _limits(isolation: Isolation) -> dict[int, int]:
    limits = isolation.limits
    wanted = {
        resource.RLIMIT_DATA: limits.memory,
        resource.RLIMIT_NPROC: limits.all_pids,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_FSIZE: limits.file_size,
        resource.RLIMIT_CORE: 0,
    }
    return {kind: _lower(value, resource.getrlimit(kind)[1]) for kind, value in wanted.items()}


def _lower(value: int, hard: int) -> int:
    return value if hard == resource.RLIM_INFINITY else min(value, hard)


def processors(isolation: Isolation) -> set[int]:
    """Whole processors, rounded up; each session starts at another one, so that they do not all share the first."""
    ours = sorted(os.sched_getaffinity(0))
    count = max(1, min(len(ours), math.ceil(isolation.limits.cpus)))
    at = zlib.crc32(isolation.session.encode())
    return {ours[(at + step) % len(ours)] for step in range(count)}
