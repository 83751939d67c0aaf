"""A difference as lines for people. Every name and every text of a file is made printable here, and nothing of it is
left out: what could act on a terminal, or hide, is shown in its escaped form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mulligan.runtime.diffs.detail import LINES, Detail, Line, clip, counted
from mulligan.runtime.diffs.diff import Budget, Diff, FileDiff
from mulligan.sandbox.printable import escaped, one_line

MARKS = {"added": "+", "removed": "-", "changed": "~", "renamed": "→"}
_INDENT = "    "


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is told: paths; of these with details; lines of one, in the workspace and outside; lines of all. With
    0 lines only summaries are told."""

    files: int = 1_000
    details: int = 100
    file: int = LINES
    outside: int = 0
    lines: int = 2_000


def plain(diff: Diff, bounds: Bounds | None = None) -> str:
    return "".join(f"{line.text}\n" for line in spell(diff, bounds or Bounds()))


def details(files: Sequence[FileDiff], bounds: Bounds) -> Iterator[tuple[FileDiff, Detail | None]]:
    """Each path, and what differs in it as far as the bounds allow; None where no content differs, or no more is
    told."""
    budget, left = Budget(), bounds.lines
    for number, file in enumerate(files[: bounds.files]):
        more = number < bounds.details and (left > 0 or bounds.lines == 0)
        most = min(bounds.file if file.in_workspace else bounds.outside, left)
        told = file.detail(lines=most, budget=budget) if more else None
        left -= len(told.lines) if told else 0
        yield file, told


def spell(diff: Diff, bounds: Bounds) -> Iterator[Line]:
    """Lines that are ready to be shown; the sign says how one is to be coloured, and "→" is a path renamed, "!" a
    remark."""
    files, silent = diff.files, 0
    for file, told in details(files, bounds):
        yield Line(MARKS[file.action], _head(file))
        silent += told is None and file.content_differs
        yield from _body(told) if told else ()
    yield from _end(diff, files, bounds, silent)


def summary(diff: Diff, bounds: Bounds) -> Iterator[Line]:
    """A line a path: what `--stat` shows."""
    files = diff.files
    for file, told in details(files, replace(bounds, lines=0, details=bounds.files)):
        yield Line(MARKS[file.action], _head(file) + (f"  {one_line(clip(told.summary))}" if told else ""))
    yield from _end(diff, files, bounds, 0)


def _body(told: Detail) -> Iterator[Line]:
    yield Line("!", f"{_INDENT}{one_line(clip(told.summary))}")
    for line in told.lines:
        yield Line(line.sign, f"{_INDENT}{'' if line.sign == '@' else line.sign}{_shown(line.text)}")
    if told.left_out and told.lines:
        yield Line("!", f"{_INDENT}… {counted(told.left_out, 'line')} more")
    for note in told.notes:
        yield Line("!", f"{_INDENT}({one_line(clip(note))})")


def _end(diff: Diff, files: Sequence[FileDiff], bounds: Bounds, silent: int) -> Iterator[Line]:
    if len(files) > bounds.files:
        yield Line("!", f"… {counted(len(files) - bounds.files, 'path')} more")
    if silent:
        yield Line("!", f"… what differs in {counted(silent, 'path')} is not told: --lines tells more")
    yield Line("!", total(diff, files))


def total(diff: Diff, files: Sequence[FileDiff]) -> str:
    counts = Counter[str](file.action for file in files)
    said = [f"{counts[action]:,} {action}" for action in MARKS if counts[action]]
    return f"step {diff.before} → step {diff.after}: {', '.join(said) or 'no files differ'}"


def _head(file: FileDiff) -> str:
    name = one_line(file.path) if file.was is None else f"{one_line(file.was)} → {one_line(file.path)}"
    facts = [f"with {counted(file.inside, 'path')} in it"] if file.inside else []
    facts += [one_line(clip(fact)) for fact in file.facts]
    return f"{MARKS[file.action]} {name}" + (f"  ({'; '.join(facts)})" if facts else "")


def _shown(text: str) -> str:
    """A line of a file; tabs stay."""
    return escaped(text).replace("\n", "\\n")
