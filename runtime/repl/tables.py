"""A data frame as a table, made of its plain text. Its HTML tells that it is one, and is never read.

pandas sets its columns flush right, a blank column between them. Where the text does not look like that (it was
wrapped, or a cell has a line of its own) there is no table, and the text is shown as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from mulligan.sandbox.printable import one_line

#: characters, lines and columns of one that is taken apart
_LARGEST, _LINES, _COLUMNS = 40_000, 200, 60
_SHAPE = re.compile(r"\[[\d,]+ rows x [\d,]+ columns\]")


def table_of(data: Mapping[str, Any], width: int) -> Table | None:
    """None where it is no data frame, or not one that fits."""
    text, html = data.get("text/plain"), data.get("text/html")
    if not (isinstance(text, str) and isinstance(html, str) and 'class="dataframe"' in html[:4000]):
        return None
    if len(text) > _LARGEST or not text.strip() or any(char in text for char in "\t\r\x1b"):
        return None
    lines = text.split("\n")
    caption = lines.pop() if _SHAPE.fullmatch(lines[-1]) else ""
    while lines and not lines[-1].strip():
        lines.pop()
    if not 2 <= len(lines) <= _LINES or not all(line.strip() for line in lines) or lines[0].endswith("\\"):
        return None
    rows = _cut(lines)
    return None if rows is None else _fitting(_table(rows, caption), rows, width)


def _cut(lines: Sequence[str]) -> list[list[str]] | None:
    """The cells: columns end where no line has a character."""
    longest = max(map(len, lines))
    padded = [line.ljust(longest) for line in lines]
    blank = [all(line[at] == " " for line in padded) for at in range(longest)]
    spans, begins = [], None
    for at in range(longest + 1):
        empty = at == longest or blank[at]
        if not empty and begins is None:
            begins = at
        elif empty and begins is not None:
            spans.append((begins, at))
            begins = None
    spans = _joined(spans, padded[0], has_index=not padded[0][: spans[0][1]].strip())
    if not 2 <= len(spans) <= _COLUMNS:
        return None
    return [[line[start:end].strip() for start, end in spans] for line in padded]


def _joined(spans: list[tuple[int, int]], header: str, *, has_index: bool) -> list[tuple[int, int]]:
    """A cell may have blanks in it: what has no name above it belongs to the column to its right."""
    found: list[tuple[int, int]] = []
    begun: int | None = None
    for at, (start, end) in enumerate(spans):
        if at == 0 and has_index:
            found.append((start, end))
            continue
        begun = start if begun is None else begun
        if header[start:end].strip():
            found.append((begun, end))
            begun = None
    return found


def _table(rows: list[list[str]], caption: str) -> Table:
    head, *body = rows
    index = ""
    if body and not any(body[0][1:]):  # the index has a name, on a line of its own
        index = body.pop(0)[0]
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, caption=Text(caption, "dim") or None)
    table.caption_justify = "left"
    for at, name in enumerate(head):
        texts = [row[at] for row in body]
        flush = "left" if at == 0 or not all(map(_is_number, texts)) else "right"
        named = name or (index if at == 0 else "")
        table.add_column(
            Text(one_line(named)),
            justify="right" if flush == "right" else "left",
            style="dim" if at == 0 else "",
        )
    for row in body:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    return table


def _fitting(table: Table, rows: list[list[str]], width: int) -> Table | None:
    needed = sum(max(len(one_line(cell)) for cell in column) + 2 for column in zip(*rows, strict=True))
    return table if needed <= width else None


def _is_number(cell: str) -> bool:
    return cell in ("NaN", "None", "...", "<NA>", "NaT") or bool(
        re.fullmatch(r"[-+]?[\d.,]+(e[-+]?\d+)?%?", cell)
    )
