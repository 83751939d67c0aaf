"""Secrets of a session: the sandbox has a placeholder for each, and the proxy puts the value into requests.

A value is put into headers (Basic credentials too) and the query of requests whose rule uses it, over TLS
or to this machine alone. A placeholder anywhere else in a head is denied. What comes back from where a value went is
passed with the value taken out of it; nothing that could hide it from that is asked for or let through.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from mulligan.sandbox.egress.bodies import Piece
from mulligan.sandbox.egress.errors import Denied, Failed
from mulligan.sandbox.egress.heads import Head, Headers
from mulligan.sandbox.egress.judgement import Asked, Judgement
from mulligan.sandbox.egress.wire import Wire
from mulligan.sandbox.redaction import Redactor, Stream

_BASIC = b"basic "


@dataclass(frozen=True, slots=True)
class Secret:
    """`value` is printable ASCII."""

    name: str
    placeholder: str
    value: str = field(repr=False)


class Secrets:
    """Of one session; from any thread."""

    def __init__(self, secrets: Sequence[Secret] = ()) -> None:
        self._secrets = tuple(secrets)
        self.redactor = Redactor(each.value.encode() for each in secrets)
        #: what the sandbox finds in its environment
        self.environment = {each.name: each.placeholder for each in secrets}
        self._went: set[tuple[str, int]] = set()
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._secrets)

    def check(self, head: Head, asked: Asked, judgement: Judgement) -> tuple[Secret, ...]:
        """The secrets that go into this request. Raises Denied."""
        named = tuple(each for each in self._secrets if _names(each.placeholder, head, asked))
        for secret in named:
            if secret.name not in judgement.uses:
                why = f"the secret {secret.name} is used by no rule that allows this request"
                raise Denied(asked, _denial(why, "send it only where a rule of the policy uses it"))
            if secret.placeholder in asked.path:
                raise Denied(
                    asked, _denial("a secret is put into no path", "send it in a header, or in the query")
                )
            if asked.scheme in ("ws", "wss"):
                raise Denied(asked, _denial("a secret is put into no WebSocket", "send it with a request"))
        return named

    def check_way(self, far: Wire, asked: Asked) -> None:
        """That nobody between here and there can read along. Raises Denied."""
        if asked.scheme == "https":
            return
        try:
            here = ipaddress.ip_address(far.sock.getpeername()[0]).is_loopback
        except (OSError, ValueError, IndexError):
            here = False
        if not here:
            raise Denied(
                asked, _denial("a secret leaves over TLS alone, or to this machine", "ask with https://")
            )

    def put_in(self, named: Sequence[Secret], headers: Headers, asked: Asked) -> tuple[Headers, Asked]:
        """What is sent instead. From now on what comes back from there is looked through."""
        if named:
            with self._lock:
                self._went.add((asked.host, asked.port))
        query = asked.query
        for secret in named:
            headers = [(name, _put(secret, value)) for name, value in headers]
            query = query.replace(secret.placeholder, quote(secret.value, safe=""))
        if self.went_to(asked):  # whole and as it is, or a value could come back unseen
            headers = [each for each in headers if each[0] not in (b"accept-encoding", b"range", b"if-range")]
            headers.append((b"accept-encoding", b"identity"))
        return headers, replace(asked, query=query)

    def went_to(self, asked: Asked) -> bool:
        with self._lock:
            return (asked.host, asked.port) in self._went

    def check_answer(self, answer: Head) -> None:
        """Raises Failed."""
        coded = answer.value(b"content-encoding") or b"identity"
        if coded.strip().lower() != b"identity":
            raise Failed(
                "the answer is compressed, although it was asked for as it is: a secret could hide in it"
            )

    def redacted(self, headers: Headers) -> Headers:
        return [(name, self.redactor.raw(value)) for name, value in headers]

    def pieces(self, body: Iterator[Piece]) -> Iterator[Piece]:
        stream = Stream(self.redactor)
        for piece in body:
            if passed := stream.add(bytes(piece)):
                yield passed
        if rest := stream.end():
            yield rest


def _denial(why: str, instead: str) -> Judgement:
    return Judgement(allowed=False, rule="secrets", reason=why, instead=instead)


def _names(placeholder: str, head: Head, asked: Asked) -> bool:
    texts = [asked.path, asked.query]
    for _, value in head.headers:
        texts += [value.decode("latin-1"), _credentials(value).decode("latin-1")]
    return any(placeholder in text for text in texts)


def _credentials(value: bytes) -> bytes:
    """What Basic credentials say; empty for other values."""
    if value[: len(_BASIC)].lower() != _BASIC:
        return b""
    try:
        return base64.b64decode(value[len(_BASIC) :].strip(), validate=True)
    except (ValueError, binascii.Error):
        return b""


def _put(secret: Secret, value: bytes) -> bytes:
    placeholder, real = secret.placeholder.encode(), secret.value.encode()
    if placeholder in (said := _credentials(value)):
        return value[: len(_BASIC)] + base64.b64encode(said.replace(placeholder, real))
    return value.replace(placeholder, real)
