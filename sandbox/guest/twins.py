"""The supervisor's record of the twins: which there are, which are expected, which have died.

A twin's pid is not taken from the worker: its first word comes with credentials that the kernel fills in
(SCM_CREDENTIALS), and its life is followed by a pidfd.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

from . import channel, processes
from .processes import Identity
from .signing import Request

#: seconds that a twin has to speak; it does in milliseconds, or never
PATIENCE = 10.0
#: and where nothing else can go on before it has spoken
PATIENT = 5.0


class Twin:
    def __init__(self, pid: int, sock: socket.socket, of: Pending | Twin) -> None:
        """Raises ProcessLookupError when it has died already."""
        self.pid = pid
        #: bytes that it holds by itself, at the most
        self.private: int = of.private
        self.pidfd = os.pidfd_open(pid)
        self.start = processes.started(pid)
        self.sock = sock
        #: the processes of user code that were there when it fell asleep; a restore spares them
        self.bystanders: list[Identity] = of.bystanders
        #: whether it has locks on files, and takes them again when it wakes
        self.locks: bool = of.locks
        #: whether all files that it has mapped are such as nobody can write or replace
        self.still: bool = of.still
        #: the inodes of its sockets, where it has any of its own
        self.sockets: set[int] = of.sockets

    def alive(self) -> bool:
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        os.close(self.pidfd)


class Pending:
    """A checkpoint that was asked for: it is there when its twin has spoken and the worker goes on."""

    def __init__(self, name: str, request: Request, sock: socket.socket, bystanders: list[Identity]) -> None:
        self.name, self.request, self.sock, self.bystanders = name, request, sock, bystanders
        self.seen: dict[str, Any] = {}
        self.private = 0
        self.locks = self.still = False
        self.sockets: set[int] = set()
        #: nothing but the worker's one thread could have written files since, and that is idle
        self.quiet = False
        #: it is not idle: its event loop or a timer runs code
        self.restless = False
        self.reader = channel.Reader(sock, credentials=True)
        self.pid = 0
        self.confession: bytes | None = None
        self.since = time.monotonic()
        self.hung_up = False

    @property
    def complete(self) -> bool:
        return bool(self.pid) and self.confession is not None

    def report(self) -> dict[str, Any]:
        """For the reply: what was seen from outside, and the worker's own words, marked as such."""
        try:
            said = json.loads(self.confession or b"{}")
        except (ValueError, RecursionError):
            said = {}
        children = [processes.name(pid) for pid, _ in self.bystanders]
        return {
            "seconds": time.monotonic() - self.since,
            "seen": {**self.seen, "children": children[:50]},
            "said": said if isinstance(said, dict) else {},
        }


