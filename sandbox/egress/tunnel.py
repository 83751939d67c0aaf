"""CONNECT: a tunnel that is looked into where a rule needs that, and is else carried by its host alone."""

from __future__ import annotations

import socket
import time

from mulligan.sandbox.egress.errors import Refused
from mulligan.sandbox.egress.exchange import Inside
from mulligan.sandbox.egress.heads import Head
from mulligan.sandbox.egress.hello import HANDSHAKE, check_hello
from mulligan.sandbox.egress.hosts import split_authority
from mulligan.sandbox.egress.judgement import Answered, Asked, Judgement
from mulligan.sandbox.egress.parts import Parts
from mulligan.sandbox.egress.relay import relay
from mulligan.sandbox.egress.tls import TlsSocket
from mulligan.sandbox.egress.wire import Gone, Wire

_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


def enter(parts: Parts, wire: Wire, head: Head) -> tuple[Wire, Inside] | None:
    """Answer a CONNECT: the wire on which requests go on, and to whom; None where a tunnel was carried and has ended.

    Raises Turned while nothing was answered yet, Gone.
    """
    host, port = _target(head)
    if wire.kept:
        raise Refused("it speaks in the tunnel before there is one")
    if parts.needs_inside(host, port):
        parts.count()  # nothing is asked yet, but a certificate may be made
        wire.send(_ESTABLISHED)
        if _first_byte(wire, parts.bounds.head_time) != HANDSHAKE:
            return wire, Inside("http", host, port)
        return _terminated(parts, wire, host), Inside("https", host, port)
    asked = Asked("CONNECT", "https", host, port, "")
    judgement = parts.allow(asked, wire, head)
    far = Wire(parts.dial(asked, judgement), parts.bounds.quiet, parts.bounds.whole)
    parts.live.add(far)
    try:
        wire.send(_ESTABLISHED)
        if _first_byte(wire, parts.bounds.head_time) != HANDSHAKE:
            return wire, Inside("http", host, port)
        check_hello(wire, host, parts.bounds.head_time)
        _carry(parts, wire, far, asked, judgement)
        return None
    except Refused as refused:
        raise Gone(refused.why) from refused  # it expects TLS now, and no answer of ours
    finally:
        parts.live.remove(far)


def _target(head: Head) -> tuple[str, int]:
    if head.has_body:
        raise Refused("a CONNECT has no body")
    host, port = split_authority(head.target, None)
    named = head.value(b"host")
    if named is not None and split_authority(named.decode("latin-1"), port) != (host, port):
        raise Refused(f"Host is not {host}:{port}, whom the tunnel is to", 421)
    return host, port


def _first_byte(wire: Wire, patience: float) -> int:
    """It stays where it is. Raises Gone."""
    try:
        wire.raw.settimeout(patience)
        first = wire.raw.recv(1, socket.MSG_PEEK)
    except OSError as error:
        raise Gone(str(error)) from error
    if not first:
        raise Gone("nothing was said in the tunnel")
    return first[0]


def _terminated(parts: Parts, wire: Wire, host: str) -> Wire:
    """Be the server that it asked for."""
    try:
        wire.raw.settimeout(parts.bounds.head_time)
        secured = TlsSocket(wire.raw, parts.authority.context(host), server=True)
        secured.do_handshake()
    except OSError as error:
        raise Gone(f"no TLS with whoever asks: {error}") from error
    inner = wire.secured(secured)
    parts.live.replace(wire, inner)
    return inner


def _carry(parts: Parts, wire: Wire, far: Wire, asked: Asked, judgement: Judgement) -> None:
    number = parts.leaving(asked, judgement)
    started, counts, error = time.monotonic(), [0, 0], ""

    def count(out: int, back: int) -> None:
        if not parts.out.take(out):
            raise Gone("no more bytes may leave in this session (budgets.bytes_out)")
        counts[0] += out
        counts[1] += back

    try:
        relay(wire, far, count)
    except Gone as gone:
        error = f"cut off: {gone}"[:200]
        raise
    finally:
        took = time.monotonic() - started
        answered = Answered(status=None, sent=counts[0], received=counts[1], seconds=took, error=error)
        parts.journal.answered(number, answered)
