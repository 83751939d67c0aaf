"""File changes as people see them: paths relative to the workspace, or as the sandbox sees them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from mulligan.sandbox.isolation import WRITABLE
from mulligan.sandbox.printable import one_line
from mulligan.sandbox.snapshots import Change, Entry, Kind

_MARKS = {"added": "+", "removed": "-", "changed": "~"}


@dataclass(frozen=True, slots=True)
class FileChange:
    """`path` is relative to the workspace; files elsewhere (home, /tmp, ...) have their absolute path in the
    sandbox. Bytes that are not UTF-8 appear as `\\xNN`. `before` and `after` are None where there was nothing."""

    path: str
    before: Entry | None
    after: Entry | None

    @property
    def action(self) -> Literal["added", "removed", "changed"]:
        return Change(b"", self.before, self.after).action

    @property
    def in_workspace(self) -> bool:
        return not self.path.startswith("/")

    def __str__(self) -> str:
        return f"{_MARKS[self.action]} {one_line(self.path)}"


def present(changes: Iterable[Change]) -> tuple[FileChange, ...]:
    """Without the folders of which only the time changed, because something in them did."""
    return tuple(
        FileChange(place_of(change.path), change.before, change.after) for change in worth_telling(changes)
    )


def worth_telling(changes: Iterable[Change]) -> tuple[Change, ...]:
    return tuple(change for change in changes if not _only_time(change))


def place_of(path: bytes) -> str:
    """A path of the store as people see it: relative to the workspace, or as the sandbox sees it."""
    text = path.decode("utf-8", "backslashreplace")
    top, _, rest = text.partition("/")
    if top == "workspace" and rest:
        return rest
    return f"{WRITABLE.get(top, '/' + top)}/{rest}".rstrip("/")


def _only_time(change: Change) -> bool:
    before, after = change.before, change.after
    if before is None or after is None or after.kind is not Kind.FOLDER:
        return False
    return replace(before, mtime_ns=after.mtime_ns) == after
