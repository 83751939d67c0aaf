"""How far opening has come with the user's folder, for those who wait for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Importing:
    """`doing` is what is under way: "copying", "looking through" (an overlay) or "keeping" (the first snapshot).
    `done` of `all` entries, and `bytes` of `all_bytes` of their contents."""

    doing: str
    done: int
    all: int
    bytes: int
    all_bytes: int


Progress = Callable[[Importing], None]


class Count:
    """Tells `progress` of each entry."""

    def __init__(self, progress: Progress | None, doing: str, all: int, all_bytes: int) -> None:
        self._progress = progress
        self._now = Importing(doing, 0, all, 0, all_bytes)

    def add(self, size: int) -> None:
        """One entry more, with so many bytes of content. Entries that nobody expected do not count."""
        if self._progress is not None:
            now = self._now
            done, bytes = min(now.done + 1, now.all), min(now.bytes + size, now.all_bytes)
            self._now = replace(now, done=done, bytes=bytes)
            self._progress(self._now)
