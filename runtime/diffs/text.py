"""Text: lines added and removed, in unified form.

What both begin and end with is cut off first, so a million lines with one that changed cost one pass. What is left
is aligned by difflib, whose worst case is worse than quadratic: past a bound, and for whoever provokes that, the
lines are counted and not aligned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

from mulligan.runtime.diffs.detail import WIDTH, Detail, Lines, Unfit, counted

#: lines around a change
CONTEXT = 3
#: lines of either side, between what both begin and end with, that are aligned
MOST = 20_000
#: bytes that decide whether it is text, and the share of them that need not be UTF-8
HEAD, STRANGE = 1 << 16, 0.1
_NO_NEWLINE = "\\ no newline at the end"

Block = tuple[str, int, int, int, int]


def compare(before: bytes | None, after: bytes | None, lines: int) -> Detail:
    olds, news, shown = split(before), split(after), Lines(lines)
    removed, added, notes = compare_lines(olds, news, shown)
    if any(not decodes(side) for side in (before, after) if side is not None):
        notes += ("not all of it is UTF-8: such bytes are shown as \\xNN",)
    return Detail(
        kind="text",
        summary=f"+{added:,} -{removed:,} lines" if before or after else "empty",
        counts={"lines_added": added, "lines_removed": removed},
        lines=shown.all,
        left_out=shown.left_out,
        notes=notes,
    )


def split(data: bytes | None) -> list[str]:
    """Lines, of which none but the last may lack its newline; that is then a line of its own. Raises Unfit."""
    if not data:
        return []
    if not is_text(data):
        raise Unfit("it is not text")
    lines = data.decode("utf-8", "backslashreplace").split("\n")
    if lines[-1]:
        return [*lines, _NO_NEWLINE]
    return lines[:-1]


def is_text(data: bytes) -> bool:
    """Whether people could read it: no NUL byte, and all but a little of its head is UTF-8."""
    head = data[:HEAD]
    strange = len(head) - len(head.decode("utf-8", "ignore").encode())
    return b"\0" not in data and strange <= max(3, len(head) * STRANGE)


def decodes(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def compare_lines(olds: Sequence[str], news: Sequence[str], shown: Lines) -> tuple[int, int, tuple[str, ...]]:
    """Show the hunks; how many lines were removed, how many added, and notes."""
    start, end = _common(olds, news)
    first = max(0, start - CONTEXT)
    tail = max(0, end - CONTEXT)
    middle_old, middle_new = olds[first : len(olds) - tail], news[first : len(news) - tail]
    if max(len(middle_old), len(middle_new)) > MOST:
        return _count(middle_old, middle_new, first, shown)
    matcher = SequenceMatcher(None, middle_old, middle_new)
    removed = added = 0
    for hunk in matcher.get_grouped_opcodes(CONTEXT):
        shown.add("@", _place(hunk, first))
        for block in hunk:
            removed += (block[2] - block[1]) * (block[0] != "equal")
            added += (block[4] - block[3]) * (block[0] != "equal")
            _show(block, middle_old, middle_new, shown)
    return max(0, removed - _marks(olds, news)), max(0, added - _marks(news, olds)), ()


def _marks(these: Sequence[str], others: Sequence[str]) -> int:
    """Whether the mark for a missing newline was counted as a line of these."""
    return int(these[-1:] == [_NO_NEWLINE] != others[-1:])


def _common(olds: Sequence[str], news: Sequence[str]) -> tuple[int, int]:
    """How many lines both begin with, and how many of the others both end with."""
    most = min(len(olds), len(news))
    start = next((at for at in range(most) if olds[at] != news[at]), most)
    most -= start
    end = next((at for at in range(most) if olds[-1 - at] != news[-1 - at]), most)
    return start, end


def _place(hunk: Sequence[Block], offset: int) -> str:
    _, old, _, new, _ = hunk[0]
    _, _, old_end, _, new_end = hunk[-1]
    return f"@@ -{_range(old, old_end, offset)} +{_range(new, new_end, offset)} @@"


def _range(start: int, end: int, offset: int) -> str:
    """As `diff -u` counts: from 1, and the line before where there is none."""
    return f"{offset + start + (end > start)},{end - start}"


def _show(block: Block, olds: Sequence[str], news: Sequence[str], shown: Lines) -> None:
    tag, old, old_end, new, new_end = block
    if tag == "equal":
        for line in olds[old:old_end]:
            shown.add(" ", line)
        return
    starts = _starts(olds[old:old_end], news[new:new_end])
    for at, line in enumerate(olds[old:old_end]):
        shown.add("-", line, starts[at] if starts else 0)
    for at, line in enumerate(news[new:new_end]):
        shown.add("+", line, starts[at] if starts else 0)


def _starts(olds: Sequence[str], news: Sequence[str]) -> list[int]:
    """Of lines that were replaced one by one, where to begin to show them, so that what differs is seen."""
    if len(olds) != len(news):
        return []
    same = [_same(old, new) for old, new in zip(olds, news, strict=True)]
    return [max(0, length - 60) if length > WIDTH // 2 else 0 for length in same]


def _same(old: str, new: str) -> int:
    """How many characters both begin with."""
    most = min(len(old), len(new))
    return next((at for at in range(most) if old[at] != new[at]), most)


def _count(
    olds: Sequence[str], news: Sequence[str], first: int, shown: Lines
) -> tuple[int, int, tuple[str, ...]]:
    """Lines that one side has and the other has not, wherever they are."""
    gone, come = Counter(olds), Counter(news)
    shown.add("@", f"from line {first + 1:,}")
    removed = _show_surplus("-", gone, come, shown)
    added = _show_surplus("+", come, gone, shown)
    return removed, added, (f"more than {counted(MOST, 'line')} differ: they are counted, not aligned",)


def _show_surplus(sign: str, these: Mapping[str, int], others: Mapping[str, int], shown: Lines) -> int:
    """Show each line of these that the others lack, once; how many there are."""
    total = told = 0
    for line, count in these.items():
        if (more := count - others.get(line, 0)) > 0:
            total += more
            if not shown.full:
                shown.add(sign, line)
                told += 1
    shown.skip(total - told)
    return total
