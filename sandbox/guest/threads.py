"""Which threads of a worker stand, and which only have their end before them.

A thread that Python has joined may be there for a moment still, though it runs no more code of the worker's: its own
end takes a few system calls, on a busy machine many milliseconds. What is counted before a fork must have been so at
that moment, so it cannot be looked at again afterwards; it is waited for, a little, before.
"""

from __future__ import annotations

import os
import time

from .processes import read

#: seconds that a thread which runs may take to end, and one that sleeps: that may do so on its way out
RUNNING, SLEEPING = 0.05, 0.002
_EXITING = 0x4  # PF_EXITING of the kernel: no more code of the program's will run


class Threads:
    """Of one worker. What has stood once is not waited for again."""

    def __init__(self) -> None:
        self._known: set[tuple[int, int, int]] = set()

    def any_new(self, pid: int) -> bool:
        try:
            return bool(self._new(pid))
        except OSError:
            return False  # it is gone

    def await_ends(self, pid: int) -> None:
        """Until each new one has ended, or is known to stand. Raises OSError."""
        began = time.monotonic()
        while new := self._new(pid):
            waited = time.monotonic() - began
            if waited > RUNNING or (waited > SLEEPING and b"R" not in new.values()):
                self._known = {*_all(pid)}
                return
            time.sleep(0.0002)

    def _new(self, pid: int) -> dict[tuple[int, int, int], bytes]:
        tasks = _all(pid)
        return {task: state for task, state in tasks.items() if task not in self._known}


def count(pid: int) -> int:
    """How many stand, the first not counted. Raises OSError."""
    return len(_all(pid))


def _all(pid: int) -> dict[tuple[int, int, int], bytes]:
    """Process, number and start of each but the first that is not at its end, and its state."""
    found: dict[tuple[int, int, int], bytes] = {}
    if os.stat(f"/proc/{pid}/task").st_nlink == 3:  # two links are the folder's own
        return found
    for task in os.listdir(f"/proc/{pid}/task"):
        if int(task) == pid:
            continue
        try:
            fields = read(f"/proc/{pid}/task/{task}/stat").rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if not int(fields[6]) & _EXITING:
            found[pid, int(task), int(fields[19])] = fields[0]
    return found
