"""Several shelves as one library: the first that has a name in force has the say.

A name that is quarantined or broken on a shelf is not taken from a later one instead: whoever quarantined it meant it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mulligan.policies.policy import Policy
from mulligan.runtime.library.errors import RoutineUnknown
from mulligan.runtime.library.index import Row
from mulligan.runtime.library.rights import lacking
from mulligan.runtime.library.routine import Routine
from mulligan.runtime.library.shelf import CANDIDATES, FORCE, Shelf

#: of a score: what is left of it where the routine may not be used
_UNUSABLE = 0.5


@dataclass(frozen=True, slots=True)
class Offered:
    """A name as a session finds it. `why` says why it may not be used, and is "" where it may."""

    name: str
    version: int
    why: str
    signature: str
    line: str
    text: str
    worth: float
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found: enough to call it, and why it may not be, if so."""

    name: str
    signature: str
    line: str
    state: str
    score: float
    why: str = ""

    def __str__(self) -> str:
        said = f"{self.signature}  # {self.line}" if self.line else self.signature
        return f"{said}  [{self.why}]" if self.why else said


class Library:
    """A context manager over its shelves. What is new goes to the first."""

    def __init__(self, shelves: Sequence[Shelf], resources: ExitStack) -> None:
        self.shelves = tuple(shelves)
        self._resources = resources

    @classmethod
    def open(cls, folders: Sequence[Path], state: Path | None = None, *, create: bool = False) -> Library:
        """The folder of the first is made where it is not there and `create` is set. Raises ShelfUnusable."""
        with ExitStack() as resources:
            shelves = [
                resources.enter_context(Shelf.open(folder, state, create=create and number == 0))
                for number, folder in enumerate(folders)
            ]
            return cls(shelves, resources.pop_all())

    def close(self) -> None:
        self._resources.close()

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def refresh(self) -> None:
        for shelf in self.shelves:
            shelf.refresh()

    def rows(self) -> list[tuple[Shelf, Row]]:
        """Each name once, by name: in force on the first shelf that has it so, else as it is proposed."""
        found: dict[str, tuple[Shelf, Row]] = {}
        for place in (FORCE, CANDIDATES):
            for shelf in self.shelves:
                for row in shelf.rows(place):
                    found.setdefault(row.name, (shelf, row))
        return [found[name] for name in sorted(found)]

    def find(self, name: str) -> tuple[Shelf, Routine]:
        """Raises RoutineUnknown, RoutineBroken."""
        for place in (FORCE, CANDIDATES):
            for shelf in self.shelves:
                try:
                    return shelf, shelf.get(name, place)
                except RoutineUnknown:
                    continue
        raise RoutineUnknown(
            f"no shelf has a routine {name[:80]!r}", hint="`mulligan library list` shows all"
        )

    def alike(self, likeness: str) -> str | None:
        """The name of a routine that says the same."""
        return next((name for shelf in self.shelves if (name := shelf.alike(likeness))), None)

    def search(self, text: str, k: int = 10, policy: Policy | None = None) -> list[Found]:
        """The k that fit best, those that may not be used under a policy after those that may; none where none fits."""
        found: dict[str, Found] = {}
        for number, shelf in enumerate(self.shelves):
            for name, score in shelf.search(text, 2 * k):
                row = shelf.row(name)
                if row is None or name in found or any(each.row(name) for each in self.shelves[:number]):
                    continue
                why = self._why_not(shelf, row, policy)
                fit = score * _UNUSABLE if why else score
                found[name] = Found(name, row.signature, row.line, row.state, fit, why)
        return sorted(found.values(), key=lambda each: (-each.score, each.name))[:k]

    def _why_not(self, shelf: Shelf, row: Row, policy: Policy | None) -> str:
        if why := state_of(row.place, row.state, row.why):
            return why
        return lacking(policy, row.name, json.loads(shelf.needs(row.name))) if policy is not None else ""

    def offer(self, policy: Policy) -> list[Offered]:
        """Every name, with what a session under this policy may do with it."""
        rows: dict[str, tuple[Any, ...]] = {}
        for place in (FORCE, CANDIDATES):
            for shelf in self.shelves:
                for row in shelf.offered():
                    if row[0] == place:
                        rows.setdefault(row[1], row)
        whys = {name: _why_not(row, policy) for name, row in rows.items()}
        _follow(rows, whys)
        return [
            Offered(
                name,
                row[2],
                whys[name],
                row[5] or "",
                row[6] or "",
                "" if whys[name] else row[7],
                row[9],
                row[10:],
            )
            for name, row in rows.items()
        ]


def state_of(place: str, state: str, why: str) -> str:
    """Why one in this state may not be used, whoever asks; "" where it may."""
    if state == "trusted" and place == FORCE:
        return ""
    if state == "candidate" and not why:
        return "it is a candidate: `mulligan library test` tries it, and `mulligan library review` trusts it"
    return f"it is {state}" + (f": {why}" if why else "")


def _why_not(row: tuple[Any, ...], policy: Policy) -> str:
    place, name, _, state, why, _, _, _, needs = row[:9]
    return state_of(place, state, why) or lacking(policy, name, json.loads(needs))


def _follow(rows: dict[str, tuple[Any, ...]], whys: dict[str, str]) -> None:
    """One that imports another may be used only where that may; until nothing changes any more."""
    needed = {name: json.loads(row[8])["routines"] for name, row in rows.items() if not whys[name]}
    needed = {name: others for name, others in needed.items() if others}
    changed = True
    while changed:
        changed = False
        for name, others in needed.items():
            for other in others if not whys[name] else ():
                why = whys.get(other, "no shelf has it")
                if why:
                    whys[name] = f"it needs the routine {other!r}, which cannot be used: {why}"[:1000]
                    changed = True
