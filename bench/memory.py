"""Memory of processes: what each answers for, a shared page divided among its holders (Pss)."""

from __future__ import annotations

import os
from pathlib import Path


def pss_of_pid(pid: int) -> int:
    """Bytes; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def processes_of_user(uid: int) -> dict[int, str]:
    """pid -> what it calls itself: the supervisor, the worker and the twins of the session with this uid."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            status = Path(f"/proc/{name}/status").read_text()
        except OSError:
            continue
        if f"\nUid:\t{uid}\t" in status:
            found[int(name)] = status.partition("\n")[0].partition("\t")[2]
    return found


def pss_of_user(uid: int) -> int:
    return sum(map(pss_of_pid, processes_of_user(uid)))
