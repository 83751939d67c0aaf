"""Requests that are kept back: taken whole from whoever asks, and sent when somebody outside says so.

What is kept is what would have been passed on, with placeholders where secrets will be. When it is sent it is judged
anew, and its host is looked up anew and checked as that of any other request.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import h11

from mulligan.sandbox.egress.answers import say
from mulligan.sandbox.egress.bodies import pieces
from mulligan.sandbox.egress.dialing import secure
from mulligan.sandbox.egress.errors import Denied, Failed, Turned
from mulligan.sandbox.egress.heads import Head, Headers, read_answer
from mulligan.sandbox.egress.judgement import Answered, Asked, Judgement, Parcel
from mulligan.sandbox.egress.parts import Parts
from mulligan.sandbox.egress.wire import Gone, Wire

#: bytes of the body of a request that is held
LARGEST = 1 << 20
_BODIED = ("POST", "PUT", "PATCH")


def hold(parts: Parts, wire: Wire, head: Head, asked: Asked, judgement: Judgement) -> None:
    """Take in a request, have it kept, and answer that it is. Raises Turned, Gone."""
    if asked.both_ways:
        why = "a WebSocket cannot be held: what is said in it is not known before"
        raise Denied(
            asked, Judgement(allowed=False, rule=judgement.rule, reason=why, instead="send requests")
        )
    parcel = Parcel(asked=asked, headers=tuple(head.forwarded()), body=_whole(wire, head))
    if wire.is_cut:  # its step was undone while the body came
        raise Gone("whoever asked was cut off")
    number = parts.keep(parcel, judgement)
    told = {
        "held": number,
        "request": str(asked),
        "rule": judgement.rule,
        "reason": judgement.reason,
        "then": "it is sent at the next commit, and dropped if this step is undone; this is not its answer",
    }
    say(
        wire,
        202,
        b"Held until commit",
        told,
        f"held by {judgement.rule}",
        close=head.close,
        bodiless=head.method == "HEAD",
    )


def _whole(wire: Wire, head: Head) -> bytes:
    if not head.has_body:
        return b""
    body = bytearray()
    try:
        if head.expects and (head.length is None or head.length <= LARGEST):
            wire.send(head.parser.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        for piece in pieces(wire, head, LARGEST):
            body += piece
    except Gone as gone:
        raise Failed("the request's body did not come, so nothing is held", 408) from gone
    return bytes(body)


def post(parts: Parts, parcel: Parcel, leaving: Callable[[Judgement], None]) -> Answered:
    """Send what was held. `leaving` is called once it is judged and its host is reached, just before anything of it
    leaves; where that raises, nothing does.

    Raises Turned while nothing has left. From then on what went wrong is in the result, whose `status` is None.
    """
    asked = parcel.asked
    judgement = parts.judged(asked)
    if not (judgement.holds or judgement.allowed):
        raise Denied(asked, judgement)
    bodied = bool(parcel.body) or asked.method in _BODIED
    length = [(b"content-length", b"%d" % len(parcel.body))] if bodied else []
    head = Head(h11.Connection(h11.SERVER), list(parcel.headers), len(parcel.body), True, asked.method)
    named = parts.secrets.check(head, asked, judgement)
    far = _reached(parts, asked, judgement)
    try:
        if named:
            parts.secrets.check_way(far, asked)
        headers: Headers = [(b"host", asked.authority.encode()), *parcel.headers, *length]
        headers.append((b"connection", b"close"))
        sent = asked
        if parts.secrets:
            headers, sent = parts.secrets.put_in(named, headers, asked)
        return _posted(parts, far, parcel, _request(asked.method, sent, headers), lambda: leaving(judgement))
    finally:
        parts.live.remove(far)


def _reached(parts: Parts, asked: Asked, judgement: Judgement) -> Wire:
    sock = parts.dial(asked, judgement)
    spoken = secure(sock, asked, parts.context) if asked.scheme == "https" else sock
    far = Wire(spoken, parts.bounds.quiet, parts.bounds.whole)
    parts.live.add(far)
    return far


def _request(method: str, asked: Asked, headers: Headers) -> h11.Request:
    return h11.Request(
        method=method, target=asked.path + (f"?{asked.query}" if asked.query else ""), headers=headers
    )


def _posted(
    parts: Parts, far: Wire, parcel: Parcel, request: h11.Request, leaving: Callable[[], None]
) -> Answered:
    out = h11.Connection(h11.CLIENT, max_incomplete_event_size=parts.bounds.head + 1)
    raw = (out.send(request) or b"") + (out.send(h11.Data(data=parcel.body)) or b"" if parcel.body else b"")
    raw += out.send(h11.EndOfMessage()) or b""
    parts.take_out(parcel.asked, len(raw))
    leaving()
    started, status, error = time.monotonic(), None, ""
    try:
        far.send(raw)
        status = read_answer(far, out, parcel.asked.method, parts.bounds).status
    except (Gone, Turned) as problem:
        error = str(problem)[:200] or "no answer came"
    took = time.monotonic() - started
    return Answered(status=status, sent=len(parcel.body), received=0, seconds=took, error=error)
