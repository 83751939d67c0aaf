"""How much room a session's past may take, and what goes when it takes more: nothing that can still be gone to, but
for the oldest moments where `resources.history` asks for it.

Snapshots that no step has (what was there before an undo, what a dead kernel left behind) go whenever the session
pauses. The bound counts what came after the first snapshot, as that of the files does. It is watched, so it can be
passed for a while: a session that never pauses is made to when its past takes a quarter more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from mulligan.sandbox.snapshots import SnapshotStore

#: Of the bound: how far down a pass goes, so that not every step is at the edge again, and what cannot wait.
_ROOM, _TOO_MUCH = 0.9, 1.25


class History:
    """Used by the session's thread alone. `limit` in bytes."""

    def __init__(self, store: SnapshotStore, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._first = 0
        self._left: object = None

    def begin(self) -> None:
        """Called when the first snapshot is there, which is what the bound does not count."""
        self._first = self._store.taken

    @property
    def presses(self) -> bool:
        """Whether it cannot wait for a pause."""
        return self._store.taken - self._first > self._limit * _TOO_MUCH

    def collect(
        self,
        reach: Collection[int],
        here: int,
        announce: Callable[[tuple[int, ...]], None],
        give_way: Callable[[], bool],
    ) -> None:
        """Let go what is not in `reach`, and of that what is too much; never the snapshot `here`, nor the first.

        Nothing is done where the last pass could do no better. Raises what `SnapshotStore.collect` does.
        """
        over = self._store.taken - self._first > self._limit
        if not over and self._store.snapshots <= frozenset(reach):
            return
        if self._left == self._state(reach, here):
            return
        most = self._first + int(self._limit * _ROOM) if over else None
        put_off = ""
        try:
            put_off = self._store.collect(
                reach, spare={here}, most=most, announce=announce, give_way=give_way
            ).put_off
        finally:
            if not put_off:
                self._left = self._state(reach, here)

    def _state(self, reach: Collection[int], here: int) -> object:
        return self._store.snapshots - frozenset(reach), self._store.taken, here
