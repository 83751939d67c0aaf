"""What all connections of one session share, and the one question that comes before anything leaves."""

from __future__ import annotations

import socket
import ssl
import threading
from dataclasses import dataclass, field, replace

from mulligan.sandbox.egress.authority import Authority
from mulligan.sandbox.egress.bodies import beginning
from mulligan.sandbox.egress.bounds import Allowance, Bounds, Meter
from mulligan.sandbox.egress.dialing import Resolve, dial
from mulligan.sandbox.egress.errors import Denied, Failed, Refused
from mulligan.sandbox.egress.heads import Head
from mulligan.sandbox.egress.hosts import is_address
from mulligan.sandbox.egress.judgement import (
    Approver,
    Asked,
    Full,
    Journal,
    Judge,
    Judgement,
    Keeper,
    Parcel,
)
from mulligan.sandbox.egress.kept import Kept
from mulligan.sandbox.egress.paths import readings
from mulligan.sandbox.egress.secrets import Secrets
from mulligan.sandbox.egress.wire import Gone, Wire

_BROKEN = Judgement(
    allowed=False, rule="network", reason="the rules could not be asked", instead="tell whoever wrote them"
)
_BOTH = "one rule holds it and another asks about it: it can be read in both ways"


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
    out: Allowance
    approver: Approver | None = None
    keeper: Keeper | None = None
    secrets: Secrets = field(default_factory=Secrets)
    live: Live = field(default_factory=Live)
    kept: Kept = field(default_factory=Kept)

    def allow(self, asked: Asked, wire: Wire, head: Head) -> Judgement:
        """The judgement of a request that may leave. Raises Denied for one that may not, however its path is read;
        Gone where whoever sent it does not wait until a person has answered."""
        self.count()
        judgement = self.judged(asked)
        return self._approved(asked, judgement, wire, head) if judgement.asks else judgement

    def judged(self, asked: Asked) -> Judgement:
        """What the rules say of a request, however its path is read: it is allowed, asked about or held. Raises
        Denied."""
        paths = readings(asked.path) if asked.path else ("",)
        found = [self._ask(asked.read_as(path)) for path in paths]
        for judgement in found:
            if not (judgement.allowed or judgement.asks or judgement.holds):
                raise Denied(asked, judgement)
        private = all(each.private for each in found)
        uses = frozenset.intersection(*(each.uses for each in found))
        strict = [each for each in found if each.asks] or [each for each in found if each.holds]
        if strict and any(each.holds for each in found) and strict[0].asks:
            raise Denied(asked, replace(strict[0], asks=False, reason=_BOTH))
        return replace(_together(strict) if strict else found[0], private=private, uses=uses)

    def _approved(self, asked: Asked, judgement: Judgement, wire: Wire, head: Head) -> Judgement:
        if self.approver is None:
            raise Denied(asked, judgement)
        preview = beginning(wire, head)
        try:
            found = self.approver.approve(asked, judgement, preview, wire.hung_up)
        except Exception:
            found = _BROKEN
        if not found.allowed:
            raise Denied(asked, found)
        if wire.hung_up():
            raise Gone("whoever asked has hung up")
        return replace(found, private=judgement.private, uses=judgement.uses)

    def cut(self) -> None:
        """Every connection, those that nobody uses now too."""
        self.live.cut()
        for wire in self.kept.take_all():
            self.live.remove(wire)

    def count(self) -> None:
        """One more request, or tunnel. Raises Refused where there are too many."""
        if not self.meter.take():
            raise Refused("too many requests: slow down", 429)

    def check_out(self, asked: Asked, count: int) -> None:
        """That so many bytes may still go out; they are not taken yet. Raises Denied."""
        if not self.out.holds(count):
            raise self._too_much(asked)

    def take_out(self, asked: Asked, count: int) -> None:
        """So many bytes go out now. Raises Denied."""
        if not self.out.take(count):
            raise self._too_much(asked)

    def _too_much(self, asked: Asked) -> Denied:
        why = f"no more than {self.bounds.out:,} bytes leave in a session"
        return Denied(
            asked, Judgement(allowed=False, rule="budgets.bytes_out", reason=why, instead="send less")
        )

    def dial(self, asked: Asked, judgement: Judgement) -> socket.socket:
        """As `dialing.dial`. A name that no rule spells out was chosen by whoever asks, and looking it up tells it to
        whoever answers for it: that is on record before it is done."""
        if not judgement.private and not is_address(asked.host):
            try:
                self.journal.looking_up(asked, judgement)
            except Exception as error:
                raise _unrecorded() from error
        return dial(asked, judgement, self.resolve)

    def keep(self, parcel: Parcel, judgement: Judgement) -> int:
        if self.keeper is None:
            raise Denied(parcel.asked, replace(judgement, reason="nothing is held here", holds=False))
        try:
            return self.keeper.keep(parcel, judgement)
        except Full as full:
            raise Denied(parcel.asked, full.judgement) from full
        except Exception as error:
            raise Failed("it could not be recorded, so it is not held", 503) from error

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
        except Full as full:
            raise Denied(asked, full.judgement) from full
        except Exception as error:
            raise _unrecorded() from error


def _together(asking: list[Judgement]) -> Judgement:
    """Of a path that can be read in several ways, what is asked about them all; its answer covers nothing else."""
    first = asking[0]
    if all(
        (each.rule, each.reason, each.scope) == (first.rule, first.reason, first.scope) for each in asking
    ):
        return replace(first, lasts=all(each.lasts for each in asking))
    rules, reasons = (dict.fromkeys(each) for each in zip(*((j.rule, j.reason) for j in asking), strict=True))
    return replace(first, rule="; ".join(rules), reason="; ".join(reasons), scope="", lasts=False)


def _unrecorded() -> Failed:
    return Failed("it could not be recorded, so it was not sent", 503)
