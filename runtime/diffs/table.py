"""Tables: columns that came, went or changed their type; rows that came or went; cells that changed.

Columns are told by their names. Rows belong together by a column that names them, if there is one: its values are
unique on both sides and half of them are on both. Without one, tables of one length are compared row by row, and of
others the rows are counted that only one side has. Every cell is text here: two are equal when they are written alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mulligan.runtime.diffs.detail import Detail, Lines, counted

#: what a table may have at most to have its cells compared
MOST_COLUMNS, MOST_ROWS, MOST_CELLS = 2_000, 500_000, 4_000_000
#: cells that are shown of a row, and characters of a cell
CELLS, CELL = 12, 60

Row = Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    """`rows` is None where there are too many cells; `length` counts them all the same. `types` are "" in files
    that have none."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    length: int
    rows: Sequence[Row] | None


NOTHING = Table((), (), 0, ())


def fits(columns: int, rows: int) -> bool:
    return columns <= MOST_COLUMNS and rows <= MOST_ROWS and columns * rows <= MOST_CELLS


def compare_tables(kind: str, before: Table | None, after: Table | None, lines: int) -> Detail:
    old, new = before or NOTHING, after or NOTHING
    shown, counts = Lines(lines), Counter[str]()
    if before is None or after is None:
        return _whole(kind, "-" if after is None else "+", old if after is None else new, shown)
    _compare_columns(old, new, shown, counts)
    notes: tuple[str, ...] = ()
    if old.rows is None or new.rows is None:
        notes = ("it has too many cells to be compared one by one",)
        counts["rows_added"] = max(0, new.length - old.length)
        counts["rows_removed"] = max(0, old.length - new.length)
    else:
        notes = _compare_rows(old, new, shown, counts)
    return Detail(kind, _summary(counts), dict(counts), shown.all, shown.left_out, notes)


def _whole(kind: str, sign: str, table: Table, shown: Lines) -> Detail:
    """A table that is on one side only."""
    size = f"{counted(table.length, 'row')} of {counted(len(table.columns), 'column')}"
    shown.add(sign, _row(table.columns))
    for row in table.rows or ():
        shown.add(sign, _row(row))
    done = {"+": "added", "-": "removed"}[sign]
    counts = {f"rows_{done}": table.length, f"columns_{done}": len(table.columns)}
    return Detail(kind, size, counts, shown.all, shown.left_out)


def _summary(counts: Mapping[str, int]) -> str:
    said = []
    for what in ("row", "column"):
        numbers = [(counts.get(f"{what}s_{did}", 0), did) for did in ("added", "removed", "changed")]
        told = [f"{number:,} {did}" for number, did in numbers if number]
        said += [f"{what}s: {', '.join(told)}"] if told else []
    if cells := counts.get("cells_changed", 0):
        said.append(counted(cells, "cell") + " changed")
    return "; ".join(said) or "rows in another order"


def _compare_columns(old: Table, new: Table, shown: Lines, counts: Counter[str]) -> None:
    kinds_before, kinds_after = (
        dict(zip(old.columns, old.types, strict=True)),
        dict(zip(new.columns, new.types, strict=True)),
    )
    gone = [name for name in old.columns if name not in kinds_after]
    come = [name for name in new.columns if name not in kinds_before]
    for name in gone:
        shown.add("-", f"column {_cell(name)}")
    for name in come:
        shown.add("+", f"column {_cell(name)}")
    counts["columns_removed"], counts["columns_added"] = len(gone), len(come)
    for name in old.columns:
        if name in kinds_after and kinds_before[name] != kinds_after[name]:
            counts["columns_changed"] += 1
            shown.add("~", f"column {_cell(name)}: {kinds_before[name]} → {kinds_after[name]}")
    if [name for name in old.columns if name in kinds_after] != [
        name for name in new.columns if name in kinds_before
    ]:
        counts["columns_moved"] = 1
        shown.add("~", "columns in another order")


# -- rows ------------------------------------------------------------------------------------------------------


