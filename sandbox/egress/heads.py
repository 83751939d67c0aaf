"""Heads of messages, read so that nobody could read them otherwise.

h11 parses them, strictly. What it forgives is looked for first, in the raw bytes: a bare line feed, a folded line, a
length beside a transfer coding. And nothing is passed on as it came: heads and framing are written anew, so what
upstream reads is what was judged.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

import h11

from mulligan.sandbox.egress.bounds import Bounds
from mulligan.sandbox.egress.errors import Failed, Refused
from mulligan.sandbox.egress.wire import Wire

Headers = list[tuple[bytes, bytes]]

_METHOD = re.compile(rb"[A-Z]{1,30}")
_LOOSE = re.compile(rb"(?<!\r)\n|\r(?!\n)|\n[ \t]|\0")
_LENGTH = re.compile(rb"\ncontent-length:", re.IGNORECASE)
_BARE = re.compile(rb"(?<!\r)\n")
#: of this hop alone; what a Connection header names comes on top
_HOP = frozenset(
    (
        *(
            b"connection",
            b"proxy-connection",
            b"keep-alive",
            b"te",
            b"trailer",
            b"transfer-encoding",
            b"upgrade",
        ),
        *(b"proxy-authorization", b"proxy-authenticate", b"proxy-authentication-info", b"expect"),
    )
)
#: interim answers before the one that counts
_INTERIM = 20
#: what some servers take for the method instead of the method
_OVERRIDES = (b"x-http-method-override", b"x-http-method", b"x-method-override")


@dataclass(slots=True)
class Head:
    """A request's or an answer's. `length` is that of its body: a number, None for chunks, -1 for all until the end.
    `parser` reads on where there are chunks, and writes the answer to a request."""

    parser: h11.Connection
    headers: Headers
    length: int | None
    close: bool
    method: str = ""
    target: str = ""
    status: int = 0
    reason: bytes = b""
    upgrade: str = ""
    version: bytes = b"1.1"
    expects: bool = False
    named: frozenset[bytes] = field(default_factory=frozenset)

    @property
    def has_body(self) -> bool:
        return self.length != 0

    def value(self, name: bytes) -> bytes | None:
        return next((value for known, value in self.headers if known == name), None)

    def forwarded(self) -> Headers:
        """Without what belongs to one hop, and without the framing and the host, which are written anew."""
        without = _HOP | self.named | {b"content-length", b"host"}
        return [(name, value) for name, value in self.headers if name not in without]

    def framing(self) -> Headers:
        if self.length is None:
            return [(b"transfer-encoding", b"chunked")]
        unsaid = self.length < 0 or (self.length == 0 and self.value(b"content-length") is None)
        return [] if unsaid else [(b"content-length", b"%d" % self.length)]


def read_request(wire: Wire, bounds: Bounds) -> Head | None:
    """The next request; None where none comes. Raises Refused, Gone."""
    deadline = time.monotonic() + bounds.idle
    if not wire.kept and not wire.fill(deadline):
        return None
    raw = _raw(wire, bounds, time.monotonic() + bounds.head_time)
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=bounds.head + 1)
    try:
        parser.receive_data(raw)
        event = parser.next_event()
    except h11.RemoteProtocolError as error:
        raise Refused(_said(error), error.error_status_hint or 400) from error
    if not isinstance(event, h11.Request):
        raise Refused("that is no request")
    if event.http_version not in (b"1.0", b"1.1"):
        raise Refused("HTTP/1.1 is spoken here", 505)
    return _request(parser, event, bounds)


def _request(parser: h11.Connection, event: h11.Request, bounds: Bounds) -> Head:
    headers = list(event.headers)
    _check(headers, bounds)
    if not _METHOD.fullmatch(event.method):
        raise Refused("a method is of capital letters")
    for name, value in headers:
        if name in _OVERRIDES and value.strip().upper() != event.method:
            raise Refused(f"{name.decode()} asks for another method than the request itself")
    named = _named(headers)
    upgrade = [value.decode("latin-1").strip().lower() for name, value in headers if name == b"upgrade"]
    return Head(
        parser,
        headers,
        _length(headers, otherwise=0),
        close=b"close" in named or event.http_version != b"1.1",
        method=event.method.decode(),
        target=event.target.decode("ascii"),
        upgrade=",".join(upgrade) if b"upgrade" in named else "",
        version=event.http_version,
        expects=parser.they_are_waiting_for_100_continue,
        named=named,
    )


def read_answer(wire: Wire, parser: h11.Connection, method: str, bounds: Bounds) -> Head:
    """The answer to a request that `parser` has written. Raises Failed, Gone."""
    for _ in range(_INTERIM):
        try:
            raw = _raw(wire, bounds, time.monotonic() + bounds.quiet)
            parser.receive_data(raw)
            event = parser.next_event()
            if not isinstance(event, h11.InformationalResponse | h11.Response):
                raise Failed("the server's answer is no HTTP")
            headers = list(event.headers)
            _check(headers, bounds)
        except (h11.RemoteProtocolError, Refused) as error:
            raise Failed(f"the server's answer is not one that can be passed on: {_said(error)}") from error
        if event.status_code < 200 and event.status_code != 101:
            continue
        named = _named(headers)
        bodiless = method == "HEAD" or event.status_code in (101, 204, 304)
        return Head(
            parser,
            headers,
            0 if bodiless else _length(headers, otherwise=-1),
            close=b"close" in named or event.http_version != b"1.1",
            status=event.status_code,
            reason=bytes(event.reason),
            named=named,
        )
    raise Failed("the server gives interim answers without end")


def _raw(wire: Wire, bounds: Bounds, deadline: float) -> bytes:
    """Up to the empty line that ends a head, and not a byte more."""
    seen = 0
    while (end := wire.kept.find(b"\r\n\r\n", max(0, seen - 3))) < 0:
        if len(wire.kept) > bounds.head:
            raise Refused(f"a head of more than {bounds.head:,} bytes", 431)
        if _BARE.search(wire.kept, seen):  # or we would wait for an end that has come for others
            raise Refused(_STRICT)
        seen = len(wire.kept)
        if not wire.fill(deadline):
            raise Refused("it ended within its head")
    if end > bounds.head:
        raise Refused(f"a head of more than {bounds.head:,} bytes", 431)
    raw = bytes(wire.kept[: end + 4])
    if _LOOSE.search(raw):
        raise Refused(_STRICT)
    if len(_LENGTH.findall(raw)) > 1:  # h11 takes equal ones for one
        raise Refused("more than one length")
    del wire.kept[: end + 4]
    return raw


_STRICT = "lines end with CR LF, and none is folded"


def _check(headers: Headers, bounds: Bounds) -> None:
    if len(headers) > bounds.headers:
        raise Refused(f"more than {bounds.headers} headers", 431)
    names = {name for name, _ in headers}
    if b"transfer-encoding" in names and b"content-length" in names:
        raise Refused("a length and a transfer coding contradict each other")


def _length(headers: Headers, *, otherwise: int) -> int | None:
    for name, value in headers:
        if name == b"transfer-encoding":
            return None
        if name == b"content-length":
            return int(value)
    return otherwise


def _named(headers: Headers) -> frozenset[bytes]:
    listed = [value for name, value in headers if name in (b"connection", b"proxy-connection")]
    return frozenset(word.strip().lower() for value in listed for word in value.split(b","))


def _said(error: Exception) -> str:
    return "".join(char if char.isprintable() else "?" for char in str(error))[:200]
