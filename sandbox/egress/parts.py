"""What all connections of one session share, and the one question that comes before anything leaves."""

from __future__ import annotations

import socket
import ssl
import threading
from dataclasses import dataclass, field, replace

from mulligan.sandbox.egress.authority import Authority
from mulligan.sandbox.egress.bounds import Bounds, Meter
from mulligan.sandbox.egress.dialing import Resolve, dial
from mulligan.sandbox.egress.errors import Denied, Failed, Refused
from mulligan.sandbox.egress.hosts import is_address
from mulligan.sandbox.egress.judgement import Asked, Journal, Judge, Judgement
from mulligan.sandbox.egress.paths import readings
from mulligan.sandbox.egress.wire import Wire

_BROKEN = Judgement(
    allowed=False, rule="network", reason="the rules could not be asked", instead="tell whoever wrote them"
)


class Live:
    """The wires that are open, so that all can be cut at once."""

    def __init__(self) -> None:
        self._wires: set[Wire] = set()
        self._lock = threading.Lock()

    def add(self, wire: Wire) -> None:
        with self._lock:
            self._wires.add(wire)

    def remove(self, wire: Wire) -> None:
        with self._lock:
            self._wires.discard(wire)
            wire.close()

    def replace(self, wire: Wire, by: Wire) -> None:
        with self._lock:
            self._wires.discard(wire)
            self._wires.add(by)
            if wire.is_cut:
                by.cut()

    def cut(self) -> None:
        with self._lock:
            for wire in self._wires:
                wire.cut()


@dataclass(slots=True)
class Parts:
    judge: Judge
    journal: Journal
    bounds: Bounds
    resolve: Resolve
    context: ssl.SSLContext
    authority: Authority
    meter: Meter
    live: Live = field(default_factory=Live)

    def allow(self, asked: Asked) -> Judgement:
        """The judgement of a request that may leave. Raises Denied for one that may not, however its path is read."""
        self.count()
        paths = readings(asked.path) if asked.path else ("",)
        found = [self._ask(asked.read_as(path)) for path in paths]
        for judgement in found:
            if not judgement.allowed:
                raise Denied(asked, judgement)
        return replace(found[0], private=all(each.private for each in found))

    def count(self) -> None:
        """One more request, or tunnel. Raises Refused where there are too many."""
        if not self.meter.take():
            raise Refused("too many requests: slow down", 429)

    def dial(self, asked: Asked, judgement: Judgement) -> socket.socket:
        """As `dialing.dial`. A name that no rule spells out was chosen by whoever asks, and looking it up tells it to
        whoever answers for it: that is on record before it is done."""
        if not judgement.private and not is_address(asked.host):
            try:
                self.journal.looking_up(asked, judgement)
            except Exception as error:
                raise _unrecorded() from error
        return dial(asked, judgement, self.resolve)

    def _ask(self, asked: Asked) -> Judgement:
        try:
            return self.judge.judge(asked)
        except Exception:
            return _BROKEN

    def needs_inside(self, host: str, port: int) -> bool:
        """Where that cannot be said, each request is looked at and judged."""
        try:
            return self.judge.needs_inside(host, port)
        except Exception:
            return True

    def leaving(self, asked: Asked, judgement: Judgement) -> int:
        try:
            return self.journal.leaving(asked, judgement)
        except Exception as error:
            raise _unrecorded() from error


def _unrecorded() -> Failed:
    return Failed("it could not be recorded, so it was not sent", 503)
