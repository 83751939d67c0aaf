"""What of a worker a fork cannot carry, as the kernel tells it.

The supervisor looks from outside: the worker runs hostile code and could leave out what it likes.
"""

from __future__ import annotations

import os
import re
from collections import deque
from typing import Any

from . import processes
from . import threads as threads_of
from .active import Active

#: libraries whose thread pools start again by themselves in a forked child (OpenBLAS by its fork handlers, the
#: OpenMP runtimes because the worker pauses them)
_POOLS = (b"openblas", b"libgomp", b"libomp", b"libiomp", b"libmkl")
_ANONYMOUS = ("eventpoll", "eventfd", "timerfd", "signalfd", "inotify")
_MOST = 50
_MOST_MAPPED = 1000
_NO_FILE = ("/dev/zero", "/memfd:", "/SYSV")


class Known:
    """What the last surveys found in a worker's memory, and whether it must still be so.

    A shared mapping is only made by calls that are counted, and a count that has not moved since the survey before the
    last says that the last one saw all there is: a call that is counted may be made just after a survey.
    """

    def __init__(self) -> None:
        self._worker: Active | None = None
        self._counts: deque[int] = deque([-1, -1], maxlen=2)
        self._threads = -1
        self._found: dict[str, Any] | None = None

    def recall(self, worker: Active, count: int, threads: int) -> dict[str, Any] | None:
        """What a look at the maps would find; None where one has to look."""
        settled = count >= 0 and set(self._counts) == {count}
        same = worker is self._worker and threads == self._threads
        return self._found if settled and same else None

    def note(self, worker: Active, count: int, threads: int, found: dict[str, Any] | None) -> None:
        """What a look at the maps has found; None where it may be otherwise the next time, whatever is counted."""
        if worker is not self._worker:
            self._counts.append(-1)
        self._counts.append(count)
        self._worker, self._threads = worker, threads
        self._found = found


