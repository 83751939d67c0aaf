"""The processes of the sandbox, as the kernel tells of them: no process is asked about itself.

A process is named by (pid, start time), since a pid may be used again.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable

Identity = tuple[int, int]


def read(path: str | int) -> bytes:
    """A whole file of /proc, without the layers of `open`, which cost more than the reading. A descriptor is read from
    where it stands, and stays open."""
    if isinstance(path, int):
        pieces = []
        while piece := os.read(path, 1 << 16):
            pieces.append(piece)
        return b"".join(pieces)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return read(descriptor)
    finally:
        os.close(descriptor)


def identity(pid: int) -> Identity | None:
    """(pid, start time in clock ticks since boot), or None when it is gone or only a zombie.

    A process whose first thread has ended looks like a zombie while its other threads run on: it is alive.
    """
    try:
        fields = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    gone = fields[0] == b"X" or (fields[0] == b"Z" and int(fields[17]) < 2)
    return None if gone else (pid, int(fields[19]))


def started(pid: int) -> int:
    """Start time, also of a zombie; 0 when there is no such process."""
    try:
        return int(read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def everyone(but: Iterable[int] = ()) -> list[Identity]:
    """Every living process of this pid namespace except this one and `but`."""
    without = {os.getpid(), *but}
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [found for pid in pids if pid not in without and (found := identity(pid)) is not None]


def stop(but: Iterable[int], patience: float = 1.0) -> list[Identity]:
    """Stop every process but these and those that are stopped already; which they were. Again and again until a
    look finds no new one and each thread has come to rest, for `patience` seconds: a process may fork faster than we
    walk, and a thread first ends the system call that it is in."""
    but, deadline = set(but), time.monotonic() + patience
    stopped: dict[Identity, None] = {}
    while True:
        fresh = [found for found in everyone(but) if found not in stopped and not _is_stopped(found[0])]
        for pid, _ in fresh:
            _signal(pid, signal.SIGSTOP)
        stopped.update(dict.fromkeys(fresh))
        if time.monotonic() > deadline or (not fresh and all(_is_stopped(pid) for pid, _ in stopped)):
            return list(stopped)
        if not fresh:
            time.sleep(0.0002)


def was_stopped(pid: int) -> bool:
    """Whether a signal has stopped it."""
    try:
        return read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[0] == b"T"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _is_stopped(pid: int) -> bool:
    """Whether no thread of a process runs, or it is gone."""
    try:
        tasks = [read(f"/proc/{pid}/task/{task}/stat") for task in os.listdir(f"/proc/{pid}/task")]
    except (FileNotFoundError, ProcessLookupError):
        return not os.path.exists(f"/proc/{pid}")
    return all(stat.rpartition(b")")[2].split()[0] in b"TtZX" for stat in tasks)


def end(keep: set[Identity], but: Iterable[int], patience: float = 5.0) -> list[Identity]:
    """Kill every process that is neither in `keep` nor in `but`; those that outlive `patience` seconds."""
    deadline = time.monotonic() + patience
    return wait_for(kill(keep, but, patience), deadline)


def kill(keep: set[Identity], but: Iterable[int], patience: float = 5.0) -> list[Identity]:
    """Kill every process that is neither in `keep` nor in `but`; which they were. When it returns they run no code
    any more, but for what `patience` seconds were too short for; they may still be giving back what they held.

    All are stopped before any is killed, again and again until a look finds no new one: otherwise a process
    that forks faster than we walk would get away.
    """
    but, deadline = set(but), time.monotonic() + patience
    stopped: dict[Identity, None] = {}
    killed: dict[Identity, None] = {}
    while True:
        fresh = [found for found in everyone(but) if found not in keep and found not in stopped]
        for pid, _ in fresh:
            _signal(pid, signal.SIGSTOP)
        stopped.update(dict.fromkeys(fresh))
        late = time.monotonic() > deadline
        if fresh and not late:
            continue
        rest = [found for found in stopped if found not in killed]
        for pid, _ in rest:
            _signal(pid, signal.SIGKILL)
        killed.update(dict.fromkeys(rest))
        _see_through(rest, deadline)
        if late or not rest:
            return list(killed)


def _see_through(killed: list[Identity], deadline: float) -> None:
    """Wait until none of these runs code any more. Ever more rarely: many that die need the processor themselves."""
    pause = 0.0001
    while killed := [found for found in killed if not is_through(found[0])]:
        if time.monotonic() > deadline:
            return
        time.sleep(pause)
        pause = min(2 * pause, 0.02)


def is_through(pid: int) -> bool:
    """Whether no thread of a process has memory any more: then none runs a program, nor writes what it had mapped."""
    try:
        tasks = [read(f"/proc/{pid}/task/{task}/stat") for task in os.listdir(f"/proc/{pid}/task")]
    except (FileNotFoundError, ProcessLookupError):
        return not os.path.exists(f"/proc/{pid}")
    return not any(int(stat.rpartition(b")")[2].split()[20]) for stat in tasks)


def wait_for(killed: list[Identity], deadline: float) -> list[Identity]:
    """Until these have died; which have not by then, and a second from now. A zombie is dead."""
    deadline = max(deadline, time.monotonic() + 1.0)  # at least once, however busy the machine is
    for found in killed:
        try:
            descriptor = os.pidfd_open(found[0])
        except OSError:
            continue
        try:
            if identity(found[0]) == found:
                select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        finally:
            os.close(descriptor)
    return [found for found in killed if identity(found[0]) == found]


def hear_of_children() -> int:
    """A descriptor that can be read when a child of this process has died or stopped. To be called once."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading


def drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 1 << 12):
            pass
    except BlockingIOError:
        pass


def reap() -> dict[int, int]:
    """Collect what has died: pid -> wait status."""
    dead: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return dead
        if pid == 0:
            return dead
        dead[pid] = status


def signal_all(identities: Iterable[Identity], number: signal.Signals) -> None:
    for pid, start in identities:
        if identity(pid) == (pid, start):
            _signal(pid, number)


def signal_group(group: int, number: signal.Signals) -> bool:
    """Whether there is a process in it."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def spent() -> tuple[float, int]:
    """Seconds of processor time of all processes of this namespace that live, with those of their children that have
    died and were waited for; and how many threads there are."""
    ticks = threads = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks += sum(map(int, fields[11:15]))
        threads += int(fields[17])
    return ticks / os.sysconf("SC_CLK_TCK"), threads


def name(pid: int) -> str:
    """What it calls itself, bounded; chosen by the process, so only for showing."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as line:
            words = line.read(200).replace(b"\0", b" ").strip()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        words = b""
    return f"{pid} {words.decode(errors='replace')}".strip()


def resident(pid: int) -> int:
    """Bytes of memory that a process answers for, a shared page divided among its holders (Pss); of one that may
    not be looked into, its anonymous and shared pages. 0 when it is gone."""
    return field_sum(f"/proc/{pid}/smaps_rollup", (b"Pss:",)) or field_sum(
        f"/proc/{pid}/status", (b"RssAnon:", b"RssShmem:")
    )


def written(pid: int) -> int:
    """Bytes that a process, and children of it that have died, have written in pages of 4 KiB that were not their own,
    ever: a page fault each. 0 when it is gone."""
    try:
        fields = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(map(int, fields[7:11])) * 4096


def field_sum(path: str | int, names: tuple[bytes, ...]) -> int:
    """Bytes in the lines of a file of /proc that begin so, whose numbers are KiB; 0 when it cannot be read."""
    try:
        lines = read(path).splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(names))
