"""What our magics show: the same lines as plain text and as HTML.

The lines hold names and contents that hostile code has chosen. They come made printable, and here, at the one place
where HTML is made of them, every character that means something in it is escaped; styles are ours alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from mulligan.runtime.changes import FileChange
from mulligan.runtime.checkpoint import Restoration
from mulligan.runtime.commit import Commit
from mulligan.runtime.diffs.diff import Diff
from mulligan.runtime.diffs.lines import Bounds, spell
from mulligan.runtime.step import Reach
from mulligan.runtime.timeline import Timeline, headline
from mulligan.sandbox.printable import one_line

#: paths or remarks that are listed of one kind
MOST = 50
_STYLES = {
    "+": "color:#1a7f37",
    "-": "color:#cf222e",
    "~": "color:#9a6700",
    "→": "color:#0969da",
    "@": "color:#0969da",
    "!": "opacity:.65",
    "here": "font-weight:bold",
    "head": "font-weight:bold",
    "gone": "opacity:.6",
}
_MARKS = {"added": "+", "changed": "~", "removed": "-"}


@dataclass(frozen=True, slots=True)
class Line:
    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """One thing to show, twice."""

    lines: tuple[Line, ...]

    @classmethod
    def of(cls, lines: Iterable[Line]) -> Shown:
        return cls(tuple(lines))

    @property
    def text(self) -> str:
        return "\n".join(line.text for line in self.lines)

    @property
    def html(self) -> str:
        body = "\n".join(map(_html, self.lines))
        return f'<pre class="mulligan" style="white-space:pre-wrap">{body}</pre>'


def _html(line: Line) -> str:
    text = escape(line.text, quote=True)
    style = _STYLES.get(line.style, "")
    return f'<span style="{style}">{text}</span>' if style else text


def show_restoration(back: Restoration, timeline: Timeline, took_back: str) -> Shown:
    source = one_line(headline(timeline.node(back.step).source))
    lines = [Line(f"{took_back}: at step {back.step} ({source})", "head")]
    lines.append(
        Line(f"variables: {_MEMORY.get(back.memory, back.memory)}; {back.duration * 1000:.0f} ms", "!")
    )
    lines += _paths("files put back", back.restored)
    lines += _remarks("not as it was", back.stands)
    return Shown.of(lines)


_MEMORY = {
    "woken": "exactly as they were",
    "replayed": "made again by running cells again",
    "fresh": "a fresh kernel",
}


def show_timeline(timeline: Timeline, names: dict[str, int]) -> Shown:
    labels: dict[int, list[str]] = {}
    for name, step in names.items():
        labels.setdefault(step, []).append(name)
    return Shown.of(_labelled(text, step, timeline, labels) for text, step in _rows(timeline))


def _rows(timeline: Timeline) -> Iterable[tuple[str, int]]:
    for text in str(timeline).split("\n"):
        digits = text.lstrip("→ │├─").partition(" ")[0]
        yield text, int(digits) if digits.isdecimal() else -1


def _labelled(text: str, step: int, timeline: Timeline, labels: dict[int, list[str]]) -> Line:
    names = "".join(f"  «{name}»" for name in labels.get(step, ()))
    hidden = step in timeline.nodes and timeline.nodes[step].proposer == HIDDEN
    style = "here" if step == timeline.cursor else "gone" if hidden else ""
    return Line(text + names, style)


#: who proposes what a program runs unseen, besides the cells
HIDDEN = "jupyter, silent"


def show_diff(diff: Diff) -> Shown:
    lines = [Line(each.text, each.sign) for each in spell(diff, Bounds())]
    return Shown.of(lines or [Line("nothing differs", "!")])


def show_commit(done: Commit, verb: str) -> Shown:
    count = len(done.applied)
    lines = [Line(f"{verb}: {count:,} path{'s' * (count != 1)}", "head")]
    lines += [Line(f"  {each.did} {_name(each.path)}") for each in done.applied[:MOST]]
    lines += _more(count)
    conflicts = [
        f"{_name(each.path)}: here {each.ours}, in the folder {each.theirs}" for each in done.conflicts
    ]
    lines += _remarks("left alone, as both sides changed it or it may not be carried out", conflicts)
    lines += _remarks("sent, for good", [one_line(str(each)) for each in done.sent])
    return Shown.of(lines + _remarks("not sent", [one_line(str(each)) for each in done.held]))


def show_reach(step: int, reach: Reach) -> Shown:
    lines = [Line(f"a return to step {step} would bring back", "head")]
    lines.append(Line(f"  files: {reach.files}"))
    lines.append(Line(f"  memory: {reach.memory}"))
    lines += _remarks("and not", reach.stands)
    return Shown.of(lines + _remarks("to undo the step itself does not take back", reach.sent))


def _name(path: bytes) -> str:
    return one_line(path.decode("utf-8", "backslashreplace"))


def _paths(title: str, changes: Iterable[FileChange]) -> list[Line]:
    listed = list(changes)
    if not listed:
        return []
    lines = [Line(f"{title}: {len(listed):,}")]
    for change in listed[:MOST]:
        mark = _MARKS.get(change.action, "~")
        lines.append(Line(f"  {mark} {one_line(change.path)}", mark))
    return lines + _more(len(listed))


def _remarks(title: str, words: Iterable[str]) -> list[Line]:
    listed = list(words)
    if not listed:
        return []
    return [
        Line(f"{title}:", "~"),
        *(Line(f"  {one_line(each)}") for each in listed[:MOST]),
        *_more(len(listed)),
    ]


def _more(count: int) -> list[Line]:
    return [Line(f"  … and {count - MOST:,} more", "!")] if count > MOST else []
