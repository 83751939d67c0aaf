"""Jupyter messages of the clients' side: opened with the client's key, and made.

What the sandbox says goes on as it came, in bytes, where every client reads the same in it: strict JSON in UTF-8.
Its header is made here, and so is its parent's: from what the client sent, never from what the sandbox says.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mulligan.sandbox.client import Request
from mulligan.sandbox.guest.signing import DELIMITER, Signer

VERSION = "5.4"


@dataclass(frozen=True, slots=True)
class Asked:
    """A client's message. `idents`: where an answer goes; `header` in bytes: the parent of all that comes of it."""

    kind: str
    id: str
    idents: tuple[bytes, ...]
    header: bytes
    request: Request

    @property
    def content(self) -> Mapping[str, Any]:
        return self.request.content

    def text(self, name: str) -> str:
        value = self.content.get(name)
        return value if isinstance(value, str) else ""


class Wire:
    """Opens and makes messages. Holds the client's key."""

    def __init__(self, key: str) -> None:
        self._signer = Signer(key.encode())
        self._session = uuid.uuid4().hex

    def open(self, frames: Sequence[bytes]) -> Asked | None:
        """None for what nobody signed who has the key, or is no message."""
        opened = self._signer.open(list(frames))
        if opened is None:
            return None
        at = opened.index(DELIMITER)
        try:
            header, _, metadata, content = map(json.loads, opened[at + 2 : at + 6])
        except (ValueError, RecursionError):
            return None
        if not (isinstance(header, dict) and isinstance(metadata, dict) and isinstance(content, dict)):
            return None
        kind, id = header.get("msg_type"), header.get("msg_id")
        if not (isinstance(kind, str) and isinstance(id, str)):
            return None
        request = Request(header, content, metadata, tuple(opened[at + 6 :]))
        return Asked(kind, id, tuple(opened[:at]), opened[at + 2], request)

    def message(
        self,
        kind: str,
        content: Mapping[str, Any] | bytes,
        parent: bytes = b"{}",
        *,
        to: Sequence[bytes] = (),
        metadata: bytes = b"{}",
        buffers: Sequence[bytes] = (),
    ) -> list[bytes]:
        """Its frames. `to`: the identities of who asked, or the topic."""
        packed = content if isinstance(content, bytes) else json.dumps(content, allow_nan=False).encode()
        body = [json.dumps(self._header(kind)).encode(), parent, metadata, packed]
        return [*to, DELIMITER, self._signer.signature(body), *body, *buffers]

    def _header(self, kind: str) -> dict[str, str]:
        return {
            "msg_id": uuid.uuid4().hex,
            "session": self._session,
            "username": "mulligan",
            "date": datetime.now(UTC).isoformat(),
            "msg_type": kind,
            "version": VERSION,
        }


def unequivocal(packed: bytes) -> bool:
    """Whether every reader finds the same in this JSON, which was read once: no NaN, which browsers do not know, and
    no other encoding than UTF-8."""
    if b"\0" in packed or packed.startswith(b"\xef\xbb\xbf"):
        return False
    try:
        packed.decode()
        if b"NaN" in packed or b"Infinity" in packed:
            json.loads(packed, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(constant)
