"""Who owns what an engine made, written on it, so that the remains of the dead can be told from the living's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

OWNER, OWNER_START, OWNER_PLACE = "mulligan.owner", "mulligan.owner_start", "mulligan.owner_place"


def labels() -> dict[str, str]:
    """What names this process, and no other that ever has its pid."""
    return {OWNER: str(os.getpid()), OWNER_START: _started(os.getpid()), OWNER_PLACE: _place()}


def lives(labels: Mapping[str, str]) -> bool:
    """Whether the process that these labels name lives; True where that cannot be known from here."""
    boot, _, namespace = labels.get(OWNER_PLACE, "").partition(" ")
    here, _, ours = _place().partition(" ")
    if boot != here:
        return False  # of before a restart of the machine
    if namespace != ours:
        return True  # in a pid namespace that we cannot see
    owner = labels.get(OWNER, "")
    return owner.isdecimal() and _started(int(owner)) == labels.get(OWNER_START)


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot; "" if there is none. The pid alone may be used again."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _place() -> str:
    """Which run of which kernel, and which pid namespace in it: where a pid means the same process."""
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
