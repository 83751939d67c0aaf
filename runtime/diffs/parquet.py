"""Parquet files as tables, read by pyarrow. Numbers of rows and columns are looked at before any data is.

What a file claims of itself may be a lie; the process that reads it has limits of its own for that.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from mulligan.runtime.diffs.detail import Detail, Unfit, counted
from mulligan.runtime.diffs.table import MOST_COLUMNS, Table, compare_tables, fits

#: bytes that a file may claim to have when it is unpacked
UNPACKED = 512 << 20


def compare(before: bytes | None, after: bytes | None, lines: int) -> Detail:
    pa.set_cpu_count(1)
    try:
        old, new = (None if data is None else _read(data) for data in (before, after))
    except MemoryError:  # which one of Arrow's errors is too
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Unfit(f"it cannot be read as parquet: {str(error)[:200]}") from error
    if old == new:
        raise Unfit("the cells are the same, and stored otherwise")
    return compare_tables("table", old, new, lines)


def _read(data: bytes) -> Table:
    file = pa.parquet.ParquetFile(pa.BufferReader(data))
    said = file.metadata
    if said.num_columns > MOST_COLUMNS:
        raise Unfit(f"it has more than {counted(MOST_COLUMNS, 'column')}")
    schema = file.schema_arrow
    if len(set(schema.names)) != len(schema.names):
        raise Unfit("two of its columns have one name")
    types = tuple(str(kind)[:100] for kind in schema.types)
    unpacked = sum(said.row_group(at).total_byte_size for at in range(said.num_row_groups))
    rows = None
    if fits(len(types), said.num_rows) and unpacked <= UNPACKED:
        columns = [_texts(column) for column in file.read(use_threads=False).columns]
        rows = list(zip(*columns, strict=True))
    return Table(tuple(schema.names), types, said.num_rows, rows)


def _texts(column: pa.ChunkedArray) -> list[str]:
    """Every value as it is written: exact, for a float too."""
    try:
        texts = pa.compute.cast(column, pa.string()).to_pylist()
    except pa.ArrowException:  # lists, structs and bytes have no such form
        texts = [None if value is None else str(value) for value in column.to_pylist()]
    return ["null" if text is None else text for text in texts]
