"""What the proxy says in its own name: a status, and a JSON object that says why and what to do instead."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

import h11

from mulligan.sandbox.egress.errors import Denied, Turned
from mulligan.sandbox.egress.wire import Wire


def turn_away(wire: Wire, turned: Turned, *, close: bool, bodiless: bool = False) -> None:
    """Answer a request that is not carried, perhaps because it could not even be read. Raises Gone."""
    rule = f"denied by {turned.judgement.rule}" if isinstance(turned, Denied) else "not carried"
    say(wire, turned.status, _reason(turned), told(turned), rule, close=close, bodiless=bodiless)


def say(
    wire: Wire,
    status: int,
    reason: bytes,
    told: Mapping[str, object],
    rule: str,
    *,
    close: bool,
    bodiless: bool = False,
) -> None:
    """Answer with JSON. Raises Gone."""
    body = json.dumps(told).encode() + b"\n"
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"mulligan", _line(rule)),
        *([(b"connection", b"close")] if close else []),
    ]
    head = h11.Connection(h11.SERVER).send(h11.Response(status_code=status, headers=headers, reason=reason))
    wire.send((head or b"") + (b"" if bodiless else body))


def told(turned: Turned) -> dict[str, str]:
    if not isinstance(turned, Denied):
        kind = "refused" if turned.status < 500 else "failed"
        return {"error": kind, "reason": turned.why}
    judgement = turned.judgement
    found = {
        "error": "denied",
        "request": str(turned.asked),
        "rule": judgement.rule,
        "reason": judgement.reason,
    }
    return {**found, **({"instead": judgement.instead} if judgement.instead else {})}


def _reason(turned: Turned) -> bytes:
    """Of a refused CONNECT, most programs show this line and nothing else."""
    if not isinstance(turned, Denied):
        return HTTPStatus(turned.status).phrase.encode()
    judgement = turned.judgement
    said = f"Forbidden by rule {judgement.rule}: {judgement.reason}"
    return _line(said + (f"; instead: {judgement.instead}" if judgement.instead else ""))


def _line(text: str, most: int = 400) -> bytes:
    """A line that a header can hold, whatever the text."""
    kept = "".join(char if " " <= char <= "~" else "?" for char in text)
    return kept[:most].strip().encode("ascii")
