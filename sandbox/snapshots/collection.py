"""Letting snapshots go: those that nobody can go to any more and, where the history takes too much room, the oldest.

A snapshot that nothing was taken after is dropped. One that a single other was taken after becomes part of that: the
changes of both are composed. Where branches part it stays, for as long as there are several. Never the first.

All of it, with the contents that no record names any more, is one transaction of the index. The files of contents go
after its commit (`Blobs.sweep`), which is made durable first, for a power cut must not bring back a record of what is
gone. Whoever is killed in between finds them swept when the store is next opened.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from mulligan.sandbox.snapshots.entry import CONTENT_OF_AFTER
from mulligan.sandbox.snapshots.index import Stopped, digest

#: What a row of the index takes besides its texts, about.
_ROW = 64
_SIZE = f"coalesce(sum(length(path) + ifnull(length(before), 0) + ifnull(length(after), 0) + {_ROW}), 0)"


@dataclass(frozen=True, slots=True)
class Collected:
    """`let_go` are snapshots that were in reach, `removed` counts all that went; `put_off` says why none did."""

    let_go: tuple[int, ...] = ()
    removed: int = 0
    put_off: str = ""


class Pass:
    """One collection, to be run within a transaction of the index. `parents` is changed as it goes; `weigh` gives the
    bytes that a content takes.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        parents: dict[int, int | None],
        weigh: Callable[[bytes], int],
        give_way: Callable[[], bool],
    ) -> None:
        self._db = db
        self._parents = parents
        self._weigh = weigh
        self._give_way = give_way
        self._given = max(parents, default=0)
        self._after: dict[int, set[int]] = {}
        for id, parent in parents.items():
            if parent is not None:
                self._after.setdefault(parent, set()).add(id)
        self._sound: dict[int, bool] = {}
        self._composed: set[int] = set()
        self.removed = self.freed = 0

    def run(self, reach: Collection[int], spare: Collection[int], excess: int) -> tuple[int, ...]:
        """Let go what is not in `reach`; then the oldest that is, until `excess` bytes are freed. None of `spare`. The
        ids of those that were in reach."""
        self._count()
        movable = {id for id, parent in self._parents.items() if parent is not None and id not in spare}
        self._remove(movable - set(reach), lambda: False)
        let_go = self._remove(movable & set(reach), lambda: self.freed >= excess) if excess > 0 else ()
        self._remove(movable - set(reach), lambda: False)  # where branches parted that are gone
        self._seal()
        self._db.execute("DELETE FROM blob WHERE lower(hex(key)) NOT IN (SELECT key FROM named WHERE n > 0)")
        self._db.execute("DELETE FROM few WHERE pack NOT IN (SELECT pack FROM blob)")
        self._thin()
        self._db.execute("UPDATE state SET given = max(given, ?)", (self._given,))
        return let_go

    def _count(self) -> None:
        """How many records name each content."""
        self._db.execute("DROP TABLE IF EXISTS temp.named")
        self._db.execute("CREATE TEMP TABLE named (key TEXT PRIMARY KEY, n INTEGER) WITHOUT ROWID")
        self._db.execute(
            f"INSERT INTO named SELECT {CONTENT_OF_AFTER}, count(*) FROM change"
            f" WHERE {CONTENT_OF_AFTER} IS NOT NULL GROUP BY 1"
        )
        # the first snapshot stays, and what it refers to the user's folder for may be there no more
        self._db.execute(
            "INSERT INTO named SELECT lower(hex(key)), 1 FROM captured WHERE true ON CONFLICT DO UPDATE SET n = n + 1"
        )

    def _remove(self, ids: Iterable[int], enough: Callable[[], bool]) -> tuple[int, ...]:
        """The oldest first, of those that can go; one that has become able to when its turn comes up."""
        ids = {id for id in ids if id in self._parents}
        todo = [id for id in ids if self._can_go(id)]
        heapq.heapify(todo)
        gone = []
        while todo and not enough():
            if self._give_way():
                raise Stopped
            id = heapq.heappop(todo)
            parent = self._parents[id]
            last = not self._after.get(id)
            self._let_go(id)
            gone.append(id)
            if last and parent in ids and self._can_go(parent):
                heapq.heappush(todo, parent)
        return tuple(gone)

    def _can_go(self, id: int) -> bool:
        """What is damaged stays as it is: composed into another record, nobody could tell any more."""
        after = self._after.get(id, set())
        return len(after) <= 1 and all(self._is_sound(each) for each in (id, *after))

    def _is_sound(self, id: int) -> bool:
        if id not in self._sound:
            (sealed,) = self._db.execute("SELECT digest FROM snapshot WHERE id = ?", (id,)).fetchone()
            self._sound[id] = sealed == self._digest(id)
        return self._sound[id]

    def _digest(self, id: int) -> bytes:
        rows = self._db.execute(
            "SELECT path, before, after FROM change WHERE snapshot = ? ORDER BY path", (id,)
        )
        return digest(id, self._parents[id], rows)

    def _let_go(self, id: int) -> None:
        parent = self._parents.pop(id)
        assert parent is not None, "the first one stays"
        siblings = self._after[parent]
        siblings.discard(id)
        for child in self._after.pop(id, set()):
            self._compose(id, child)
            self._parents[child] = parent
            siblings.add(child)
            self._composed.add(child)
        self._drop("snapshot = ?", id)
        self._db.execute("DELETE FROM beyond WHERE snapshot = ?", (id,))
        self._db.execute("DELETE FROM snapshot WHERE id = ?", (id,))
        self._composed.discard(id)
        self.removed += 1

    def _compose(self, id: int, child: int) -> None:
        """What both changed was before as the first had it; what ends as it began drops out."""
        of_both = "path IN (SELECT path FROM change WHERE snapshot = ?)"
        self._db.execute(
            "UPDATE change SET before = (SELECT first.before FROM change AS first WHERE first.snapshot = ?"
            f" AND first.path = change.path) WHERE snapshot = ? AND {of_both}",
            (id, child, id),
        )
        self._drop(f"snapshot = ? AND {of_both}", id, child)
        self._drop("snapshot = ? AND before IS after", child)
        self._db.execute("UPDATE change SET snapshot = ? WHERE snapshot = ?", (child, id))

    def _drop(self, where: str, *values: int) -> None:
        """Delete these changes; what only they named is freed."""
        (size,) = self._db.execute(f"SELECT {_SIZE} FROM change WHERE {where}", values).fetchone()
        named = self._db.execute(
            f"SELECT {CONTENT_OF_AFTER} FROM change WHERE {where} AND {CONTENT_OF_AFTER} IS NOT NULL", values
        ).fetchall()
        self._db.execute(f"DELETE FROM change WHERE {where}", values)
        self._db.executemany("UPDATE named SET n = n - 1 WHERE key = ?", named)
        for (key,) in {*named}:
            if self._db.execute("SELECT 1 FROM named WHERE key = ? AND n <= 0", (key,)).fetchone():
                self.freed += self._weigh(bytes.fromhex(key))
        self.freed += size

    def _thin(self) -> None:
        """Rewrite the packs in the index of which less than half is wanted."""
        wanted: dict[int, list[tuple[bytes, int, int]]] = {}
        for pack, *place in self._db.execute(
            "SELECT pack, key, offset, length FROM blob WHERE pack IN (SELECT pack FROM few) ORDER BY offset"
        ):
            wanted.setdefault(pack, []).append((place[0], place[1], place[2]))
        sizes = self._db.execute("SELECT pack, length(data) FROM few").fetchall()
        for pack, size in sizes:
            if 2 * sum(length for _, _, length in wanted[pack]) < size:
                self._rewrite(pack, wanted[pack])

    def _rewrite(self, pack: int, wanted: Iterable[tuple[bytes, int, int]]) -> None:
        (old,) = self._db.execute("SELECT data FROM few WHERE pack = ?", (pack,)).fetchone()
        new = b""
        for key, offset, length in wanted:
            self._db.execute("UPDATE blob SET offset = ? WHERE key = ?", (len(new), key))
            new += old[offset : offset + length]
        self._db.execute("UPDATE few SET data = ? WHERE pack = ?", (new, pack))

    def _seal(self) -> None:
        for id in self._composed:
            self._db.execute(
                "UPDATE snapshot SET parent = ?, digest = ? WHERE id = ?",
                (self._parents[id], self._digest(id), id),
            )
