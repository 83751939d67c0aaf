"""The difference between two moments of a session: a sequence of changes and, for people, files with what is in
them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, overload

from mulligan.runtime.changes import FileChange, place_of, present, worth_telling
from mulligan.runtime.diffs.binary import compare_sizes
from mulligan.runtime.diffs.detail import LINES, Detail
from mulligan.runtime.diffs.facts import tell_facts
from mulligan.runtime.diffs.parsing import CONTENT, Parsing
from mulligan.runtime.diffs.renames import find_renames
from mulligan.sandbox.errors import StoreDamaged
from mulligan.sandbox.snapshots import Change, Entry, Kind

#: path in the store and most bytes, to the content at one of the two moments
Read = Callable[[bytes, int], bytes]


@dataclass(slots=True)
class Budget:
    """What telling a whole difference may cost: bytes of contents, and seconds. What is then left is told by its
    size."""

    bytes: int = 512 << 20
    seconds: float = 60.0
    _started: float = field(default_factory=time.monotonic)

    def spend(self, count: int) -> bool:
        """Whether there was as much left."""
        self.bytes -= count
        return self.bytes >= 0 and time.monotonic() - self._started < self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDiff:
    """One path. `was` is the other name of one that was renamed; `inside` counts what went along in a folder.
    `facts` say in words what changed besides the content."""

    action: Literal["added", "removed", "changed", "renamed"]
    path: str
    was: str | None = None
    before: Entry | None
    after: Entry | None
    inside: int = 0
    _raw: tuple[bytes, bytes] = field(repr=False)
    _diff: Diff = field(repr=False, compare=False)

    @property
    def in_workspace(self) -> bool:
        return not self.path.startswith("/")

    @property
    def facts(self) -> tuple[str, ...]:
        return tell_facts(self.before, self.after)

    @property
    def content_differs(self) -> bool:
        """Whether there are contents of which one could tell what differs."""
        sides = [
            None if side is None or side.kind is not Kind.FILE else side for side in (self.before, self.after)
        ]
        old, new = (None if side is None else side.data for side in sides)
        return old != new

    def detail(self, *, lines: int = LINES, budget: Budget | None = None) -> Detail | None:
        """What differs in the content, in at most so many lines; None where no content differs.

        Raises SessionClosed when the session is closed, SnapshotUnknown when a snapshot is gone.
        """
        return self._diff.tell(self, lines, budget) if self.content_differs else None


class Diff(Sequence[FileChange]):
    """Made by `Session.diff`. As a sequence, and when compared with one, it is its changes. `before` and `after` are
    the steps whose files are compared. Details are read when they are asked for, while the session is open."""

    def __init__(
        self,
        before: int,
        after: int,
        changes: Iterable[Change],
        read: tuple[Read, Read],
        parsing: Parsing,
    ) -> None:
        self.before, self.after = before, after
        self._raw = worth_telling(changes)
        self._read = read
        self._parsing = parsing
        self.changes = present(self._raw)

    @property
    def files(self) -> tuple[FileDiff, ...]:
        """What people would call changed: renames are one, and a folder that came or went with what is in it is
        not told besides that. The workspace comes first."""
        return tuple(sorted(self._files(), key=lambda file: (not file.in_workspace, file.path)))

    @property
    def text(self) -> str:
        """All of it as plain text that is safe to show, within bounds."""
        from mulligan.runtime.diffs.lines import plain

        return plain(self)

    @overload
    def __getitem__(self, at: int) -> FileChange: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[FileChange, ...]: ...
    def __getitem__(self, at: int | slice) -> FileChange | tuple[FileChange, ...]:
        return self.changes[at]

    def __len__(self) -> int:
        return len(self.changes)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Sequence) and not isinstance(other, str):
            return self.changes == tuple(other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.changes)

    def __repr__(self) -> str:
        return f"Diff({self.before} → {self.after}, {len(self)} changes)"

    def _files(self) -> Iterator[FileDiff]:
        by_path = {change.path: change for change in self._raw}
        told: set[bytes] = set()
        for renamed in find_renames(self._raw):
            told |= {renamed.before, renamed.after, *(path for pair in renamed.inside for path in pair)}
            old, new = by_path[renamed.before].before, by_path[renamed.after].after
            paths = (renamed.before, renamed.after)
            yield self._file("renamed", paths, old, new, inside=len(renamed.inside))
        implied = {change.path.rpartition(b"/")[0] for change in self._raw if change.action != "changed"}
        for path, change in by_path.items():
            if path not in told and not (path in implied and _came_or_went(change)):
                yield self._file(change.action, (path, path), change.before, change.after)

    def _file(
        self,
        action: Literal["added", "removed", "changed", "renamed"],
        paths: tuple[bytes, bytes],
        before: Entry | None,
        after: Entry | None,
        inside: int = 0,
    ) -> FileDiff:
        was = place_of(paths[0]) if paths[0] != paths[1] else None
        return FileDiff(
            action=action,
            path=place_of(paths[1]),
            was=was,
            before=before,
            after=after,
            inside=inside,
            _raw=paths,
            _diff=self,
        )

    def tell(self, file: FileDiff, lines: int, budget: Budget | None) -> Detail:
        old, new = (
            None if side is None or side.kind is not Kind.FILE else side.size
            for side in (file.before, file.after)
        )
        if max(old or 0, new or 0) > CONTENT:
            return compare_sizes(old, new, (f"above {CONTENT >> 20} MiB only sizes are compared",))
        if budget is not None and not budget.spend((old or 0) + (new or 0)):
            return compare_sizes(old, new, ("so much differs that of this only sizes are compared",))
        try:
            before, after = (
                None if size is None else read(path, size)
                for size, read, path in zip((old, new), self._read, file._raw, strict=True)
            )
        except StoreDamaged as error:
            return compare_sizes(old, new, (error.message,))
        return self._parsing.compare(file.path, before, after, lines)


def _came_or_went(change: Change) -> bool:
    entry = change.after or change.before
    return change.action != "changed" and entry is not None and entry.kind is Kind.FOLDER
