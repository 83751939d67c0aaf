"""One request after the other of one connection: judged, recorded, sent, answered."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import h11

from mulligan.sandbox.egress.bodies import Piece, pieces
from mulligan.sandbox.egress.dialing import secure
from mulligan.sandbox.egress.errors import Failed, Refused, Turned
from mulligan.sandbox.egress.heads import Head, Headers, read_answer
from mulligan.sandbox.egress.holding import hold
from mulligan.sandbox.egress.hosts import split_authority
from mulligan.sandbox.egress.judgement import DEFAULT_PORTS, Answered, Asked, Journal, Judgement
from mulligan.sandbox.egress.kept import End
from mulligan.sandbox.egress.parts import Parts
from mulligan.sandbox.egress.relay import relay
from mulligan.sandbox.egress.secrets import Secret
from mulligan.sandbox.egress.splicing import can_splice, spliced
from mulligan.sandbox.egress.wire import PIECE, Gone, Wire

_ABSOLUTE = re.compile(r"http://([^/?#]+)(/[^?#]*)?(?:\?([^#]*))?", re.IGNORECASE)
_ORIGIN = re.compile(r"(/[^?#]*)(?:\?([^#]*))?")
#: what is done to the body of an answer on its way
Through = Callable[[Iterator[Piece]], Iterator[Piece]]
#: repeated once where a connection that was kept turns out to be dead
_LARGE = 1 << 20
_REPEATABLE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Inside:
    """What a tunnel is to: all that is asked in it is asked of this host."""

    scheme: str
    host: str
    port: int


def asked_in(head: Head, inside: Inside | None) -> Asked:
    """What a request asks for. Raises Refused where its parts do not agree."""
    shape = _ABSOLUTE if inside is None else _ORIGIN
    if (match := shape.fullmatch(head.target)) is None:
        raise Refused(
            "this is a proxy: ask for http://HOST/PATH, or CONNECT HOST:PORT"
            if inside is None
            else "inside a tunnel a request names its path alone"
        )
    if inside is None:
        authority, path, query = match.groups()
        inside = Inside("http", *split_authority(authority, 80))
    else:
        path, query = match.groups()
    named = head.value(b"host")
    if named is None and head.version == b"1.1":
        raise Refused("there is no Host")
    if named is not None and split_authority(named.decode("latin-1"), DEFAULT_PORTS[inside.scheme]) != (
        inside.host,
        inside.port,
    ):
        raise Refused(f"Host is not {inside.host}:{inside.port}, whom the request is for", 421)
    scheme = inside.scheme
    if head.upgrade == "websocket" and head.method == "GET" and not head.has_body:
        scheme = {"http": "ws", "https": "wss"}[scheme]
    return Asked(head.method, scheme, inside.host, inside.port, path or "/", query or "")


class _Tally:
    """What becomes of a request that was let go. It is told once: just before whoever asked has the end of the answer,
    so that nobody goes on before that."""

    def __init__(self, journal: Journal, number: int) -> None:
        self._journal, self._number, self._started = journal, number, time.monotonic()
        self.sent = self.received = 0
        self.status: int | None = None
        self.error = ""
        self._told = False

    def tell(self) -> None:
        if not self._told:
            self._told = True
            took = time.monotonic() - self._started
            answered = Answered(
                status=self.status, sent=self.sent, received=self.received, seconds=took, error=self.error
            )
            self._journal.answered(self._number, answered)


class Exchanges:
    """The requests of one connection and the upstream connection that was used last."""

    def __init__(self, parts: Parts, wire: Wire) -> None:
        self._parts, self.wire = parts, wire
        self._far: Wire | None = None
        self._to: End | None = None
        #: whether the last exchange on it is whole, and whether nobody was spoken for on it
        self._idle = self._plain = False
        #: the secrets that go into the request under way
        self._named: Sequence[Secret] = ()

    def carry(self, head: Head, asked: Asked) -> bool:
        """Whether another request may follow on this connection. Raises Turned while nothing was answered yet, Gone
        when it is too late to answer."""
        judgement = self._parts.allow(asked, self.wire, head)
        self._named = self._parts.secrets.check(head, asked, judgement)
        if judgement.holds:
            hold(self._parts, self.wire, head, asked, judgement)
            return not head.close
        self._parts.check_out(asked, max(head.length or 0, 0))
        far, kept = self._reach(head, asked, judgement)
        tally = _Tally(self._parts.journal, self._parts.leaving(asked, judgement))
        try:
            return self._exchange(head, asked, judgement, far, kept, tally)
        except (Turned, Gone) as error:
            tally.error = tally.error or str(error)[:200]
            self.close()
            raise
        finally:
            tally.tell()

    def close(self) -> None:
        self._idle = False
        if self._far is not None:
            self._parts.live.remove(self._far)
            self._far = None

    def leave(self) -> None:
        """Nothing more is asked here: what can be used by others is kept for them."""
        if not (self._idle and self._plain) or self._far is None or self._to is None or self._far.is_cut:
            return self.close()
        far, self._far = self._far, None
        for gone in self._parts.kept.put(self._to, far):
            self._parts.live.remove(gone)

    def _reach(
        self, head: Head, asked: Asked, judgement: Judgement, *, fresh: bool = False
    ) -> tuple[Wire, bool]:
        """A connection to whom the request is for, and whether it had been used before."""
        # one to a private address is not for a path that may not lead there
        to = End(asked.scheme in ("https", "wss"), judgement.private, asked.host, asked.port)
        used = self._used(to, head)
        if used is None or fresh:
            self.close()
            self._far, self._plain = self._dialled(asked, judgement, to), True
        self._to, self._idle = to, False
        self._plain = self._plain and not self._named and head.value(b"authorization") is None
        assert self._far is not None
        if self._named:
            self._parts.secrets.check_way(self._far, asked)
        if self.wire.is_cut:  # while it was dialled; whoever cuts from now on cuts both
            raise Gone("whoever asked was cut off")
        return self._far, used is not None and not fresh

    def _used(self, to: End, head: Head) -> Wire | None:
        """This connection's own, or for a request that may be repeated one that others are done with."""
        if self._far is not None and to == self._to and not self._far.stale():
            return self._far
        self.close()
        if head.has_body or head.method not in _REPEATABLE or head.upgrade:
            return None
        while (wire := self._parts.kept.take(to)) is not None:
            if not wire.stale():
                self._far, self._plain = wire, True
                return wire
            self._parts.live.remove(wire)
        return None

    def _dialled(self, asked: Asked, judgement: Judgement, to: End) -> Wire:
        sock = self._parts.dial(asked, judgement)
        spoken = secure(sock, asked, self._parts.context) if to.secured else sock
        wire = Wire(spoken, self._parts.bounds.quiet, self._parts.bounds.whole)
        self._parts.live.add(wire)
        return wire

    def _exchange(
        self, head: Head, asked: Asked, judgement: Judgement, far: Wire, kept: bool, tally: _Tally
    ) -> bool:
        try:
            answer = self._ask(head, asked, far, tally)
        except Gone as gone:
            self.close()
            if not kept or head.has_body or head.method not in _REPEATABLE:
                raise Failed(f"{asked.host} gave no answer: {gone}") from gone
            far, _ = self._reach(head, asked, judgement, fresh=True)
            try:
                answer = self._ask(head, asked, far, tally)
            except Gone as again:
                raise Failed(f"{asked.host} gave no answer: {again}") from again
        tally.status = answer.status
        if answer.status == 101:
            return self._switch(head, asked, answer, far, tally)
        if self._parts.secrets.went_to(asked):
            self._parts.secrets.check_answer(answer)
            answer.headers = self._parts.secrets.redacted(answer.headers)
            answer.reason = self._parts.secrets.redactor.raw(answer.reason)
            return self._pass_on(head, answer, far, tally, self._parts.secrets.pieces)
        return self._pass_on(head, answer, far, tally)

    def _ask(self, head: Head, asked: Asked, far: Wire, tally: _Tally) -> Head:
        """Send a request and read the head of its answer. Raises Gone where upstream has hung up."""
        out = h11.Connection(h11.CLIENT, max_incomplete_event_size=self._parts.bounds.head + 1)
        headers: Headers = [(b"host", asked.authority.encode()), *head.forwarded(), *head.framing()]
        if self._parts.secrets:
            headers, asked = self._parts.secrets.put_in(self._named, headers, asked)
        target = asked.path + (f"?{asked.query}" if asked.query else "")
        if asked.scheme in ("ws", "wss"):
            headers += [(b"upgrade", b"websocket"), (b"connection", b"upgrade")]
        request = h11.Request(method=head.method, target=target, headers=headers)
        first = out.send(request) or b""
        self._parts.take_out(asked, len(first))
        if not head.has_body:
            far.send(first + (out.send(h11.EndOfMessage()) or b""))
        else:
            if head.expects:
                self.wire.send(
                    head.parser.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
                )
            far.send(first)
            self._send_body(head, asked, out, far, tally)
        return read_answer(far, out, head.method, self._parts.bounds)

    def _send_body(self, head: Head, asked: Asked, out: h11.Connection, far: Wire, tally: _Tally) -> None:
        """An upstream that stops listening may have answered already."""
        for piece in self._body_of_asker(head, tally):
            self._parts.take_out(asked, len(piece))
            tally.sent += len(piece)
            try:
                far.send(*_written(out, piece))
            except Gone:  # whatever comes next on it might be read as the rest of this body
                head.close, self._plain = True, False
                return
        try:
            far.send(out.send(h11.EndOfMessage()) or b"")
        except Gone:
            head.close, self._plain = True, False

    def _body_of_asker(self, head: Head, tally: _Tally) -> Iterator[Piece]:
        try:
            yield from pieces(self.wire, head, self._parts.bounds.upload)
        except Gone as gone:
            tally.error = f"whoever asked hung up: {gone}"[:200]
            raise Failed("the request's body did not come", 408) from gone

    def _pass_on(self, head: Head, answer: Head, far: Wire, tally: _Tally, through: Through = iter) -> bool:
        """Write an answer's head anew, and its body as it comes."""
        writer = head.parser
        bodiless = answer.length == 0
        headers = answer.forwarded() + (_kept_length(answer) if bodiless else answer.framing())
        if head.close:
            headers.append((b"connection", b"close"))
        first = (
            writer.send(h11.Response(status_code=answer.status, headers=headers, reason=answer.reason)) or b""
        )
        if bodiless:
            tally.tell()
            self.wire.send(first + (writer.send(h11.EndOfMessage()) or b""))
        else:
            self._pass_body(first, answer, writer, far, tally, through)
        self._idle = True
        if answer.close or answer.length == -1:
            self.close()
        return not head.close

    def _pass_body(
        self, first: bytes, answer: Head, writer: h11.Connection, far: Wire, tally: _Tally, through: Through
    ) -> None:
        """What is broken from here on can only be cut off, so that nobody takes it for whole."""
        if through is iter and answer.length is not None and answer.length >= _LARGE:
            return self._pass_whole(first, answer.length, far, tally)
        waiting = [first]
        try:
            for piece in through(pieces(far, answer, self._parts.bounds.download)):
                tally.received += len(piece)
                if tally.received == answer.length:
                    tally.tell()
                self.wire.send(*waiting, *_written(writer, piece))
                waiting = []
        except Refused as error:
            raise Gone(error.why) from error
        tally.tell()
        self.wire.send(*waiting, writer.send(h11.EndOfMessage()) or b"")

    def _pass_whole(self, first: bytes, length: int, far: Wire, tally: _Tally) -> None:
        """A large body whose length is known and that nobody looks into."""
        if length > self._parts.bounds.download:
            raise Gone("the body is too large")
        self.wire.send(first)
        while far.kept or not can_splice(far, self.wire):
            if not (piece := far.some(min(length - tally.received, PIECE))):
                raise Gone("it ended within its body")
            tally.received += len(piece)
            if tally.received == length:
                tally.tell()
            self.wire.send(piece)
            if tally.received == length:
                return
        for count in spliced(far, self.wire, length - tally.received):
            tally.received += count
            if tally.received == length:
                tally.tell()

    def _switch(self, head: Head, asked: Asked, answer: Head, far: Wire, tally: _Tally) -> bool:
        if self._parts.secrets.went_to(asked):
            raise Failed(
                "a secret went to this server, and what it says in a WebSocket cannot be looked through"
            )
        if asked.scheme not in ("ws", "wss") or (answer.value(b"upgrade") or b"").lower() != b"websocket":
            raise Failed("the server changes to a protocol that nobody asked for")
        headers = [*answer.forwarded(), (b"upgrade", b"websocket"), (b"connection", b"upgrade")]
        head.parser.next_event()  # the end of the request
        self.wire.send(head.parser.send(h11.InformationalResponse(status_code=101, headers=headers)) or b"")

        def count(out: int, back: int) -> None:
            if not self._parts.out.take(out):
                raise Gone("no more bytes may leave in this session (budgets.bytes_out)")
            tally.sent += out
            tally.received += back

        relay(self.wire, far, count)
        self.close()
        return False


def _written(writer: h11.Connection, piece: Piece) -> Sequence[bytes]:
    """A piece of a body with what frames it, not copied."""
    return writer.send_with_data_passthrough(h11.Data(data=cast(bytes, piece))) or ()


def _kept_length(answer: Head) -> Headers:
    """A HEAD or a 304 tells how long the body would be."""
    if answer.status in (101, 204):
        return []
    return [(name, value) for name, value in answer.headers if name == b"content-length"]
