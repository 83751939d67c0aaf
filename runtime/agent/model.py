"""Whom an agent speaks to: any object that gives replies to a conversation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

#: as OpenAI's chat completions have it: a role, and a content that is text or a list of parts
Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """`finish` is why the model ended: "stop", "length", or what else its server says. `reasoning` is what it thought
    apart from its answer. `tokens` of prompt and reply; `cost` in dollars, None where no price is known."""

    text: str
    finish: str = "stop"
    reasoning: str = ""
    tokens: int = 0
    cost: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Of one reply: `stops` end it; at most so many `tokens` and `seconds`, None for the model's own bound."""

    stops: Sequence[str] = ()
    tokens: int | None = None
    seconds: float | None = None


class Model(Protocol):
    """One model. Used by one thread at a time."""

    @property
    def sees(self) -> bool:
        """Whether images are put before it."""
        ...

    def reply(self, messages: Sequence[Message], bounds: Bounds, on_piece: Callable[[str], None]) -> Reply:
        """Its reply to the conversation; `on_piece` gets the text as it comes. Raises ModelError."""
        ...

    def give_up(self) -> None:
        """Called from another thread: a reply that is waited for is waited for no longer, and raises ModelFailed."""
        ...
