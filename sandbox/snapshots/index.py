"""The index of a store: the tree of snapshots, their changes, and where each blob lies. One SQLite file."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mulligan.sandbox.errors import SnapshotError, SnapshotUnknown, StoreDamaged
from mulligan.sandbox.snapshots.entry import Change, Entry, Snapshot, decode, encode

_SCHEMA = """
CREATE TABLE IF NOT EXISTS snapshot (id INTEGER PRIMARY KEY, parent INTEGER);
CREATE TABLE IF NOT EXISTS change (snapshot INTEGER, path BLOB, before TEXT, after TEXT,
    PRIMARY KEY (snapshot, path)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS beyond (snapshot INTEGER, path BLOB);
CREATE TABLE IF NOT EXISTS blob (key BLOB PRIMARY KEY, pack INTEGER, offset INTEGER, length INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS few (pack INTEGER PRIMARY KEY, data BLOB);
CREATE TABLE IF NOT EXISTS state (one INTEGER PRIMARY KEY CHECK (one = 1), head INTEGER, intent INTEGER);
INSERT OR IGNORE INTO state VALUES (1, NULL, NULL);
"""


class Place(NamedTuple):
    """Where a blob lies. Pack 0 is no pack: the blob has a file of its own. Bytes."""

    pack: int
    offset: int
    length: int


class Index:
    def __init__(self, connection: sqlite3.Connection, *, ours: bool = True) -> None:
        self._db = connection
        self._ours = ours
        self.parents: dict[int, int | None] = {}
        self.head: int | None = None
        self.intent: int | None = None

    @classmethod
    def open(cls, path: Path) -> Index:
        """Raises StoreDamaged when the file is no index that can be read."""
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            with _explained():
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.executescript(_SCHEMA)
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
        self.head, self.intent = self._db.execute("SELECT head, intent FROM state").fetchone()

    def next_id(self) -> int:
        return max(self.parents, default=0) + 1

    def require(self, id: int) -> int:
        if id not in self.parents:
            raise SnapshotUnknown(
                f"there is no snapshot {id}", hint="Snapshot ids come from snapshot() of this store."
            )
        return id

    def commit(
        self, snapshot: Snapshot, blobs: Mapping[bytes, Place], few: bytes | None, intent: int | None
    ) -> None:
        """Record a snapshot as the new head, if it is new, with its contents and the pack of a `few` of them, and
        whether a restore is under way. All or nothing.
        """
        with self._transaction():
            if snapshot.id not in self.parents:
                self._db.execute("INSERT INTO snapshot VALUES (?, ?)", (snapshot.id, snapshot.parent))
                self._db.executemany(
                    "INSERT INTO blob VALUES (?, ?, ?, ?)", ((key, *place) for key, place in blobs.items())
                )
                self._db.executemany(
                    "INSERT INTO change VALUES (?, ?, ?, ?)",
                    ((snapshot.id, c.path, encode(c.before), encode(c.after)) for c in snapshot.changes),
                )
                if few is not None:
                    self._db.execute("INSERT INTO few VALUES (?, ?)", (snapshot.id, few))
                self._db.executemany(
                    "INSERT INTO beyond VALUES (?, ?)", ((snapshot.id, path) for path in snapshot.beyond)
                )
            self._db.execute("UPDATE state SET head = ?, intent = ?", (snapshot.id, intent))
        self.head, self.intent = snapshot.id, intent
        self.parents[snapshot.id] = snapshot.parent

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
        rows = self._db.execute(
            "SELECT path, before, after FROM change WHERE snapshot = ? ORDER BY path", (id,)
        )
        return [Change(path, decode(before), decode(after)) for path, before, after in rows]

    def entry(self, id: int, path: bytes) -> Entry | None:
        """One path at a snapshot, found in its newest ancestor that changed it."""
        query = "SELECT after FROM change WHERE snapshot = ? AND path = ?"
        for ancestor in self.lineage(id):
            if row := self._db.execute(query, (ancestor, path)).fetchone():
                return decode(row[0])
        return None

    def beyond(self, id: int) -> list[bytes]:
        """The folders whose contents were too deep to be captured."""
        return [path for (path,) in self._db.execute("SELECT path FROM beyond WHERE snapshot = ?", (id,))]

    def place(self, key: bytes) -> Place | None:
        row = self._db.execute("SELECT pack, offset, length FROM blob WHERE key = ?", (key,)).fetchone()
        return None if row is None else Place(*row)

    def few(self, place: Place) -> bytes | None:
        """A content from a pack that the index keeps; None if that pack has a file."""
        query = "SELECT substr(data, ?, ?) FROM few WHERE pack = ?"
        row = self._db.execute(query, (place.offset + 1, place.length, place.pack)).fetchone()
        return None if row is None else bytes(row[0] or b"")  # of nothing, SQLite cuts NULL

    def blobs(self) -> Iterator[tuple[bytes, Place]]:
        for key, *place in self._db.execute(
            "SELECT key, pack, offset, length FROM blob ORDER BY pack, offset"
        ):
            yield key, Place(*place)

    def faults(self) -> Iterator[str]:
        """What SQLite itself finds wrong with its file."""
        for (line,) in self._db.execute("PRAGMA integrity_check"):
            if line != "ok":
                yield f"index: {line}"

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
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")  # The commit point: what this makes durable is the snapshot.
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


@contextmanager
def _explained() -> Iterator[None]:
    """SQLite's errors as ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        full = error.sqlite_errorcode == sqlite3.SQLITE_FULL
        failure = SnapshotError(
            f"the snapshot index could not be written: {error}", hint="Make room on the disk."
        )
        failure.errno = errno.ENOSPC if full else errno.EIO
        raise failure from error
    except sqlite3.DatabaseError as error:
        hint = "The store cannot be used; keep its folder for a look, and open a new session."
        raise StoreDamaged(f"the snapshot index cannot be read: {error}", hint=hint) from error