def _compare_rows(old: Table, new: Table, shown: Lines, counts: Counter[str]) -> tuple[str, ...]:
    names = [name for name in old.columns if name in set(new.columns)]
    olds, news = _picked(old, names), _picked(new, names)
    key = _key(olds, news, len(names))
    start, end = _common(olds, news)
    olds, news = olds[start : len(olds) - end], news[start : len(news) - end]
    if key is not None:
        _by_key(names, key, olds, news, shown, counts)
        return ()
    if len(olds) == len(news):
        _by_place(names, start, olds, news, shown, counts)
        return ()
    return _by_count(olds, news, shown, counts)


def _picked(table: Table, names: Sequence[str]) -> list[Row]:
    rows = table.rows or ()
    if tuple(names) == table.columns:
        return list(rows)
    places = [table.columns.index(name) for name in names]
    return [tuple(row[place] for place in places) for row in rows]


def _common(olds: Sequence[Row], news: Sequence[Row]) -> tuple[int, int]:
    most = min(len(olds), len(news))
    start = next((at for at in range(most) if olds[at] != news[at]), most)
    most -= start
    return start, next((at for at in range(most) if olds[-1 - at] != news[-1 - at]), most)


def _key(olds: Sequence[Row], news: Sequence[Row], columns: int) -> int | None:
    """The column that names rows best: unique on both sides, and for half of the shorter side on both."""
    best, found = None, (min(len(olds), len(news)) + 1) // 2 - 1
    for column in range(columns):
        here, there = {row[column] for row in olds}, {row[column] for row in news}
        unique = len(here) == len(olds) and len(there) == len(news)
        if unique and (both := len(here & there)) > found:
            best, found = column, both
    return best


def _by_key(
    names: Sequence[str],
    key: int,
    olds: Sequence[Row],
    news: Sequence[Row],
    shown: Lines,
    counts: Counter[str],
) -> None:
    before, after = {row[key]: row for row in olds}, {row[key]: row for row in news}
    for name, row in before.items():
        if name not in after:
            counts["rows_removed"] += 1
            shown.add("-", _row(row))
        elif row != after[name]:
            _changed(names, f"{_cell(names[key])}={_cell(name)}", row, after[name], shown, counts)
    for name, row in after.items():
        if name not in before:
            counts["rows_added"] += 1
            shown.add("+", _row(row))


def _by_place(
    names: Sequence[str],
    start: int,
    olds: Sequence[Row],
    news: Sequence[Row],
    shown: Lines,
    counts: Counter[str],
) -> None:
    for at, (old, new) in enumerate(zip(olds, news, strict=True), start + 1):
        if old != new:
            _changed(names, f"row {at:,}", old, new, shown, counts)


def _by_count(
    olds: Sequence[Row], news: Sequence[Row], shown: Lines, counts: Counter[str]
) -> tuple[str, ...]:
    before, after = Counter(map(tuple, olds)), Counter(map(tuple, news))
    for sign, did, rows in (("-", "removed", before - after), ("+", "added", after - before)):
        counts[f"rows_{did}"] = rows.total()
        for row, count in rows.items():
            shown.add(sign, _row(row) + (f"  ({count:,} times)" if count > 1 else ""))
    return ("no column names the rows: they are counted, not aligned",)


def _changed(
    names: Sequence[str], where: str, old: Row, new: Row, shown: Lines, counts: Counter[str]
) -> None:
    cells = list(_differing(names, old, new))
    counts["rows_changed"] += 1
    counts["cells_changed"] += len(cells)
    more = f", and {len(cells) - CELLS:,} more" if len(cells) > CELLS else ""
    shown.add("~", f"{where}  {', '.join(cells[:CELLS])}{more}")


def _differing(names: Sequence[str], old: Row, new: Row) -> Iterator[str]:
    for name, was, now in zip(names, old, new, strict=True):
        if was != now:
            yield f"{_cell(name)}: {_cell(was)} → {_cell(now)}"


def _row(cells: Row) -> str:
    more = ", …" if len(cells) > CELLS else ""
    return ", ".join(map(_cell, cells[:CELLS])) + more


def _cell(text: str) -> str:
    return (text[: CELL - 1] + "…" if len(text) > CELL else text) or "''"
