"""What was typed, for clients that ask: on the host, so undo does not take it away, as a shell's does not either.

`range` follows the timeline: where two cells had the same number, one of them undone, it has the later one. `tail` and
`search` have both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from mulligan.runtime.timeline import Timeline
from mulligan.sandbox.messages import Result

KEPT = 10_000
#: characters of an output
LONGEST = 10_000


@dataclass(frozen=True, slots=True)
class Typed:
    """`session` counts restarts from 1; `number` is the cell's; None `output` where it had none. A magic of ours has
    the number of the cell that comes next, and is not `counted`."""

    session: int
    number: int
    source: str
    output: str | None
    counted: bool


class History:
    def __init__(self) -> None:
        self._typed: deque[Typed] = deque(maxlen=KEPT)
        self._session = 1
        #: the number of the cell that comes next, and what it was after each step
        self.next = 1
        self._next_after = {0: 1}

    def add(self, number: int, source: str, result: Result | None, *, counted: bool) -> None:
        text = None if result is None else result.data.get("text/plain")
        output = text[:LONGEST] if isinstance(text, str) else None
        self._typed.append(Typed(self._session, number, source, output, counted))

    def note(self, step: int, next: int) -> None:
        """After this step, the next cell will have that number."""
        self.next = self._next_after[step] = next

    def move(self, timeline: Timeline) -> None:
        """The kernel is at the cursor now, and counts on from there."""
        known = (self._next_after.get(step) for step in reversed(timeline.path(timeline.cursor)))
        self.next = next(number for number in known if number is not None)

    def restart(self, step: int) -> None:
        self._session += 1
        self.note(step, 1)

    # -- history_request -----------------------------------------------------------------------------------------

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        found = self._find(asked)
        with_output = asked.get("output") is True
        lines = [
            [each.session, each.number, [each.source, each.output] if with_output else each.source]
            for each in found
        ]
        return {"status": "ok", "history": lines}

    def _find(self, asked: Mapping[str, Any]) -> list[Typed]:
        count = _whole(asked.get("n"))
        match asked.get("hist_access_type"):
            case "range":
                return self._range(asked)
            case "tail":
                return list(self._typed)[-count:] if count else []
            case "search":
                pattern = asked.get("pattern")
                found = self._search(pattern if isinstance(pattern, str) else "*")
                if asked.get("unique") is True:
                    found = list({each.source: each for each in found}.values())
                return found[-count:] if count else found
        return []

    def _range(self, asked: Mapping[str, Any]) -> list[Typed]:
        """Sessions up to 0 count back from this one."""
        wanted = _whole(asked.get("session"))
        session = wanted if wanted > 0 else self._session + wanted
        lines = {each.number: each for each in self._typed if each.counted and each.session == session}
        end = max(lines, default=0) + 1
        start, stop = _whole(asked.get("start")), _whole(asked.get("stop")) or end
        start, stop = (place + end if place < 0 else place for place in (start, stop))
        return [lines[number] for number in sorted(lines) if start <= number < stop]

    def _search(self, pattern: str) -> list[Typed]:
        return [each for each in self._typed if fnmatchcase(each.source, pattern)]


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
