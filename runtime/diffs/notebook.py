"""Jupyter notebooks of format 4, cell by cell: sources and text outputs line by line, other outputs by their size.

Execution counts alone are no change. What cannot be read as a notebook is text.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from mulligan.runtime.diffs.detail import Detail, Lines, Unfit, counted
from mulligan.runtime.diffs.text import compare_lines

MOST_CELLS = 5_000
_TOLD = ("added", "removed", "changed", "outputs")


@dataclass(frozen=True, slots=True)
class Cell:
    kind: str
    source: str
    outputs: tuple[str, ...]
    metadata: str

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.source


def compare(before: bytes | None, after: bytes | None, lines: int) -> Detail:
    olds, old_metadata = _read(before)
    news, new_metadata = _read(after)
    shown, counts = Lines(lines), Counter[str]()
    if before is not None and after is not None:
        _compare_metadata("notebook", old_metadata, new_metadata, shown, counts)
    for old, new, at in _pairs(olds, news):
        _compare_cells(old, new, at, shown, counts)
    if before is not None and after is not None and not counts:
        raise Unfit("no cell differs, the file does")
    return Detail(
        kind="notebook",
        summary=_summary(counts),
        counts={f"cells_{name}": counts[name] for name in _TOLD},
        lines=shown.all,
        left_out=shown.left_out,
    )


def _summary(counts: Counter[str]) -> str:
    told = [f"{counts[name]:,} {name}" for name in _TOLD[:3] if counts[name]]
    said = [f"cells: {', '.join(told)}"] if told else []
    said += [f"{counted(counts['outputs'], 'cell')} with other output"] if counts["outputs"] else []
    said += ["metadata changed"] if counts["metadata"] else []
    return "; ".join(said) or "no cells"


# -- reading ---------------------------------------------------------------------------------------------------


def _read(data: bytes | None) -> tuple[list[Cell], str]:
    if data is None:
        return [], ""
    try:
        book = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Unfit(f"it is not JSON that can be read ({type(error).__name__})") from error
    if not isinstance(book, dict) or not isinstance(book.get("cells"), list):
        raise Unfit("it has no list of cells")
    if len(book["cells"]) > MOST_CELLS:
        raise Unfit(f"it has more than {counted(MOST_CELLS, 'cell')}")
    return [_cell(cell) for cell in book["cells"]], _told(book.get("metadata"))


def _cell(cell: Any) -> Cell:
    if not isinstance(cell, dict):
        raise Unfit("a cell of it is none")
    outputs = cell.get("outputs")
    return Cell(
        kind=str(cell.get("cell_type"))[:20],
        source=_joined(cell.get("source")),
        outputs=tuple(line for output in outputs for line in _output(output))
        if isinstance(outputs, list)
        else (),
        metadata=_told(cell.get("metadata")),
    )


def _output(output: Any) -> Iterator[str]:
    """An output as lines: texts as they are, the rest by its type, size and digest of a kind."""
    if not isinstance(output, dict):
        return
    if "text" in output:
        yield from _lines(_joined(output["text"]))
    if output.get("output_type") == "error":
        yield f"{output.get('ename')}: {output.get('evalue')}"
    data = output.get("data")
    for kind, content in sorted(data.items()) if isinstance(data, dict) else ():
        if kind == "text/plain":
            yield from _lines(_joined(content))
        else:
            text = _joined(content) if isinstance(content, (str, list)) else _told(content)
            yield f"[{kind}, {counted(len(text), 'character')}, {_digest(text)}]"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _joined(source: Any) -> str:
    if isinstance(source, str):
        return source
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        return "".join(source)
    return ""


def _told(value: Any) -> str:
    try:
        return json.dumps(value, sort_keys=True)
    except RecursionError as error:
        raise Unfit("it is nested too deep") from error


# -- comparing -------------------------------------------------------------------------------------------------


def _pairs(olds: Sequence[Cell], news: Sequence[Cell]) -> Iterator[tuple[Cell | None, Cell | None, int]]:
    """Cells that belong together, and the number by which to name them: the new one's, if there is one."""
    matcher = SequenceMatcher(None, [cell.key for cell in olds], [cell.key for cell in news], autojunk=False)
    for _, old, old_end, new, new_end in matcher.get_opcodes():
        for at in range(max(old_end - old, new_end - new)):
            was = olds[old + at] if old + at < old_end else None
            now = news[new + at] if new + at < new_end else None
            number = (new if now else old) + at + 1
            if was and now and was.kind != now.kind:
                yield was, None, old + at + 1
                yield None, now, number
            else:
                yield was, now, number


def _compare_cells(old: Cell | None, new: Cell | None, at: int, shown: Lines, counts: Counter[str]) -> None:
    cell = new or old
    assert cell is not None
    if old is None or new is None:
        did, sign = ("added", "+") if old is None else ("removed", "-")
        counts[did] += 1
        shown.add("@", f"cell {at} ({cell.kind}) {did}")
        for line in _lines(cell.source):
            shown.add(sign, line)
        return
    if old.source != new.source:
        counts["changed"] += 1
        shown.add("@", f"cell {at} ({cell.kind})")
        compare_lines(_lines(old.source), _lines(new.source), shown)
    if old.outputs != new.outputs:
        counts["outputs"] += 1
        shown.add("@", f"cell {at} output")
        compare_lines(old.outputs, new.outputs, shown)
    _compare_metadata(f"cell {at}", old.metadata, new.metadata, shown, counts)


def _compare_metadata(what: str, old: str, new: str, shown: Lines, counts: Counter[str]) -> None:
    if old != new:
        counts["metadata"] += 1
        shown.add("@", f"{what} metadata")
        shown.add("-", old)
        shown.add("+", new)


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n") if text else []