class Twins:
    def __init__(self) -> None:
        self._twins: dict[str, Twin] = {}
        self._pending: dict[str, Pending] = {}
        #: the successor of a twin that was woken has yet to speak
        self._heirs: dict[str, tuple[socket.socket, channel.Reader, Twin]] = {}
        #: discarded twins that are not collected yet; whoever forked one does that
        self._graves: set[Identity] = set()
        self._shrunk: list[str] = []
        #: of their pidfds: one that is closed leaves by itself
        self._deaths = select.epoll()

    def knows(self, name: str) -> bool:
        return name in self._twins or name in self._pending or name in self._heirs

    def get(self, name: str) -> Twin | None:
        if name in self._heirs:
            self.hear(wait=True)
        return self._twins.get(name)

    def pids(self) -> set[int]:
        """Every process that must be spared when the others are killed."""
        self.hear(wait=True)
        self._graves = {(pid, start) for pid, start in self._graves if processes.started(pid) == start}
        dead = self._ended()
        pending = {each.pid for each in self._pending.values() if each.pid}
        return pending | {
            *(twin.pid for twin in self._twins.values() if twin.pidfd not in dead),
            *(pid for pid, _ in self._graves),
        }

    def living(self) -> Iterator[tuple[str, Twin]]:
        return ((name, twin) for name, twin in self._twins.items() if twin.alive())

    def sockets(self) -> set[int]:
        """The inodes of those that sleeping twins hold."""
        return set().union(*(twin.sockets for twin in self._twins.values()))

    def dead(self) -> list[str]:
        """Names of twins that were killed, or discarded to save memory; they are forgotten with this call."""
        ended = self._ended()
        dead = [name for name, twin in self._twins.items() if twin.pidfd in ended] if ended else []
        self.discard(dead)
        shrunk, self._shrunk = self._shrunk, []
        return dead + shrunk

    def expect(self, pending: Pending) -> None:
        self._pending[pending.name] = pending

    def said(self, name: bytes, confession: bytes) -> None:
        pending = self._pending.get(name.decode("utf-8", "replace"))
        if pending is not None:
            pending.confession = confession

    def give_up(self, name: bytes) -> Pending | None:
        pending = self._pending.pop(name.decode("utf-8", "replace"), None)
        if pending is not None:
            pending.sock.close()
        return pending

    def listening(self) -> list[socket.socket]:
        silent = [each.sock for each in self._pending.values() if not each.pid and not each.hung_up]
        return silent + [sock for sock, _, _ in self._heirs.values()]

    def hear(self, *, wait: bool = False) -> None:
        """Take in first words. `wait` for those that are due, bounded: they come in milliseconds or never."""
        for pending in self._pending.values():
            if not pending.pid and not pending.hung_up:
                forked = pending.confession is not None
                pid = _first_word(pending.reader, pending.sock if wait and forked else None)
                pending.pid, pending.hung_up = pid or 0, pid is None
        for name, (sock, reader, before) in list(self._heirs.items()):
            pid = _first_word(reader, sock if wait else None)
            if pid:
                del self._heirs[name]
                self._add(name, pid, sock, before)
            elif wait or pid is None:
                del self._heirs[name]
                sock.close()

    def wait(self) -> float | None:
        """Seconds until a checkpoint that was asked for is complete or given up; None when none is under way."""
        if not self._pending:
            return None
        if any(each.complete or each.hung_up for each in self._pending.values()):
            return 0.0
        return max(0.0, min(each.since for each in self._pending.values()) + PATIENCE - time.monotonic())

    def stillborn(self) -> list[Pending]:
        """Give up the checkpoints whose twin has hung up, or that have taken too long."""
        late = time.monotonic() - PATIENCE
        gone = [each for each in self._pending.values() if each.hung_up or each.since <= late]
        for pending in gone:
            del self._pending[pending.name]
            pending.sock.close()
        return gone

    def shrink(self, most: int, little: int, *, busy: bool) -> bool:
        """Discard twins until those after the very first hold at most `most` bytes by themselves: the newest where it
        alone is more, as all others would go in vain, and then the oldest. What holds no more than `little` stays
        while nothing runs; while the worker is `busy`, of that the newest, and False if it still is too much."""
        later = list(self._twins)[1:]
        if later and self._twins[later[-1]].private > max(most, little):
            self._give_up(later.pop())
        while (held := sum(self._twins[name].private for name in later)) > most:
            if held <= little and (not busy or len(later) == 1):
                return not busy
            self._give_up(later.pop(0))
        return True

    def _give_up(self, name: str) -> None:
        self._shrunk.append(name)
        self.discard([name])

    def shed(self, count: int) -> None:
        """Discard so many of the oldest twins, but neither the very first nor the newest."""
        oldest = list(self._twins)[1:-1][:count]
        self._shrunk += oldest
        self.discard(oldest)

    def shed_half(self) -> None:
        self.shed(len(self._twins) // 2)

    def settle(self, worker: int) -> Iterator[tuple[Pending, Twin | None]]:
        """The checkpoints that are complete; with None when what spoke cannot be a twin."""
        for name, pending in list(self._pending.items()):
            if not pending.complete:
                continue
            del self._pending[name]
            known = {worker, os.getpid(), *(twin.pid for twin in self._twins.values())}
            if pending.pid in known:
                pending.sock.close()
                yield pending, None
            else:
                yield pending, self._add(name, pending.pid, pending.sock, pending)

    def _add(self, name: str, pid: int, sock: socket.socket, of: Pending | Twin) -> Twin | None:
        try:
            self._twins[name] = Twin(pid, sock, of)
        except ProcessLookupError:
            sock.close()
            return None
        self._deaths.register(self._twins[name].pidfd, select.EPOLLIN)
        return self._twins[name]

    def _ended(self) -> set[int]:
        """The pidfds of those that are not alive any more."""
        return {pidfd for pidfd, _ in self._deaths.poll(0)}

    def succeed(self, name: str, sock: socket.socket) -> None:
        """A twin wakes and leaves another in its place, which will speak on `sock`."""
        twin = self._twins.pop(name)
        twin.close()
        self._heirs[name] = (sock, channel.Reader(sock, credentials=True), twin)

    def forget_pending(self) -> list[Pending]:
        """Give up what was expected: the worker is dead, or about to be."""
        pending, self._pending = list(self._pending.values()), {}
        for each in pending:
            each.sock.close()
        return pending

    def discard(self, names: list[str]) -> None:
        if any(name in self._heirs for name in names):
            self.hear(wait=True)
        for name in names:
            twin = self._twins.pop(name, None)
            if twin is None:
                continue
            try:
                signal.pidfd_send_signal(twin.pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self._graves.add((twin.pid, twin.start))
            twin.sock.close()
            twin.close()


def _first_word(reader: channel.Reader, wait_on: socket.socket | None = None) -> int | None:
    """The pid of the process that said FROZEN, as the kernel tells it; 0 when nothing came, None when nothing
    will."""
    if wait_on is not None:
        select.select([wait_on], [], [], PATIENT)
    try:
        message = reader.receive()
    except (EOFError, channel.Garbled):
        return None
    if message is None or message.kind != channel.FROZEN:
        return 0
    for fd in message.fds:
        os.close(fd)
    return message.pid
