"""The index of a store: the tree of snapshots, their changes, and where each blob lies. One SQLite file.

SQLite notices a torn commit, not a byte that the disk has changed since. So each snapshot is recorded with a digest of
its changes, and these are compared with it whenever they are read.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from mulligan.sandbox.errors import SnapshotError, SnapshotUnknown, StoreDamaged
from mulligan.sandbox.snapshots.entry import (
    CONTENT_OF_AFTER,
    Change,
    Entry,
    Snapshot,
    decode,
    encode,
    is_reference,
)

#: The format. An index of another one is refused.
VERSION = 3

_SCHEMA = f"""
BEGIN;
CREATE TABLE snapshot (id INTEGER PRIMARY KEY, parent INTEGER, digest BLOB);
CREATE TABLE change (snapshot INTEGER, path BLOB, before TEXT, after TEXT,
    PRIMARY KEY (snapshot, path)) WITHOUT ROWID;
CREATE TABLE beyond (snapshot INTEGER, path BLOB);
CREATE TABLE blob (key BLOB PRIMARY KEY, pack INTEGER, offset INTEGER, length INTEGER) WITHOUT ROWID;
CREATE TABLE few (pack INTEGER PRIMARY KEY, data BLOB);
CREATE TABLE lower (one INTEGER PRIMARY KEY CHECK (one = 1), place BLOB, folder BLOB);
CREATE TABLE captured (reference BLOB PRIMARY KEY, key BLOB) WITHOUT ROWID;
CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), head INTEGER, intent INTEGER, given INTEGER);
INSERT INTO state VALUES (1, NULL, NULL, 0);
PRAGMA user_version = {VERSION};
COMMIT;
"""

_TABLES = "SELECT name, sql FROM sqlite_schema ORDER BY name"

_HINT = "The store's disk or somebody changed it: keep its folder for a look, and open a new session."

NOTHING: Mapping[bytes, bytes] = {}

#: A row of `change`, but for the snapshot: path, before, after
Row = tuple[bytes, str | None, str | None]


class Place(NamedTuple):
    """Where a blob lies. Pack 0 is no pack: the blob has a file of its own. Bytes."""

    pack: int
    offset: int
    length: int


class Stopped(Exception):
    """Somebody was given way to: what was under way is undone, and may be tried again."""


class Index:
    def __init__(self, connection: sqlite3.Connection, *, ours: bool = True) -> None:
        self._db = connection
        self._ours = ours
        self.parents: dict[int, int | None] = {}
        self.head: int | None = None
        self.intent: int | None = None
        self._given = 0  #: the greatest id that was given out, also to those that were let go
        self._size: int | None = None  #: where it was asked for since the last change
        #: references to files of the user's -> the contents that were kept of them
        self.captured: dict[bytes, bytes] = {}
        #: where the user's folder lies in the tree, and where it is
        self.lower: tuple[bytes, bytes] | None = None

    @classmethod
    def open(cls, path: Path) -> Index:
        """Raises StoreDamaged when the file is no index that can be read."""
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            with _explained():
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                if not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                    connection.executescript(_SCHEMA)
                _check_format(connection)
                index = cls(connection)
                index.refresh()
        except BaseException:
            connection.close()
            raise
        return index

    @classmethod
    def attach(cls, path: Path) -> Index:
        """An index that another process may be writing, to read from. Raises SnapshotError when there is none."""
        if not path.is_file():
            raise SnapshotError(
                f"there is no snapshot store at {path.parent}", hint="See that it is not removed."
            )
        with _explained():
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
            )
            index = cls(connection, ours=False)
            try:
                _check_format(connection)
                index.refresh()
            except sqlite3.OperationalError as error:
                connection.close()
                hint = "See that its folder and what is in it belong to you."
                raise SnapshotError(f"the snapshot index cannot be read: {error}", hint=hint) from error
            except BaseException:
                connection.close()
                raise
        return index

    def close(self) -> None:
        self._db.close()

    def refresh(self) -> None:
        """Learn anew what is committed."""
        self.parents = dict(self._db.execute("SELECT id, parent FROM snapshot"))
        self.captured = dict(self._db.execute("SELECT reference, key FROM captured"))
        self.lower = self._db.execute("SELECT place, folder FROM lower").fetchone()
        state = self._db.execute("SELECT head, intent, given FROM state").fetchone()
        if state is None:
            raise sqlite3.DatabaseError("its state is missing")
        self.head, self.intent, given = state
        self._given = max(given, max(self.parents, default=0))
        for id, parent in self.parents.items():
            if not (parent is None or (parent in self.parents and parent < id)):
                raise StoreDamaged(f"snapshot {id}: its parent {parent!r} is none", hint=_HINT)

    def next_id(self) -> int:
        """No id is given out twice, though its snapshot be gone: elsewhere it may be on record."""
        return self._given + 1

    def require(self, id: int) -> int:
        if id not in self.parents:
            raise SnapshotUnknown(
                f"there is no snapshot {id}", hint="Snapshot ids come from snapshot() of this store."
            )
        return id

    def lie_on(self, place: bytes, folder: bytes) -> None:
        """From now on entries below `place` may refer to files of the user's `folder`."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO lower VALUES (1, ?, ?)", (place, folder))
        self.lower = place, folder

    def commit(
        self,
        snapshot: Snapshot,
        blobs: Mapping[bytes, Place],
        few: bytes | None,
        intent: int | None,
        captured: Mapping[bytes, bytes] = NOTHING,
    ) -> None:
        """Record a snapshot as the new head, if it is new, with its contents and the pack of a `few` of them, what was
        `captured` of the user's folder, and whether a restore is under way. All or nothing.
        """
        with self._transaction():
            if snapshot.id not in self.parents:
                rows = [(c.path, encode(c.before), encode(c.after)) for c in snapshot.changes]
                sealed = digest(snapshot.id, snapshot.parent, rows)
                self._db.execute(
                    "INSERT INTO snapshot VALUES (?, ?, ?)", (snapshot.id, snapshot.parent, sealed)
                )
                in_order = sorted(blobs.items())  # of a hundred thousand, in half the time
                self._db.executemany(
                    "INSERT INTO blob VALUES (?, ?, ?, ?)", ((key, *place) for key, place in in_order)
                )
                self._db.executemany(
                    "INSERT INTO change VALUES (?, ?, ?, ?)", ((snapshot.id, *row) for row in rows)
                )
                self._db.executemany("INSERT OR IGNORE INTO captured VALUES (?, ?)", captured.items())
                if few is not None:
                    self._db.execute("INSERT INTO few VALUES (?, ?)", (snapshot.id, few))
                self._db.executemany(
                    "INSERT INTO beyond VALUES (?, ?)", ((snapshot.id, path) for path in snapshot.beyond)
                )
            self._db.execute("UPDATE state SET head = ?, intent = ?", (snapshot.id, intent))
        self.head, self.intent = snapshot.id, intent
        self.captured |= captured
        self.parents[snapshot.id] = snapshot.parent
        self._given = max(self._given, snapshot.id)

    def capture(self, blobs: Mapping[bytes, Place], captured: Mapping[bytes, bytes]) -> None:
        """Record what was captured of the user's folder, with its contents, that have files. All or nothing."""
        with self._transaction():
            self._db.executemany(
                "INSERT INTO blob VALUES (?, ?, ?, ?)", ((key, *place) for key, place in blobs.items())
            )
            self._db.executemany("INSERT OR IGNORE INTO captured VALUES (?, ?)", captured.items())
        self.captured |= captured

    @contextmanager
    def letting_go(self, give_way: Callable[[], bool]) -> Iterator[sqlite3.Connection]:
        """A transaction that removes what is recorded. It is on the disk when it is committed, and not only in the log:
        what it no longer names may be removed then. A query that runs when somebody is given way to fails."""
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.set_progress_handler(give_way, 20_000)
        try:
            with self._transaction():
                yield self._db
                self._db.set_progress_handler(None, 0)
        finally:
            self._db.set_progress_handler(None, 0)
            self._db.execute("PRAGMA synchronous = NORMAL")
            self.refresh()

    @property
    def size(self) -> int:
        """The bytes of the index that are in use."""
        if self._size is None:
            pages, free, size = (
                self._rows(f"PRAGMA {name}")[0][0] for name in ("page_count", "freelist_count", "page_size")
            )
            self._size = int((pages - free) * size)
        return self._size

    def arrive(self, head: int) -> None:
        """A restore is done: the tree is this snapshot."""
        with self._transaction():
            self._db.execute("UPDATE state SET head = ?, intent = NULL", (head,))
        self.head, self.intent = head, None

    def lineage(self, id: int | None) -> Iterator[int]:
        """A snapshot and its ancestors, newest first."""
        while id is not None:
            yield id
            id = self.parents[id]

    def changes(self, id: int) -> list[Change]:
        """What the snapshot changed, sorted by path. Raises StoreDamaged when it is not what was recorded."""
        rows = self._rows("SELECT path, before, after FROM change WHERE snapshot = ? ORDER BY path", (id,))
        sealed = self._rows("SELECT digest FROM snapshot WHERE id = ?", (id,))
        if sealed != [(digest(id, self.parents[id], rows),)]:
            raise StoreDamaged(f"the record of snapshot {id} is not what was stored", hint=_HINT)
        return [Change(path, self._decoded(before), self._decoded(after)) for path, before, after in rows]

    def resolved(self, changes: Iterable[Change]) -> tuple[Change, ...]:
        """The same with what was captured in the place of references, without those that are then none."""
        if not self.captured:
            return tuple(changes)
        found = (Change(each.path, self._kept(each.before), self._kept(each.after)) for each in changes)
        return tuple(each for each in found if each.before != each.after)

    def _decoded(self, text: str | None) -> Entry | None:
        """An entry; with the content that was captured, where there is one, in the place of a reference."""
        return self._kept(decode(text))

    def _kept(self, entry: Entry | None) -> Entry | None:
        if entry is None or entry.data is None or (key := self.captured.get(entry.data)) is None:
            return entry
        return replace(entry, data=key)

    def entry(self, id: int, path: bytes) -> Entry | None:
        """One path at a snapshot, found in its newest ancestor that changed it. Raises StoreDamaged when that cannot be
        read; whoever uses more of it than the key of a content, which proves itself, asks for `changes`."""
        query = "SELECT after FROM change WHERE snapshot = ? AND path = ?"
        for ancestor in self.lineage(id):
            if rows := self._rows(query, (ancestor, path)):
                try:
                    return self._decoded(rows[0][0])
                except ValueError as error:
                    raise StoreDamaged(
                        f"the record of snapshot {ancestor} is not what was stored", hint=_HINT
                    ) from error
        return None

    def beyond(self, id: int) -> list[bytes]:
        """The folders whose contents were too deep to be captured."""
        return [path for (path,) in self._rows("SELECT path FROM beyond WHERE snapshot = ?", (id,))]

    def place(self, key: bytes) -> Place | None:
        rows = self._rows("SELECT pack, offset, length FROM blob WHERE key = ?", (key,))
        return _place(rows[0]) if rows else None

    def kept(self, keys: Collection[bytes]) -> set[bytes]:
        """Those of these keys that have a place."""
        query = f"SELECT key FROM blob WHERE key IN ({','.join('?' * len(keys))})"
        return {key for (key,) in self._rows(query, tuple(keys))}

    def few(self, place: Place) -> bytes | None:
        """A content from a pack that the index keeps; None if that pack has a file."""
        query = "SELECT substr(data, ?, ?) FROM few WHERE pack = ?"
        rows = self._rows(query, (place.offset + 1, place.length, place.pack))
        return bytes(rows[0][0] or b"") if rows else None  # of nothing, SQLite cuts NULL

    def references(self) -> list[bytes]:
        """Those that nothing was captured of: what they stand for lies in the user's folder, and nowhere else."""
        query = f"SELECT DISTINCT {CONTENT_OF_AFTER} FROM change WHERE length({CONTENT_OF_AFTER}) > 64"
        found = (bytes.fromhex(key) for (key,) in self._rows(query))
        return [each for each in found if is_reference(each) and each not in self.captured]

    def blobs(self) -> list[tuple[bytes, Place]]:
        rows = self._rows("SELECT key, pack, offset, length FROM blob ORDER BY pack, offset")
        return [(_checked(key), _place(place)) for key, *place in rows]

    def packs(self) -> dict[int, int]:
        """The packs that have files, each with the bytes of its contents."""
        query = "SELECT pack, sum(length) FROM blob WHERE pack > 0 GROUP BY pack"
        inside = {pack for (pack,) in self._rows("SELECT pack FROM few")}
        return {pack: length for pack, length in self._rows(query) if pack not in inside}

    def whose(self, key: str) -> str:
        """In words, some of the paths and snapshots that a content is kept for; empty when there are none."""
        query = f"SELECT snapshot, path FROM change WHERE {CONTENT_OF_AFTER} = ? ORDER BY snapshot LIMIT 3"
        named = [f"{os.fsdecode(path)!r} of snapshot {id}" for id, path in self._rows(query, (key,))]
        return f" ({', '.join(named)})" if named else ""

    def faults(self) -> Iterator[str]:
        """What is wrong with the index itself: its file, its snapshots, and contents that it names and has not."""
        try:
            yield from (f"index: {line}" for (line,) in self._rows("PRAGMA integrity_check") if line != "ok")
            yield from self._broken_snapshots()
            yield from self._missing_contents()
        except StoreDamaged as error:
            yield error.message

    def _broken_snapshots(self) -> Iterator[str]:
        for id in self.parents:
            try:
                self.changes(id)
            except StoreDamaged as error:
                yield error.message
        if self.head is not None and self.head not in self.parents:
            yield f"index: the head {self.head} is no snapshot"

    def _missing_contents(self) -> Iterator[str]:
        query = f"SELECT DISTINCT {CONTENT_OF_AFTER} FROM change WHERE {CONTENT_OF_AFTER} IS NOT NULL"
        have = {key.hex() for (key,) in self._rows("SELECT key FROM blob")}
        for (key,) in self._rows(query):
            if key not in have and not is_reference(bytes.fromhex(key)):
                whose = self.whose(key)
                yield f"content {key} is not in the index{whose}"

    def _rows(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        with _explained():
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def at_one_moment(self) -> Iterator[None]:
        """What is read within is all of one moment, though another process may write the index meanwhile."""
        if self._ours:
            yield
            return
        with _explained():
            self._db.execute("BEGIN")
            try:
                self.refresh()
                yield
            finally:
                self._db.execute("ROLLBACK")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _explained():
            self._size = None
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")  # The commit point: what this makes durable is the snapshot.
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


def digest(id: int, parent: int | None, rows: Iterable[Row]) -> bytes:
    """Over all that a snapshot records; `rows` are sorted by path."""
    hasher = hashlib.blake2b(repr((id, parent)).encode(), digest_size=16)
    for row in rows:
        hasher.update(repr(row).encode())
    return hasher.digest()


def _place(row: Sequence[object]) -> Place:
    pack, offset, length = row
    if (
        isinstance(pack, int)
        and isinstance(offset, int)
        and isinstance(length, int)
        and min(pack, offset, length) >= 0
    ):
        return Place(pack, offset, length)
    raise StoreDamaged(f"the index has a content at {row!r}, which is no place", hint=_HINT)


def _checked(key: object) -> bytes:
    if isinstance(key, bytes):
        return key
    raise StoreDamaged(f"the index has a content under {key!r}, which is no key", hint=_HINT)


def _check_format(connection: sqlite3.Connection) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != VERSION:
        hint = "It was made by another version of Mulligan: use that one, or open a new session."
        raise SnapshotError(
            f"the snapshot index has format {version}, this Mulligan reads {VERSION}", hint=hint
        )
    if connection.execute(_TABLES).fetchall() != _our_tables():
        raise StoreDamaged(
            "the snapshot index cannot be read: its tables are not as they were made", hint=_HINT
        )


@cache
def _our_tables() -> list[tuple[str, str]]:
    with closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(_SCHEMA)
        return fresh.execute(_TABLES).fetchall()


@contextmanager
def _explained() -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)  # none: text that is no text
        if not isinstance(error, sqlite3.OperationalError) or code in (None, sqlite3.SQLITE_ERROR):
            raise StoreDamaged(f"the snapshot index cannot be read: {error}", hint=_HINT) from error
        if code == sqlite3.SQLITE_INTERRUPT:
            raise Stopped from error
        full = code == sqlite3.SQLITE_FULL
        hint = "Make room on the disk." if full else "See that its disk works and can be written."
        failure = SnapshotError(f"the snapshot index could not be used: {error}", hint=hint)
        failure.errno = errno.ENOSPC if full else errno.EIO
        raise failure from error
