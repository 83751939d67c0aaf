"""A model that says what it was told to say: for examples, for tests, and for trying an agent without a key."""

from __future__ import annotations

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
