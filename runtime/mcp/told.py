"""What the tools of the MCP server give back: bounded, and printable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel

from mulligan.runtime.outcome import Outcome, shorten
from mulligan.sandbox.printable import one_line, printable

if TYPE_CHECKING:
    from mulligan.runtime.checkpoint import Restoration
    from mulligan.runtime.commit import Commit
    from mulligan.runtime.session import Session
    from mulligan.runtime.step import Step
    from mulligan.runtime.timeline import Timeline as Known

#: lines of a list, characters of a diff, images of one step and characters of one (base64)
LINES, DIFF, IMAGES, LARGEST = 200, 60_000, 8, 2_000_000


class Ran(BaseModel):
    """A step. `outcome` is completed, raised, timed_out, refused, reverted (taken back by the policy) or lost; `text`
    is what it printed, and why it failed; `changes` are files; `stands` is what undo of it would not take back."""

    step: int
    outcome: str
    text: str
    error: str = ""
    seconds: float
    changes: list[str] = []
    effects: list[str] = []
    stands: list[str] = []

    @classmethod
    def of(cls, step: Step) -> Self:
        """Waits for its checkpoint."""
        error, reach = step.outcome.error, step.reach
        return cls(
            step=step.id,
            outcome=step.outcome.kind,
            text=step.outcome.text,
            error="" if error is None else one_line(f"{error.name}: {error.value}")[:2000],
            seconds=round(step.duration, 3),
            changes=_lines(map(str, step.changes)),
            effects=_lines(map(str, step.effects)),
            stands=_lines((*reach.stands, *reach.sent)),
        )


class Moved(BaseModel):
    """Where the session stands now. `memory` is how variables came back: woken (as they were), replayed or fresh."""

    step: int
    memory: str
    restored: list[str]
    taken_back: list[str]
    stands: list[str]

    @classmethod
    def of(cls, back: Restoration) -> Self:
        return cls(
            step=back.step,
            memory=back.memory,
            restored=_lines(map(str, back.restored)),
            taken_back=_lines(back.taken_back),
            stands=_lines(back.stands),
        )

    def text(self) -> str:
        lines = [f"All is as it was after step {self.step}; variables: {self.memory}."]
        lines += [f"put back: {line}" for line in self.restored]
        lines += [f"taken back: {line}" for line in self.taken_back]
        lines += [f"could not be taken back: {line}" for line in self.stands]
        return "\n".join(lines)


class Node(BaseModel):
    step: int
    parent: int | None
    outcome: str
    source: str


class Timeline(BaseModel):
    """The tree of steps; `cursor` is where the session stands."""

    cursor: int
    steps: list[Node]

    @classmethod
    def of(cls, known: Known) -> Self:
        nodes = [known.nodes[id] for id in sorted(known.nodes)][-LINES:]
        return cls(
            cursor=known.cursor,
            steps=[
                Node(step=each.id, parent=each.parent, outcome=each.kind, source=one_line(each.source)[:200])
                for each in nodes
            ],
        )

    def text(self) -> str:
        marks = {self.cursor: ">"}
        return "\n".join(
            f"{marks.get(each.step, ' ')} {each.step} (after {each.parent}) {each.outcome}: {each.source}"
            for each in self.steps
        )


class Diffed(BaseModel):
    since: int
    until: int
    paths: list[str]
    text: str

    @classmethod
    def of(cls, session: Session, since: int, until: int | None) -> Self:
        found = session.diff(since, until)
        return cls(
            since=since,
            until=session.timeline.cursor if until is None else until,
            paths=_lines(map(str, found)),
            text=shorten(found.text, DIFF),
        )


class Committed(BaseModel):
    """What was written to the user's folder, and what was left alone because the user changed it too. `databases` were
    committed with it; of the requests that were held, `sent` have left now and `held` wait on."""

    applied: list[str]
    conflicts: list[str]
    databases: list[str] = []
    sent: list[str] = []
    held: list[str] = []

    @classmethod
    def of(cls, done: Commit) -> Self:
        return cls(
            applied=_lines(f"{each.did} {_path(each.path)}" for each in done.applied),
            conflicts=_lines(_path(each.path) for each in done.conflicts),
            databases=_lines(done.databases),
            sent=_lines(map(str, done.sent)),
            held=_lines(map(str, done.held)),
        )

    def text(self) -> str:
        lines = [f"{len(self.applied)} paths were written."]
        lines += self.applied + [f"left alone, the user changed it too: {line}" for line in self.conflicts]
        lines += [f"the database {name} was committed" for name in self.databases]
        lines += [*self.sent, *self.held]
        return "\n".join(lines)


def images(outcome: Outcome) -> Iterator[tuple[str, str]]:
    """Type and base64 of the images that an action showed."""
    bundles = [*(each.data for each in outcome.displays), *([outcome.result.data] if outcome.result else [])]
    left = IMAGES
    for bundle in bundles:
        for kind in ("image/png", "image/jpeg"):
            data = bundle.get(kind)
            if isinstance(data, str) and len(data) <= LARGEST and left:
                left -= 1
                yield kind, "".join(data.split())
                break


def _path(path: bytes) -> str:
    return one_line(path.decode("utf-8", "backslashreplace"))


def _lines(lines: Iterator[str] | Sequence[str]) -> list[str]:
    """Printable, and not too many of them."""
    found = [printable(line)[:1000] for line in lines]
    more = len(found) - LINES
    return [*found[:LINES], *([f"and {more:,} more"] if more > 0 else [])]
