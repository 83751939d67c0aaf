"""Connections to the world that are not used now, for the next request that only asks.

One is used again for what it was dialled for and nothing else: the same host and port, with TLS or without, and under
rules that let it lead to where it leads. What spoke for somebody on it, a secret or an Authorization, some servers
take as said for all that follows: such a connection is never kept.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from mulligan.sandbox.egress.wire import Wire

#: connections that are kept, and seconds; a server that closes one earlier is noticed
MOST, LONGEST = 64, 15.0


@dataclass(frozen=True, slots=True)
class End:
    """`private`: the rules let it lie in a private network, or on this host."""

    secured: bool
    private: bool
    host: str
    port: int


class Kept:
    """From any thread. Whoever takes a wire owns it."""

    def __init__(self) -> None:
        self._wires: OrderedDict[Wire, tuple[End, float]] = OrderedDict()  # the oldest first
        self._lock = threading.Lock()

    def put(self, end: End, wire: Wire) -> list[Wire]:
        """Those that are kept no longer, to be closed."""
        now = time.monotonic()
        with self._lock:
            self._wires[wire] = (end, now)
            over = len(self._wires) - MOST
            gone = [
                each
                for at, (each, (_, since)) in enumerate(self._wires.items())
                if at < over or since + LONGEST < now
            ]
            for each in gone:
                del self._wires[each]
            return gone

    def take(self, end: End) -> Wire | None:
        """The one that was used last; it may be stale."""
        with self._lock:
            for wire, (to, since) in reversed(self._wires.items()):
                if to == end and since + LONGEST >= time.monotonic():
                    del self._wires[wire]
                    return wire
        return None

    def take_all(self) -> list[Wire]:
        with self._lock:
            wires = list(self._wires)
            self._wires.clear()
            return wires
