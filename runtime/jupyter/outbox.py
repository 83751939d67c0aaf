"""What waits to be sent to the clients, within bounds.

Output that the clients do not take as fast as it comes holds the sandbox up: nothing is lost. Where they take nothing
at all for a while, output is left out and counted, so that a client that hangs neither stops the work nor fills the
host. Statuses and replies always go out: there are as many as a client has asked for.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

#: bytes that may wait here before the sandbox is held up, or else output is left out
BOUND = 64 << 20
#: seconds without progress after which nobody is waited for any more
STALLED = 10.0
#: what a message costs besides its bytes
_OVERHEAD = 1000


class Parcel(NamedTuple):
    channel: str
    frames: list[bytes]
    size: int


class Outbox:
    """Filled from any thread, emptied by one. `wake` tells that one."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._waiting: deque[Parcel] = deque()
        self._size = 0
        self._moved = time.monotonic()
        self._left_out = 0

    def put(self, channel: str, frames: list[bytes], *, output: bool = False) -> None:
        """`output` may be left out where the clients take nothing."""
        size = sum(map(len, frames)) + _OVERHEAD
        with self._lock:
            if not self._waiting:
                self._moved = time.monotonic()
            if output and self._size > BOUND:
                self._left_out += 1
                return
            self._waiting.append(Parcel(channel, frames, size))
            self._size += size
        self._wake()

    def is_full(self) -> bool:
        """Whether the sandbox is to be held up."""
        return self._size > BOUND and not self._stalled()

    def _stalled(self) -> bool:
        return time.monotonic() - self._moved > STALLED

    def left_out(self) -> int:
        """How many messages were left out since it was asked last."""
        with self._lock:
            count, self._left_out = self._left_out, 0
        return count

    def first(self) -> Parcel | None:
        with self._lock:
            return self._waiting[0] if self._waiting else None

    def sent(self) -> None:
        """The first is gone."""
        with self._lock:
            self._size -= self._waiting.popleft().size
            self._moved = time.monotonic()
