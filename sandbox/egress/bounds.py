"""How much of everything one session may ask of the proxy."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Bytes and seconds. Connections beyond `connections` wait to be taken; `connections_kept` without a request are
    for `idle` seconds. A head that is sent slowly has `head_time` altogether, all else `quiet` between two bytes."""

    connections: int = 256
    head: int = 64 * 1024
    headers: int = 100
    upload: int = 4 * GIB
    download: int = 64 * GIB
    head_time: float = 20.0
    quiet: float = 300.0
    idle: float = 60.0
    whole: float = 4 * 3600.0
    #: requests: so many at once, and then so many a second
    burst: int = 10_000
    rate: float = 1_000.0
    #: bytes that may go out altogether, heads of requests and all that is said in tunnels among them; None is no limit
    out: int | None = None


class Allowance:
    """Counts bytes that go out; from any thread."""

    def __init__(self, most: int | None) -> None:
        self._left = most
        self._lock = threading.Lock()

    def take(self, count: int) -> bool:
        """Whether so many more may go out: if so they are taken."""
        with self._lock:
            if self._left is None:
                return True
            if count > self._left:
                return False
            self._left -= count
            return True

    def holds(self, count: int) -> bool:
        with self._lock:
            return self._left is None or count <= self._left


class Meter:
    """Counts requests; from any thread."""

    def __init__(self, bounds: Bounds) -> None:
        self._most, self._rate = float(bounds.burst), bounds.rate
        self._left, self._at = self._most, time.monotonic()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Whether one more may be made now."""
        with self._lock:
            now = time.monotonic()
            self._left = min(self._most, self._left + (now - self._at) * self._rate)
            self._at = now
            if self._left < 1.0:
                return False
            self._left -= 1.0
            return True
