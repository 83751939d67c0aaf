"""The index of a shelf: what its files say, in SQLite, to be searched and opened fast.

The files are what counts. Whatever the index lacks or has wrong is read from them again: a file is known by its inode,
size and time of change, and one that is known is not read. An index that is damaged is made anew. Only how often a
routine was used is in the index alone, and is lost with it.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mulligan.runtime.library.errors import RoutineBroken, ShelfUnusable
from mulligan.runtime.library.routine import Routine, read_routine
from mulligan.sandbox.guest.actions import search_in, words_of

_FORMAT = 3
_TABLES = """
CREATE TABLE routine(
    place TEXT, name TEXT, stamp TEXT, version INTEGER, state TEXT, why TEXT, signature TEXT, line TEXT,
    text TEXT, needs TEXT, likeness TEXT, worth REAL DEFAULT 0, UNIQUE(place, name));
CREATE INDEX by_likeness ON routine(likeness);
CREATE INDEX by_name ON routine(name);
CREATE INDEX by_stamp ON routine(place, name, stamp);
CREATE INDEX by_state ON routine(state);
CREATE VIRTUAL TABLE words USING fts5(name, line, parameters, tags, code, tokenize='porter unicode61');
CREATE TABLE IF NOT EXISTS uses(name TEXT, version INTEGER, done INTEGER, failed INTEGER, PRIMARY KEY(name, version));
CREATE TABLE revision(id TEXT);
"""


@dataclass(frozen=True, slots=True)
class Row:
    """What the index knows of a routine. `place` is "" for one in force, "candidates" for one that is proposed."""

    place: str
    name: str
    version: int
    state: str
    why: str
    signature: str
    line: str


class Index:
    """Not for two threads at once. Two processes may use one file: each change is one transaction."""

    def __init__(self, path: Path, key: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path, self._key = path, key
        try:
            self._connection = self._opened()
        except sqlite3.DatabaseError:
            for each in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
                each.unlink(missing_ok=True)
            self._connection = self._opened()

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("BEGIN IMMEDIATE")
            if connection.execute("PRAGMA user_version").fetchone()[0] != _FORMAT:
                for table in ("routine", "words", "revision"):
                    connection.execute(f"DROP TABLE IF EXISTS {table}")
                for statement in _TABLES.split(";\n")[:-1]:
                    connection.execute(statement)
                connection.execute("INSERT INTO revision VALUES (?)", (secrets.token_hex(8),))
                connection.execute(f"PRAGMA user_version={_FORMAT}")
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        self._connection.close()

    # -- following the files -----------------------------------------------------------------------------------

    def refresh(self, folders: Mapping[str, Path]) -> dict[str, str]:
        """Make it say what the files in these folders say, by place. The files that are no routines, and why."""
        there = {key: value for place, folder in folders.items() for key, value in _files(place, folder)}
        known = {
            (place, name): stamp
            for place, name, stamp in self._rows("SELECT place, name, stamp FROM routine")
        }
        gone = known.keys() - there.keys()
        fresh = [key for key, (_, stamp) in there.items() if known.get(key) != stamp]
        if gone or fresh:
            with self._changing():
                for key in gone:
                    self._forget(*key)
                for key in fresh:
                    self._take(*key, *there[key])
        broken = self._rows("SELECT place, name, why FROM routine WHERE state = 'broken'")
        return {f"{place}/{name}.py".lstrip("/"): why for place, name, why in broken}

    def _take(self, place: str, name: str, path: str, stamp: str) -> None:
        self._forget(place, name)
        try:
            routine = read_routine(Path(path), self._key)
        except (RoutineBroken, ShelfUnusable) as error:
            self._connection.execute(
                "INSERT INTO routine(place, name, stamp, version, state, why) VALUES (?, ?, ?, 0, 'broken', ?)",
                (place, name, stamp, error.message),
            )
            return
        values = {
            "place": place, "name": name, "stamp": stamp, "version": routine.version, "state": routine.state,
            "why": routine.why, "signature": routine.signature, "line": routine.line, "text": routine.text,
            "needs": _needs(routine), "likeness": routine.likeness, "worth": worth(*self.uses(name, routine.version)),
        }  # fmt: skip
        columns, marks = ", ".join(values), ", ".join(f":{key}" for key in values)
        self._connection.execute(f"INSERT INTO routine({columns}) VALUES ({marks})", values)
        row = self._connection.execute("SELECT last_insert_rowid()").fetchone()[0]
        self._connection.execute(
            "INSERT INTO words(rowid, name, line, parameters, tags, code) VALUES (?, ?, ?, ?, ?, ?)",
            (row, *words_in(routine)),
        )

    def _forget(self, place: str, name: str) -> None:
        key = (place, name)
        self._connection.execute(
            "DELETE FROM words WHERE rowid IN (SELECT rowid FROM routine WHERE place = ? AND name = ?)", key
        )
        self._connection.execute("DELETE FROM routine WHERE place = ? AND name = ?", key)

    @contextmanager
    def _changing(self, *, revises: bool = True) -> Iterator[None]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            if revises:
                self._connection.execute("UPDATE revision SET id = ?", (secrets.token_hex(8),))
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise ShelfUnusable(
                f"the index of the shelf cannot be written: {error}", hint="make room on the disk"
            ) from error
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise

    # -- looking -----------------------------------------------------------------------------------------------

    @property
    def revision(self) -> str:
        """Another after each change of what the files say."""
        found: str = self._connection.execute("SELECT id FROM revision").fetchone()[0]
        return found

    def rows(self, place: str | None = None) -> list[Row]:
        """All but broken ones, by name."""
        asked = (
            "SELECT place, name, version, state, why, signature, line FROM routine WHERE state != 'broken'"
        )
        if place is None:
            return [Row(*each) for each in self._rows(f"{asked} ORDER BY name, place")]
        return [Row(*each) for each in self._rows(f"{asked} AND place = ? ORDER BY name", place)]

    def version(self, name: str) -> int | None:
        """Of the one in force."""
        found = self._rows("SELECT version FROM routine WHERE name = ? AND place = ''", name)
        return found[0][0] if found else None

    def needs(self, name: str) -> str:
        found = self._rows("SELECT needs FROM routine WHERE name = ? AND place = ''", name)
        return found[0][0] if found and found[0][0] else "{}"

    def offered(self) -> Iterator[tuple[Any, ...]]:
        """Of each file: place, name, version, state, why, signature, line, text, needs, worth, and its fields of
        words."""
        asked = (
            "SELECT place, routine.name, version, state, why, signature, routine.line, text, needs, worth, words.name,"
            " words.line, parameters, tags, code FROM routine LEFT JOIN words ON words.rowid = routine.rowid"
        )
        yield from self._connection.execute(asked)

    def row(self, name: str) -> Row | None:
        """The one in force, else the one that is proposed."""
        asked = "SELECT place, name, version, state, why, signature, line FROM routine"
        found = self._rows(f"{asked} WHERE name = ? AND state != 'broken' ORDER BY place LIMIT 1", name)
        return Row(*found[0]) if found else None

    def alike(self, likeness: str) -> str | None:
        """The name of a routine that says the same, in force or proposed."""
        found = self._rows("SELECT name FROM routine WHERE likeness = ? LIMIT 1", likeness)
        return found[0][0] if found else None

    def search(self, text: str, k: int) -> list[tuple[str, float]]:
        return search_in(self._connection, text, k)

    # -- use ---------------------------------------------------------------------------------------------------

    def count(self, name: str, version: int, *, failed: bool) -> tuple[int, int]:
        """Note one use; how many of this version went well and how many failed, with it. No new revision: what
        sessions are given would else be made anew after each."""
        done, bad = (0, 1) if failed else (1, 0)
        with self._changing(revises=False):
            self._connection.execute(
                "INSERT INTO uses VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET done = done + ?, failed = failed + ?",
                (name, version, done, bad, done, bad),
            )
            counts = self.uses(name, version)
            self._connection.execute(
                "UPDATE routine SET worth = ? WHERE name = ? AND place = ''", (worth(*counts), name)
            )
        return counts

    def uses(self, name: str, version: int) -> tuple[int, int]:
        found = self._rows("SELECT done, failed FROM uses WHERE name = ? AND version = ?", name, version)
        return (found[0][0], found[0][1]) if found else (0, 0)

    def _rows(self, asked: str, *values: object) -> list[tuple]:  # type: ignore[type-arg]
        return self._connection.execute(asked, values).fetchall()


def _needs(routine: Routine) -> str:
    contract = routine.contract
    return json.dumps({"routines": contract.routines, **asdict(contract.needs)}, sort_keys=True)


def worth(done: int, failed: int) -> float:
    """What success adds to the score of a search: at most 1, and below 0 for what fails more often than not."""
    return (done - 2 * failed) / (done + failed + 5)


def words_in(routine: Routine) -> tuple[str, str, str, str, str]:
    """What it is found by, field by field."""
    fields = (routine.name, routine.doc[:2000], " ".join(routine.parameters), " ".join(routine.contract.tags))
    name, doc, parameters, tags = (" ".join(words_of(each)) for each in fields)
    return name, doc, parameters, tags, " ".join(dict.fromkeys(words_of(routine.text[:20_000])))


def _files(place: str, folder: Path) -> Iterator[tuple[tuple[str, str], tuple[str, str]]]:
    """Of each file its place and name, its path, and what tells one state of it from another. Of thousands, at each
    opening: so no more is made of each."""
    try:
        with os.scandir(folder) as entries:
            for each in entries:
                if each.name.endswith(".py") and not each.name.startswith("."):
                    found = each.stat(follow_symlinks=False)
                    stamp = f"{found.st_ino} {found.st_size} {found.st_ctime_ns}"
                    yield (place, each.name[:-3]), (each.path, stamp)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ShelfUnusable(f"{folder}: {error.strerror}", hint="name a folder that you can read") from error
