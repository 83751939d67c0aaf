"""One statement, sent by PostgreSQL's extended protocol, which takes but one; its rows are read one by one.

psycopg's own cursors read a whole result before they show any of it, or tell nothing of a statement without one. So
this speaks with the layer below them (https://www.psycopg.org/psycopg3/docs/api/pq.html). One row is read whole: the
server lets it have 1 GB.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import generators, pq
from psycopg.abc import Transformer
from psycopg.adapt import PyFormat
from psycopg.adapt import Transformer as NewTransformer
from psycopg.errors import error_from_result

Parameters = Sequence[Any] | Mapping[str, Any] | None

#: `%s`, `%(name)s`, and `%%` for a percent sign, as drivers of Python have them
_PLACE = re.compile(r"%(?:(?P<percent>%)|\((?P<name>[^()]{1,100})\)s|(?P<next>s)|(?P<odd>.?))", re.DOTALL)


class TooMuch(Exception):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a statement gave. `columns` are names; `rows` are tuples of Python values, as psycopg loads them; `count` is
    the number of rows that it returned or changed, -1 where there is none; `status` is the server's word, such as
    "INSERT 0 1"; `kinds` is what it did, {"read"} or out of insert, update, delete and define."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    count: int
    status: str
    kinds: frozenset[str] = frozenset()


def execute(
    connection: psycopg.Connection[Any], text: str, parameters: Parameters, *, most_rows: int, most_bytes: int
) -> Answer:
    """Raises psycopg.Error, and TooMuch where there would be more rows, or bytes of values, than that."""
    query, values = numbered(text, parameters)
    transformer = NewTransformer(connection)
    dumped = transformer.dump_sequence(values, [PyFormat.AUTO] * len(values))
    wire = connection.pgconn
    wire.send_query_params(query.encode(), dumped, transformer.types, transformer.formats)
    try:
        wire.set_single_row_mode()
        connection.wait(generators.send(wire))
        return _read(connection, transformer, most_rows, most_bytes)
    except BaseException:
        _clear(connection)
        raise


def _read(
    connection: psycopg.Connection[Any], transformer: Transformer, most_rows: int, most_bytes: int
) -> Answer:
    columns: tuple[str, ...] = ()
    rows: list[tuple[Any, ...]] = []
    size, count, status = 0, -1, ""
    while (result := connection.wait(generators.fetch(connection.pgconn))) is not None:
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise error_from_result(result, encoding=connection.info.encoding)
        if result.status not in _ANSWERS:
            connection.close()
            raise psycopg.NotSupportedError("a statement of this kind cannot be run here")
        width = result.nfields
        if width and not columns:
            columns = tuple((result.fname(index) or b"").decode("utf-8", "replace") for index in range(width))
        if result.ntuples:
            size += sum(len(result.get_value(0, index) or b"") for index in range(width))
            if size > most_bytes:
                raise TooMuch(f"more than {most_bytes:,} bytes")
            if len(rows) == most_rows:
                raise TooMuch(f"more than {most_rows:,} rows")
            transformer.set_pgresult(result, set_loaders=not rows)
            rows.append(transformer.load_row(0, tuple))
        if result.status != pq.ExecStatus.SINGLE_TUPLE:
            status = (result.command_status or b"").decode("utf-8", "replace")
            changed = result.command_tuples
            count = len(rows) if columns else -1 if changed is None else changed
    return Answer(columns=columns, rows=tuple(rows), count=count, status=status)


_ANSWERS = (pq.ExecStatus.SINGLE_TUPLE, pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)


def _clear(connection: psycopg.Connection[Any]) -> None:
    """After an error: end the statement if it still runs, and read away what it has said."""
    try:
        if connection.pgconn.transaction_status == pq.TransactionStatus.ACTIVE:
            connection.cancel_safe(timeout=5)
        while connection.wait(generators.fetch(connection.pgconn)) is not None:
            pass
    except psycopg.Error:
        connection.close()  # whoever uses it next is told that it is gone


def numbered(text: str, parameters: Parameters) -> tuple[str, list[Any]]:
    """The text with PostgreSQL's own placeholders, and the values in their order. Without parameters a percent sign is
    one. Raises psycopg.ProgrammingError."""
    if parameters is None:
        return text, []
    named = isinstance(parameters, Mapping)
    values: list[Any] = []
    numbers: dict[str, int] = {}

    def place(found: re.Match[str]) -> str:
        if found["percent"]:
            return "%"
        if (found["next"] is None) != named or found["odd"] is not None:
            raise psycopg.ProgrammingError(
                f"{found[0]!r} is no place of these parameters: write %s for a list, %(name)s for a mapping, %% for a"
                " percent sign"
            )
        if isinstance(parameters, Mapping):
            if (name := found["name"]) not in parameters:
                raise psycopg.ProgrammingError(f"there is no parameter {name!r}")
            if name not in numbers:
                values.append(parameters[name])
                numbers[name] = len(values)
            return f"${numbers[name]}"
        if len(values) == len(parameters):
            raise psycopg.ProgrammingError(f"more places than the {len(values)} parameters")
        values.append(parameters[len(values)])
        return f"${len(values)}"

    query = _PLACE.sub(place, text)
    if not named and len(values) != len(parameters):
        raise psycopg.ProgrammingError(f"{len(parameters)} parameters for {len(values)} places")
    return query, values
