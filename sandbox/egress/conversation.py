"""What is said on one connection from the sandbox, from its first byte to its last."""

from __future__ import annotations

from contextlib import suppress

from mulligan.sandbox.egress import tunnel
from mulligan.sandbox.egress.answers import turn_away
from mulligan.sandbox.egress.errors import Denied, Refused, Turned
from mulligan.sandbox.egress.exchange import Exchanges, Inside, asked_in
from mulligan.sandbox.egress.heads import Head, read_request
from mulligan.sandbox.egress.parts import Parts
from mulligan.sandbox.egress.wire import Gone, Wire


class Conversation:
    def __init__(self, parts: Parts, wire: Wire) -> None:
        self._parts = parts
        self.wire = wire  # another one, once a tunnel is looked into
        self._inside: Inside | None = None

    def hold(self) -> None:
        """Returns when it has ended, however that came."""
        exchanges = Exchanges(self._parts, self.wire)
        try:
            with suppress(Gone):
                while self._next(exchanges):
                    if self._entered(exchanges):
                        exchanges.leave()
                        exchanges = Exchanges(self._parts, self.wire)
        finally:
            exchanges.leave()

    def _entered(self, exchanges: Exchanges) -> bool:
        """Whether a tunnel was entered with the last request: on its wire the rest is said."""
        return exchanges.wire is not self.wire

    def _next(self, exchanges: Exchanges) -> bool:
        """Whether there may be more to say. Raises Gone."""
        head: Head | None = None
        try:
            head = read_request(self.wire, self._parts.bounds)
            if head is None:
                return False
            if head.method == "CONNECT":
                return self._tunnel(head)
            return exchanges.carry(head, asked_in(head, self._inside))
        except Turned as turned:
            if isinstance(turned, Denied):
                self._parts.journal.denied(turned.asked, turned.judgement)
            return self._turn_away(head, turned)

    def _tunnel(self, head: Head) -> bool:
        if self._inside is not None:
            raise Refused("there is no tunnel within a tunnel")
        entered = tunnel.enter(self._parts, self.wire, head)
        if entered is None:
            return False
        self.wire, self._inside = entered
        return True

    def _turn_away(self, head: Head | None, turned: Turned) -> bool:
        """Where a body may be under way, it is not read: the connection ends with the answer."""
        close = head is None or head.close or head.has_body or head.method == "CONNECT" or turned.status < 403
        turn_away(self.wire, turned, close=close, bodiless=head is not None and head.method == "HEAD")
        if close:
            self.wire.linger()
        return not close
