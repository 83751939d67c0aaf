"""Databases of the host, as connections in the manner of Python's drivers (PEP 249): `from databases import shop`.

Each is a function of `tools` underneath. Its one transaction is the session's: undo takes back what was written, and it
is committed when the session is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import tools  # type: ignore[import-not-found]

apilevel, threadsafety, paramstyle = "2.0", 2, "pyformat"


class Error(Exception):
    """The base of what this module raises by itself. What a database says is an error of `tools`."""


class NotSupportedError(Error):
    pass


class InterfaceError(Error):
    pass


class Cursor:
    """What the last statement gave. Its rows are all here; `fetchone`, `fetchmany`, `fetchall` and a loop take them."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.arraysize = connection, 1
        self.description: list[tuple[Any, ...]] | None = None
        self.rowcount = -1
        self.statusmessage = ""
        self._rows: list[tuple[Any, ...]] = []
        self._next = 0

    def execute(self, statement: str, parameters: Any = None) -> Cursor:
        found = self.connection._run(statement, _plain(parameters))
        columns = [(name, None, None, None, None, None, None) for name in found.columns]
        self.description, self.rowcount, self.statusmessage = columns or None, found.count, found.status
        self._rows, self._next = list(found.rows), 0
        return self

    def executemany(self, statement: str, several: Any) -> Cursor:
        count = 0
        for parameters in several:
            self.execute(statement, parameters)
            count += max(0, self.rowcount)
        self.rowcount = count
        return self

    def fetchone(self) -> tuple[Any, ...] | None:
        return next(iter(self.fetchmany(1)), None)

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        if self.description is None:
            raise InterfaceError("the last statement gave no rows")
        begin = self._next
        self._next = min(len(self._rows), begin + (self.arraysize if size is None else size))
        return self._rows[begin : self._next]

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self.fetchmany(len(self._rows))

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        while (row := self.fetchone()) is not None:
            yield row

    def setinputsizes(self, sizes: Any) -> None:
        pass

    def setoutputsize(self, size: Any, column: Any = None) -> None:
        pass

    def close(self) -> None:
        self._rows = []

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Connection:
    """Of one database."""

    def __init__(self, name: str) -> None:
        self.name = name

    def _run(self, statement: str, parameters: Any) -> Any:
        return getattr(tools, self.name)(statement, parameters)

    def cursor(self) -> Cursor:
        return Cursor(self)

    def execute(self, statement: str, parameters: Any = None) -> Cursor:
        return self.cursor().execute(statement, parameters)

    def commit(self) -> None:
        """Nothing: what was written is kept, and committed when the session is."""

    def rollback(self) -> None:
        raise NotSupportedError("the transaction is the session's: undo takes back what a step wrote")

    def close(self) -> None:
        """Nothing: it stays open as long as the session."""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __repr__(self) -> str:
        return f"<database {self.name}>"


def _plain(parameters: Any) -> Any:
    if parameters is None:
        return None
    if isinstance(parameters, dict):
        return {str(name): _scalar(value) for name, value in parameters.items()}
    return [_scalar(value) for value in parameters]


def _scalar(value: Any) -> Any:
    """numpy's numbers, and those of data frames, as Python's."""
    return value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value


def _connections() -> dict[str, Connection]:
    with open(tools.DESCRIBED, encoding="utf-8") as file:
        names: Sequence[str] = json.load(file).get("databases", ())
    return {name: Connection(name) for name in names}


_offered = _connections()
globals().update(_offered)
__all__ = [*sorted(_offered), "Connection", "Cursor", "Error", "InterfaceError", "NotSupportedError"]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    raise AttributeError(f"there is no database {name!r}; there are: {', '.join(sorted(_offered)) or 'none'}")