class Survey:
    """A look at a worker about to be asked to fork. It is opened before, as the worker does not let itself be looked
    at while it forks; its memory is read meanwhile, unless what is `known` of it tells enough. `count` is that of
    shared maps that were asked for. `seen` has counts and names, bounded; `locks`: it has one on a file, perhaps;
    `sockets`: their inodes; `still`: no file of its shared maps can become another."""

    def __init__(self, worker: Active, known: Known, count: int, *, private: bool) -> None:
        self.seen: dict[str, Any] = {}
        self._worker, self._known, self._count = worker, known, count
        pid = worker.pid
        self._maps = self._rollup = -1
        self.locks, self.still = True, False
        self.sockets: set[int] = set()
        try:
            self.seen |= _descriptors(pid) | {"timers": _timers(pid)}
            self.locks = bool(self.seen.pop("locks"))
            self.sockets = self.seen.pop("inodes")
            threads = self.seen["threads"] = threads_of.count(pid)
            if (found := known.recall(worker, count, threads)) is not None:
                self.seen |= found
                self.still = True  # only such are known
            else:
                self._maps = os.open(f"/proc/{pid}/maps", os.O_RDONLY | os.O_CLOEXEC)
            if private:
                self._rollup = os.open(f"/proc/{pid}/smaps_rollup", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self.seen["unseen"] = f"the worker does not let itself be looked at ({error.strerror})"

    def private(self) -> int:
        """Bytes of pages that the worker has to itself, where that was asked for: those that it has written since it
        was last forked. As much, at the most, does its newest twin hold that nobody else does. Once it forks there are
        none any more, so this comes first, and the worker has enough to do before."""
        return processes.field_sum(self._rollup, (b"Private_Dirty:",)) if self._rollup >= 0 else 0

    def finish(self) -> None:
        try:
            if self._maps >= 0 and "unseen" not in self.seen:
                maps = processes.read(self._maps)
                found = _of_memory(maps)
                self.still = _none_can_be_written(maps)
                known = found if self.still else None
                self._known.note(self._worker, self._count, self.seen["threads"], known)
                self.seen |= found
        except OSError as error:
            self.seen["unseen"] = f"the worker's memory cannot be looked at ({error.strerror})"
        finally:
            for descriptor in (self._maps, self._rollup):
                if descriptor >= 0:
                    os.close(descriptor)


def _of_memory(maps: bytes) -> dict[str, Any]:
    shared = _shared(maps)
    mapped = sorted(filter(_is_file, shared))
    memory = sorted(path or "anonymous" for path in shared if not _is_file(path))[:_MOST]
    if len(mapped) > _MOST_MAPPED:
        memory.append(f"of more than {_MOST_MAPPED} mapped files")
    return {
        "pool_threads": len(os.sched_getaffinity(0)) * sum(pool in maps for pool in _POOLS),
        "shared_memory": memory,
        "mapped": mapped[:_MOST_MAPPED],
    }


def add_bystanders(seen: dict[str, Any], pids: list[int]) -> None:
    """Add to a survey what other processes can write to without that a watch reports it. One that does not let itself
    be looked at may hold anything, and so may those that are too many to be looked at.
    """
    for pid in pids[:_MOST]:
        try:
            shared = _shared(processes.read(f"/proc/{pid}/maps"))
            ghosts = _descriptors(pid)["ghosts"]
        except (FileNotFoundError, ProcessLookupError):
            continue
        except OSError:
            shared, ghosts = set(), 1
        seen["mapped"] = sorted({*seen.get("mapped", ()), *filter(_is_file, shared)})[:_MOST_MAPPED]
        seen["ghosts"] = seen.get("ghosts", 1) + ghosts
    if len(pids) > _MOST:
        seen["ghosts"] = seen.get("ghosts", 1) + 1


def _descriptors(pid: int) -> dict[str, Any]:
    """`ghosts` are files that are open under a name that they lost, and have another one: what is written to them is
    reported to the folder of the lost name. `locks`: how many files have one; `inodes`: of sockets."""
    kinds = dict.fromkeys(("sockets", "pipes", "devices", *_ANONYMOUS, "other", "ghosts", "locks"), 0)
    deleted, inodes = [], set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue
        if target.startswith("socket:"):
            kinds["sockets"] += 1
            inodes.add(int(target[8:-1]))
        elif target.startswith("pipe:"):
            kinds["pipes"] += 1
        elif target.startswith("anon_inode:"):
            label = target.removeprefix("anon_inode:").strip("[]")
            kinds[label if label in _ANONYMOUS else "other"] += 1
        elif target.startswith("/dev/nvidia"):
            kinds["devices"] += 1
        elif target.endswith(" (deleted)"):
            deleted.append(target[:300])
            kinds["ghosts"] += _has_a_name(f"/proc/{pid}/fd/{name}")
        elif target != "/dev/null":
            kinds["locks"] += _is_locked(f"/proc/{pid}/fdinfo/{name}")
    return {**kinds, "deleted": deleted[:_MOST], "inodes": inodes}


def _is_locked(information: str) -> bool:
    try:
        return b"lock:" in processes.read(information)
    except OSError:
        return False  # closed since it was listed


def _timers(pid: int) -> int:
    """How many timers of `timer_create` a worker has. Python makes none; what does is not known to the worker, and a
    handler that such a timer calls runs, and writes, at any moment."""
    try:
        return processes.read(f"/proc/{pid}/timers").count(b"notify: ")
    except FileNotFoundError:
        return 0  # a kernel that was built without this list


def _has_a_name(descriptor: str) -> bool:
    try:
        return os.stat(descriptor).st_nlink > 0
    except OSError:
        return False  # closed since it was listed


#: a line of /proc/PID/maps whose mapping is shared and writable; its inode and path
_SHARED = re.compile(rb"^\S+ .w.s \S+ \S+ (\d+) *(.*)$", re.MULTILINE)


#: how such a line can be told without a look at each
_MODES = (b"rw-s ", b"rwxs ", b"-w-s ", b"-wxs ")


def _shared(maps: bytes) -> set[str]:
    """What is mapped shared and writable."""
    if not any(mode in maps for mode in _MODES):
        return set()
    found = {(int(inode), os.fsdecode(path)) for inode, path in _SHARED.findall(maps)}
    return {_meant(inode, path) for inode, path in found}


#: a line of /proc/PID/maps whose mapping is shared; its modes, inode and path
_ANY_SHARED = re.compile(rb"^\S+ (...s) \S+ \S+ (\d+) *(.*)$", re.MULTILINE)


def _none_can_be_written(maps: bytes) -> bool:
    """Whether no shared mapping is writable or could be made so: each is of a file where nobody may write any."""
    return all(
        b"w" not in modes and _is_fixed(int(inode), os.fsdecode(path))
        for modes, inode, path in _ANY_SHARED.findall(maps)
    )


def _is_fixed(inode: int, path: str) -> bool:
    """Whether a path leads to this file, on a filesystem that is read-only."""
    try:
        same = os.lstat(path).st_ino == inode
        return same and bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except (OSError, ValueError):
        return False


def _meant(inode: int, path: str) -> str:
    """The path that the kernel wrote: it writes a line break as it writes four other characters."""
    for meant in (path, path.replace("\\012", "\n")):
        try:
            if os.lstat(meant).st_ino == inode:
                return meant
        except (OSError, ValueError):
            continue
    return path


def _is_file(path: str) -> bool:
    """Whether a file stands behind a mapping: its contents are restored with the files."""
    return path.startswith("/") and not path.endswith("(deleted)") and not path.startswith(_NO_FILE)
