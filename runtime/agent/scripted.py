"""A model that says what it was told to say: for examples, for tests, and for trying an agent without a key."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

from mulligan.runtime.agent.errors import ModelFailed
from mulligan.runtime.agent.model import Bounds, Message, Reply


class Script:
    """Gives one reply after another. One that is a function is called with the conversation, and returns its text."""

    sees = False

    def __init__(self, replies: Iterable[str | Callable[[Sequence[Message]], str]]) -> None:
        self._replies = iter(replies)

    def reply(self, messages: Sequence[Message], bounds: Bounds, on_piece: Callable[[str], None]) -> Reply:
        said = next(self._replies, None)
        if said is None:
            raise ModelFailed("the script has no further reply")
        text = said if isinstance(said, str) else said(messages)
        for stop in bounds.stops:
            text = text.partition(stop)[0]
        on_piece(text)
        return Reply(text=text, tokens=len(text) // 4, cost=0.0)

    def give_up(self) -> None:
        """It never waits."""


#: models that are asked where their key is in the environment
_KEYS = {
    "OPENAI_API_KEY": "gpt-4o",
    "ANTHROPIC_API_KEY": "anthropic/claude-sonnet-4-5",
    "GEMINI_API_KEY": "gemini/gemini-2.5-pro",
}


def at_hand(replies: Iterable[str | Callable[[Sequence[Message]], str]]) -> str | Script:
    """For examples: a model whose key is in the environment, or else a script that stands in for one; it says which."""
    name = next((name for key, name in _KEYS.items() if os.environ.get(key)), None)
    print(f"model: {name}" if name else "model: no API key is set, so a script stands in for one")
    return name or Script(replies)
