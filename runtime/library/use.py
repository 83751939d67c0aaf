"""How a session's routines do in use: which it imported, and which of them its tracebacks lead into.

A session has one voice for each routine: that it went well, and that it failed. Both are its word, for what code inside
imports and raises it can make up. So it takes several sessions to have a routine quarantined, and none can have one
trusted.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from mulligan.runtime.library.library import Library
from mulligan.runtime.library.reading import read
from mulligan.runtime.library.shelf import Shelf
from mulligan.runtime.outcome import Outcome
from mulligan.sandbox.printable import printable

#: sessions in which a routine must have failed, more of them than it went well in, until it is quarantined
FAILURES = 3

_FRAME = re.compile(r"<actions\.(\w{1,64}) version \d+>")


class Uses:
    """Used on the session's thread alone. `offered` is the database that the session was given."""

    def __init__(self, library: Library, offered: Path) -> None:
        self._library = library
        self._offered = offered
        #: by the name that it has in the session
        self._imported: dict[str, str] = {}
        self._told: set[tuple[str, bool]] = set()

    def follow(self, source: str, outcome: Outcome) -> None:
        """After a step that completed or raised."""
        if "actions" in source:
            for each in read(source).definitions:
                if each.kind == "import" and each.module.startswith("actions."):
                    self._imported[each.name] = each.module.partition(".")[2]
        used = {routine for name, routine in self._imported.items() if re.search(rf"\b{name}\b", source)}
        lines = outcome.error.traceback if outcome.error is not None else ()
        blamed = set(_FRAME.findall(printable("\n".join(lines))[-100_000:])) & set(self._imported.values())
        for name in sorted(used if outcome.ok else blamed):
            self._tell(name, failed=not outcome.ok)

    def _tell(self, name: str, *, failed: bool) -> None:
        version = self._version(name)
        if version is None or (name, failed) in self._told:
            return
        self._told.add((name, failed))
        for shelf in self._in_force(name, version):
            done, bad = shelf.count(name, version, failed=failed)
            if failed and bad >= FAILURES and bad > done:
                shelf.quarantine(
                    name, f"it failed in {bad} of the {done + bad} sessions that said how it did"
                )
            return

    def _version(self, name: str) -> int | None:
        """Of what the session may use."""
        with closing(sqlite3.connect(f"file:{self._offered}?mode=ro&immutable=1", uri=True)) as connection:
            asked = "SELECT version FROM routine WHERE name = ? AND why = ''"
            row = connection.execute(asked, (name,)).fetchone()
        return None if row is None else int(row[0])

    def _in_force(self, name: str, version: int) -> Iterator[Shelf]:
        for shelf in self._library.shelves:
            if shelf.is_in_force(name, version):
                yield shelf
