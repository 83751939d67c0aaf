"""How much memory page faults have brought, where that can be told without a look at each page.

A fault brings 4 KiB, unless it brings a huge page, and of those the kernel keeps a count for the whole machine. While
that stands still, what a process was given since it was last asked is at most its faults. To go through its page table
costs as much as the fork.
"""

from __future__ import annotations

import re
import resource

from . import processes

#: more than this is worth an exact look
ENOUGH = 16 << 20
_HUGE = re.compile(rb"^thp_(?:fault|collapse)_alloc (\d+)$", re.MULTILINE)


class Pages:
    """`counted`: the kernel of this machine gives pages of other sizes only as huge pages that it counts."""

    def __init__(self, counted: bool) -> None:
        self._counted = counted
        self._huge: list[bytes] = []
        self._others = 0

    def explain(self, given: int, alone: bool) -> bool:
        """Whether a worker that had faults for so many bytes since this was last asked has not been given more than
        that. `alone`: no other process runs that could share its memory; those that have died were its children or
        ours, and count with it."""
        before, self._huge = self._huge, _huge_pages() if self._counted else []
        others = resource.getrusage(resource.RUSAGE_CHILDREN)
        died, self._others = self._others, others.ru_minflt + others.ru_majflt
        return alone and given <= ENOUGH and died == self._others and self._huge == before != []


def _huge_pages() -> list[bytes]:
    """How many the machine has given out, in each way; nothing where it cannot be known."""
    try:
        return _HUGE.findall(processes.read("/proc/vmstat"))
    except OSError:
        return []
