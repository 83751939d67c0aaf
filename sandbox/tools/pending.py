"""Calls that are under way. Nobody waits for one without end: whoever made it may go, its time may run out, and all of
them may be cut off. A function that runs on all the same is left to itself, and that is told."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Literal

#: seconds between two looks at the time
TICK = 0.5

Reason = Literal["gone", "late", "cut"]


class Pending:
    """One call under way; whoever settles it first decides what is said of it."""

    def __init__(self, sock: socket.socket, wall: float, left: Callable[[Pending, Reason], None]) -> None:
        self.sock, self.wall = sock, wall
        self.descriptor = sock.fileno()
        self.started = time.monotonic()
        self.future: Future[Any] | None = None
        self._left = left
        self._settled = False
        self._lock = threading.Lock()

    def settle(self) -> bool:
        """Whether that is for the caller to do, and was not done."""
        with self._lock:
            first, self._settled = not self._settled, True
            return first

    def leave(self, why: Reason) -> None:
        if self.settle():
            self._left(self, why)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


class Watch:
    """Over all calls of a session, on a thread of its own that begins with the first of them."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._pending: dict[int, Pending] = {}
        self._lock = threading.Lock()
        self._begun = self._closed = False

    def add(self, pending: Pending) -> None:
        with self._lock:
            if self._closed:
                raise RuntimeError("the session is being closed")
            self._pending[pending.descriptor] = pending
            self._epoll.register(pending.descriptor, select.EPOLLRDHUP)
            if not self._begun:
                self._begun = True
                threading.Thread(target=self._look, name="mulligan-tools", daemon=True).start()

    def remove(self, pending: Pending) -> None:
        """Before its socket is closed."""
        with self._lock:
            if self._pending.get(pending.descriptor) is pending:
                self._forget(pending.descriptor)

    def _forget(self, descriptor: int) -> None:
        del self._pending[descriptor]
        if not self._closed:
            with suppress(OSError):
                self._epoll.unregister(descriptor)

    def cut(self) -> int:
        """Leave all that are under way; how many those were."""
        with self._lock:
            cut = list(self._pending.values())
        for pending in cut:
            pending.leave("cut")
        return len(cut)

    def close(self) -> None:
        self.cut()
        with self._lock:
            self._closed = True
            if not self._begun:
                self._epoll.close()

    def _look(self) -> None:
        while not self._closed:
            gone = {descriptor for descriptor, _ in self._epoll.poll(TICK)}
            with self._lock:
                pending = list(self._pending.items())
                for descriptor in gone & set(self._pending):
                    self._epoll.modify(descriptor, 0)  # it would be told without end
            for descriptor, each in pending:
                if descriptor in gone:
                    each.leave("gone")
                elif each.seconds > each.wall:
                    each.leave("late")
        self._epoll.close()
