"""The append-only record of a session: one SQLite file, one table, one row an entry.

The commit point is the INSERT: an entry whose `append` returned survives a crash of this process. With
`synchronous=NORMAL` a power cut may take the newest entries, never the file's integrity; the price of losing
none would be an fsync for every entry.

Triggers refuse UPDATE, DELETE and REPLACE. That guards against our own mistakes, not against somebody who may
write the file. Against those there is a chain: each entry carries the SHA-256 of itself and of the entry before, so
`verify` notices whatever was changed, put in or taken out. Who rewrites every entry from there on, or cuts off the
end, is found out only by somebody who has noted a `head` before. One process writes a ledger.

Bodies are stored as ASCII JSON, so text from hostile code survives even where it holds lone surrogates, which SQLite
could not store as text.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from mulligan.runtime.errors import LedgerDamaged, SessionClosed
from mulligan.sandbox.redaction import Redactor

VERSION = 2
#: formats that can be read; entries of 1 were not chained
_READABLE = (1, VERSION)
LARGEST_BODY = 4 << 20
_APPLICATION = 0x4D554C4C  # "MULL"
_BATCH = 256

_SCHEMA = f"""
BEGIN;
CREATE TABLE entries (
    id   INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    kind TEXT NOT NULL,
    step INTEGER,
    body TEXT NOT NULL,
    link BLOB NOT NULL
);
CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER entries_no_replace BEFORE INSERT ON entries
WHEN EXISTS (SELECT 1 FROM entries WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {VERSION};
COMMIT;
"""


#: an entry that is to be recorded: its kind, its step, its body
Fresh = tuple[str, int | None, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Entry:
    """`time` is in nanoseconds since the epoch; `step` is None where the entry concerns no single step."""

    id: int
    time: int
    kind: str
    step: int | None
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Chain:
    """`head` is the link of the last entry, in hexadecimal: it stands for all of them."""

    entries: int
    head: str


class Ledger:
    """An open ledger. Every method may be called from any thread; other processes may read it meanwhile."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._closed = False
        self._head = b""
        self.path = path
        #: takes secret values out of every body, where a session has any
        self.redactor: Redactor | None = None

    @classmethod
    def open(cls, path: Path) -> Ledger:
        """The ledger in this file, made where there is none. Raises `LedgerDamaged`."""
        fresh = not path.exists()
        if not fresh and path.stat().st_size == 0:
            raise _damaged(path, "it is empty")
        with _as_damage(path):
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                _prepare(connection, path, fresh)
                last = connection.execute("SELECT link FROM entries ORDER BY id DESC LIMIT 1").fetchone()
            except BaseException:
                connection.close()
                raise
        ledger = cls(connection, path)
        ledger._head = bytes(last[0]) if last else b""
        return ledger

    @classmethod
    def attach(cls, path: Path) -> Ledger:
        """A ledger that another process may be writing, to read from. Raises `LedgerDamaged`."""
        with _as_damage(path):
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
            )
            try:
                _check(connection, path)
            except BaseException:
                connection.close()
                raise
        return cls(connection, path)

    def append(self, kind: str, step: int | None, body: Mapping[str, Any]) -> int:
        """Record one entry and return its id; ids grow. `body` is plain data: it must be JSON as it stands.

        Raises ValueError for a body that is not, or that is larger than `LARGEST_BODY` bytes as JSON.
        """
        return self.append_all([(kind, step, body)])[0]

    def append_all(self, fresh: Sequence[Fresh]) -> list[int]:
        """Record several entries, all of them or none; see `append`."""
        without = self.redactor.plain if self.redactor is not None else _as_it_is
        texts = [(kind, step, _encode(without(body))) for kind, step, body in fresh]
        with self._lock, _as_damage(self.path):
            self._check_open()
            if len(texts) == 1:
                return [self._insert(*texts[0])]
            head = self._head
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                ids = [self._insert(*each) for each in texts]
                self._connection.execute("COMMIT")
            except BaseException:
                self._head = head
                self._connection.rollback()
                raise
            return ids

    def _insert(self, kind: str, step: int | None, text: str) -> int:
        now = time.time_ns()
        link = _link(self._head, now, kind, step, text)
        done = self._connection.execute(
            "INSERT INTO entries (time, kind, step, body, link) VALUES (?, ?, ?, ?, ?)",
            (now, kind, step, text, link),
        )
        assert done.lastrowid is not None
        self._head = link
        return done.lastrowid

    def entries(self, *, after: int = 0, kind: str | None = None, step: int | None = None) -> Iterator[Entry]:
        """Entries in order of their ids, above `after`; entries that are appended meanwhile are included."""
        while batch := self._batch(after, kind, step):
            yield from batch
            after = batch[-1].id

    def _batch(self, after: int, kind: str | None, step: int | None) -> list[Entry]:
        query = (
            "SELECT id, time, kind, step, body FROM entries WHERE id > :after"
            " AND (:kind IS NULL OR kind = :kind) AND (:step IS NULL OR step = :step) ORDER BY id LIMIT :batch"
        )
        bound = {"after": after, "kind": kind, "step": step, "batch": _BATCH}
        with self._lock, _as_damage(self.path):
            self._check_open()
            with closing(self._connection.execute(query, bound)) as rows:
                return [Entry(row[0], row[1], row[2], row[3], _decode(self.path, row[4])) for row in rows]

    def verify(self, head: str = "") -> Chain:
        """Read every entry and follow the chain. With a `head` that was noted earlier (at least 16 of its hexadecimal
        digits), it must be the link of one of the entries.

        Raises `LedgerDamaged`, which names the first entry that is not what was recorded; ValueError for a `head` that
        is none.
        """
        wanted = read_head(head)
        before, seen, count = b"", not head, 0
        with self._lock, _as_damage(self.path):
            self._check_open()
            _check(self._connection, self.path, readable=(VERSION,))
            query = "SELECT id, time, kind, step, body, link FROM entries ORDER BY id"
            for count, (id, *row, link) in enumerate(self._connection.execute(query), 1):
                if id != count:
                    raise _forged(self.path, f"entry {count} is missing")
                if link != _link(before, *row):
                    raise _forged(self.path, f"entry {id} is not what was recorded")
                before, seen = link, seen or link.hex().startswith(wanted)
        if not seen:
            raise _forged(self.path, f"no entry has the link {wanted}, which was noted earlier")
        return Chain(count, before.hex())

    def close(self) -> None:
        """May be repeated."""
        with self._lock:
            self._closed = True
            self._connection.close()

    def _check_open(self) -> None:
        if self._closed:
            raise SessionClosed(f"the ledger {self.path} is closed", hint="open the session again")

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _prepare(connection: sqlite3.Connection, path: Path, fresh: bool) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA busy_timeout = 5000")
    if fresh:
        connection.executescript(_SCHEMA)
    _check(connection, path, readable=(VERSION,))
    if (said := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise _damaged(path, said)


def _check(connection: sqlite3.Connection, path: Path, readable: Sequence[int] = _READABLE) -> None:
    """That it is a ledger, of a format that can be read."""
    application, version = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if application != _APPLICATION:
        raise _damaged(path, "it is not a ledger")
    if version not in readable:
        raise _damaged(path, f"its format is {version}, this takes {' or '.join(map(str, readable))}")


def _link(before: bytes, time: object, kind: object, step: object, text: object) -> bytes:
    """What chains an entry to the one before. The text is JSON in ASCII, so no part of it can pose as another."""
    return hashlib.sha256(b"%s\0%s" % (before, f"{time}\0{kind}\0{step}\0{text}".encode())).digest()


def read_head(head: str) -> str:
    """The digits of a head that somebody has noted; empty when none is given. Raises ValueError."""
    digits = head.strip().lower()
    if digits and (not 16 <= len(digits) <= 64 or set(digits) - set("0123456789abcdef")):
        raise ValueError(f"{head!r} is no head: it has 16 to 64 hexadecimal digits")
    return digits


def _as_it_is(body: Any) -> Any:
    return body


def _encode(body: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(body, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"a ledger entry must be plain JSON data: {error}") from error
    if not text.startswith("{"):
        raise ValueError("a ledger entry's body must be an object")
    if len(text) > LARGEST_BODY:
        raise ValueError(
            f"a ledger entry of {len(text):,} bytes: the most is {LARGEST_BODY:,}; shorten it first"
        )
    return text


def _decode(path: Path, text: object) -> Mapping[str, Any]:
    try:
        body = json.loads(str(text))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"an entry is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise _damaged(path, "an entry is not an object")
    return body


@contextmanager
def _as_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        hint = "see that its folder can be written, that the disk is not full and that nothing holds a lock on it"
        raise LedgerDamaged(f"the ledger {path} cannot be used: {error}", hint=hint) from error
    except sqlite3.DatabaseError as error:
        raise _damaged(path, str(error)) from error


def _forged(path: Path, why: str) -> LedgerDamaged:
    hint = "its other entries may have been changed as well: compare it with a copy of yours"
    return LedgerDamaged(f"the ledger {path} does not verify: {why}", hint=hint)


def _damaged(path: Path, why: str) -> LedgerDamaged:
    hint = "the session's files are untouched; move this file away to open without its history"
    return LedgerDamaged(f"the ledger {path} cannot be used: {why}", hint=hint)
