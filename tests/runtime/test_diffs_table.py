"""CSV and parquet, compared by columns, rows and cells."""

from __future__ import annotations

import datetime
import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from mulligan.runtime.diffs.detail import Detail
from mulligan.runtime.diffs.parsing import Parsing

Columns = dict[str, list[Any]]


def parquet(columns: Columns) -> bytes:
    file = io.BytesIO()
    pa.parquet.write_table(pa.table(columns), file)
    return file.getvalue()


def delimited(columns: Columns) -> bytes:
    rows = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    return "".join(row + "\n" for row in rows).encode()


@pytest.fixture(params=["csv", "parquet"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def told(parsing: Parsing, form: str, before: Columns | None, after: Columns | None) -> Detail:
    write = {"csv": delimited, "parquet": parquet}[form]
    contents = [None if columns is None else write(columns) for columns in (before, after)]
    detail = parsing.compare(f"a.{form}", contents[0], contents[1], 100)
    assert detail.kind == "table", detail
    return detail


def lines(detail: Detail) -> list[str]:
    return [line.sign + line.text for line in detail.lines]


def numbers(detail: Detail) -> dict[str, int]:
    return {name: count for name, count in detail.counts.items() if count}


NAN = float("nan")
BASE: Columns = {"id": [1, 2, 3, 4], "price": [1.5, 2.5, 3.5, 4.5], "city": ["Bern", "Rome", "Oslo", "Kyiv"]}


def test_a_cell_that_changed_is_told_by_the_column_that_names_its_row(parsing: Parsing, form: str) -> None:
    detail = told(parsing, form, BASE, {**BASE, "price": [1.5, 9.25, 3.5, 9.5]})
    assert lines(detail) == ["~id=2  price: 2.5 → 9.25", "~id=4  price: 4.5 → 9.5"]
    assert numbers(detail) == {"rows_changed": 2, "cells_changed": 2}


def test_rows_that_came_and_went_are_told_wherever_they_are(parsing: Parsing, form: str) -> None:
    cities = ["Bern", "Oslo", "Lima", "Kyiv"]
    after: Columns = {"id": [1, 3, 9, 4], "price": [1.5, 3.5, 0.5, 4.5], "city": cities}
    detail = told(parsing, form, BASE, after)
    assert lines(detail) == ["-2, 2.5, Rome", "+9, 0.5, Lima"]
    assert numbers(detail) == {"rows_added": 1, "rows_removed": 1}


def test_columns_that_came_and_went_are_told_by_name(parsing: Parsing, form: str) -> None:
    after = {"id": BASE["id"], "city": BASE["city"], "tax": [0, 0, 0, 0]}
    detail = told(parsing, form, BASE, after)
    assert lines(detail) == ["-column price", "+column tax"]
    assert numbers(detail) == {"columns_removed": 1, "columns_added": 1}


def test_columns_and_rows_in_another_order_are_told(parsing: Parsing, form: str) -> None:
    moved = told(parsing, form, BASE, dict(reversed(BASE.items())))
    assert lines(moved) == ["~columns in another order"]
    turned = told(parsing, form, BASE, {name: values[::-1] for name, values in BASE.items()})
    assert turned.summary == "rows in another order"


def test_without_a_column_that_names_rows_they_are_compared_in_order(parsing: Parsing, form: str) -> None:
    detail = told(parsing, form, {"a": [0, 0, 0], "b": [1, 1, 1]}, {"a": [0, 0, 0], "b": [1, 7, 1]})
    assert lines(detail) == ["~row 2  b: 1 → 7"]


def test_rows_that_nothing_names_are_counted(parsing: Parsing, form: str) -> None:
    detail = told(parsing, form, {"a": [0, 0, 1, 1]}, {"a": [1, 1, 1, 0, 2, 2]})
    assert numbers(detail) == {"rows_added": 3, "rows_removed": 1}
    assert lines(detail) == ["-0", "+1", "+2  (2 times)"]
    assert any("not aligned" in note for note in detail.notes)


def test_a_table_that_is_new_or_gone_is_told_by_its_size(parsing: Parsing, form: str) -> None:
    assert told(parsing, form, None, BASE).summary == "4 rows of 3 columns"
    gone = told(parsing, form, BASE, None)
    assert numbers(gone) == {"rows_removed": 4, "columns_removed": 3}
    assert lines(gone)[:2] == ["-id, price, city", "-1, 1.5, Bern"]


def test_a_change_of_type_and_values_of_every_kind_are_told(parsing: Parsing) -> None:
    before: Columns = {
        "id": [1, 2],
        "when": [datetime.datetime(2020, 1, 1), None],
        "list": [[1], [2]],
        "raw": [b"\xff", b"b"],
        "n": [1, 2],
    }
    after = before | {"when": [datetime.datetime(2020, 1, 2), None], "list": [[1], [3]], "n": [1.0, 2.0]}
    said = lines(told(parsing, "parquet", before, after))
    assert said[0] == "~column n: int64 → double"
    assert "when: 2020-01-01 00:00:00.000000 → 2020-01-02 00:00:00.000000" in said[1]
    assert "list: [2] → [3]" in said[2]


def test_floats_that_differ_in_their_last_bit_differ(parsing: Parsing) -> None:
    said = lines(told(parsing, "parquet", {"a": [0.1 + 0.2, NAN, NAN]}, {"a": [0.3, NAN, NAN]}))
    assert said == ["~row 1  a: 0.30000000000000004 → 0.3"]


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (b"a,b\n1,2\n", b'a,b\n"1",2\n', "the cells are the same, and written otherwise"),
        (b"a,b\n1,2\n", b"a,a\n1,2\n", "two of its columns have one name"),
        (b"a,b\n1,2\n", b"a,b\n1\n", "line 2 has not as many cells as the first"),
        (b"a,b\n1,2\n", b'a,b\n"1"x,2\n', "it cannot be read as a table"),
    ],
)
def test_what_is_no_clean_table_is_compared_as_text(
    parsing: Parsing, before: bytes, after: bytes, why: str
) -> None:
    detail = parsing.compare("a.csv", before, after, 100)
    assert detail.kind == "text"
    assert detail.notes[0].startswith(f"not compared as table: {why}")


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters_are_found(parsing: Parsing, delimiter: str) -> None:
    before, after = (f"id{delimiter}b\n1{delimiter}{n}\n".encode() for n in (2, 3))
    assert lines(parsing.compare("a.csv", before, after, 100)) == ["~id=1  b: 2 → 3"]


def test_a_parquet_file_that_was_cut_off_is_told_by_its_size(parsing: Parsing) -> None:
    whole = parquet(BASE)
    detail = parsing.compare("a.parquet", whole, whole[:-20], 100)
    assert detail.kind == "binary"
    assert detail.notes[0].startswith("not compared as table: it cannot be read as parquet")
