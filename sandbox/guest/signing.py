"""The outer shape of a Jupyter message: idents, delimiter, signature, four JSON frames, buffers.

Written out here because importing jupyter_client would cost the supervisor 100 ms and 20 MB for these lines.
Source: "Messaging in Jupyter", section "The Wire Protocol".
"""

from __future__ import annotations

import hmac
import itertools
import json
import uuid
from datetime import datetime, timezone
from typing import Any

DELIMITER = b"<IDS|MSG>"
_WHO = b'"username": "mulligan", "version": "5.4"'
_HEADER = b'{"msg_id": "%s_%d", "session": "%s", "date": "%s", "msg_type": "%s", ' + _WHO + b"}"


class Signer:
    """Signs with HMAC-SHA256. The key is known to the host and to the supervisor, never to the worker."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._session = uuid.uuid4().hex
        self._numbers = itertools.count()

    def signature(self, frames: list[bytes]) -> bytes:
        return hmac.digest(self._key, b"".join(frames), "sha256").hex().encode()

    def seal(self, frames: list[bytes], *, requests: bool = False) -> list[bytes] | None:
        """The frames of a worker's message with a true signature in its place, or None when they are not a Jupyter
        message. What calls itself a request is not signed, or the worker could have its own requests to us signed;
        `requests` allows it, for input on the stdin channel."""
        at = _delimiter(frames)
        if at is None or len(frames) < at + 6:
            return None
        if not requests and b"_request" in frames[at + 2]:
            return None
        return [*frames[: at + 1], self.signature(frames[at + 2 : at + 6]), *frames[at + 2 :]]

    def open(self, frames: list[bytes]) -> list[bytes] | None:
        """The frames with an empty signature, or None when they were not signed by the host."""
        at = _delimiter(frames)
        if at is None or len(frames) < at + 6:
            return None
        if not hmac.compare_digest(frames[at + 1], self.signature(frames[at + 2 : at + 6])):
            return None
        return [*frames[: at + 1], b"", *frames[at + 2 :]]

    def message(
        self,
        kind: str,
        content: dict[str, Any] | bytes,
        parent: bytes = b"{}",
        idents: list[bytes] | None = None,
    ) -> list[bytes]:
        """`content` may be JSON already, and `parent` is: both may come from the worker, the kind never does."""
        header = _HEADER % (
            self._session.encode(),
            next(self._numbers),
            self._session.encode(),
            datetime.now(timezone.utc).isoformat().encode(),
            kind.encode(),
        )
        packed = content if isinstance(content, bytes) else json.dumps(content).encode()
        body = [header, parent, b"{}", packed]
        return [*(idents or []), DELIMITER, self.signature(body), *body]


def _delimiter(frames: list[bytes]) -> int | None:
    try:
        return frames.index(DELIMITER)
    except ValueError:
        return None


class Request:
    """A message of the host's, opened: where to answer, what it asks."""

    __slots__ = ("content", "header", "idents", "kind")

    def __init__(self, frames: list[bytes]) -> None:
        at = frames.index(DELIMITER)
        self.idents = frames[:at]
        self.header = frames[at + 2]
        self.kind = str(json.loads(self.header).get("msg_type", ""))
        content = json.loads(frames[at + 5])
        self.content: dict[str, Any] = content if isinstance(content, dict) else {}
