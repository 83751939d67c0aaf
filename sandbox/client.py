"""What a Jupyter client asks of the sandbox, word for word, and who hears what comes of it.

The code inside sees the client's own header as its parent, as it would in any kernel: widgets that capture output
send its id back. A header is no secret; the client's key stays on the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mulligan.sandbox.messages import Envelope


@dataclass(frozen=True, slots=True)
class Request:
    """A request on the shell channel. Its signature was checked."""

    header: Mapping[str, Any]
    content: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    buffers: tuple[bytes, ...] = ()


class Listener(Protocol):
    """Called on the session's thread with what the sandbox says while the request is under way. All of it was written
    by hostile code."""

    def heard(self, message: Envelope) -> None:
        """Output, and what else is for every client."""

    def asked(self, question: Envelope) -> None:
        """The code waits for a line of input; `Kernel.answer` gives it one."""

    def answered(self, reply: Envelope) -> None:
        """At most once, before or after the last output."""


@dataclass(frozen=True, slots=True)
class Exchange:
    request: Request
    listener: Listener
