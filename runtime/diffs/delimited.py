"""CSV and TSV as tables. A file that is no clean table, every row as wide as the first, is compared as text."""

from __future__ import annotations

import csv
import io

from mulligan.runtime.diffs.detail import Detail, Unfit, counted
from mulligan.runtime.diffs.table import MOST_COLUMNS, Table, compare_tables, fits
from mulligan.runtime.diffs.text import is_text

#: characters of one cell
LARGEST_CELL = 1 << 17
_DELIMITERS = ",;\t|"


def compare(before: bytes | None, after: bytes | None, lines: int) -> Detail:
    old, new = (None if data is None else _read(data) for data in (before, after))
    if old == new:
        raise Unfit("the cells are the same, and written otherwise")
    return compare_tables("table", old, new, lines)


def _read(data: bytes) -> Table:
    if not is_text(data):
        raise Unfit("it is not text")
    text = data.decode("utf-8-sig", "backslashreplace")
    head = text[: 1 << 20].partition("\n")[0]
    delimiter = max(_DELIMITERS, key=head.count)
    if head.count(delimiter) >= MOST_COLUMNS:
        raise Unfit(f"it has more than {counted(MOST_COLUMNS, 'column')}")
    csv.field_size_limit(LARGEST_CELL)
    try:
        return _table(text, delimiter)
    except csv.Error as error:
        raise Unfit(f"it cannot be read as a table: {error}") from error


def _table(text: str, delimiter: str) -> Table:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns = tuple(next(reader, ()))
    if len(set(columns)) != len(columns):
        raise Unfit("two of its columns have one name")
    rows: list[tuple[str, ...]] = []
    for row in reader:
        if len(row) != len(columns):
            raise Unfit(f"line {reader.line_num:,} has not as many cells as the first")
        rows.append(tuple(row))
        if not fits(len(columns), len(rows)):
            raise Unfit("it has too many cells")
    return Table(columns, ("",) * len(columns), len(rows), rows)
