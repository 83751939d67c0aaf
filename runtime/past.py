"""Sessions from outside: which there are, what their files were, and how to be rid of those that were kept.

A session can be looked at while another process has it open, and after it was closed if it was opened to `keep` its
files. Nothing is written: the ledger says which snapshot belongs to which step, the store what was in it. As long as
somebody looks, nobody removes the files.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import platformdirs

from mulligan.runtime.diffs.diff import Diff
from mulligan.runtime.diffs.parsing import Parsing
from mulligan.runtime.errors import LedgerDamaged, SessionInUse, SessionUnknown
from mulligan.runtime.ledger import Ledger
from mulligan.runtime.remains import KEPT, WAITING, is_open, reading, remove_files
from mulligan.runtime.timeline import Timeline
from mulligan.sandbox.errors import StoreDamaged
from mulligan.sandbox.snapshots import Holdings, StoreReader


@dataclass(frozen=True, slots=True)
class Found:
    """A session whose files can be looked at. "left" are those of a process that died: the next session removes
    them. `opened` is in seconds since the epoch. `timeline` is None when its ledger cannot be read."""

    id: str
    state: Literal["open", "kept", "left"]
    opened: float
    timeline: Timeline | None


class PastSession:
    """A session, to look at. Made by `open_past`, a context manager."""

    def __init__(
        self, id: str, timeline: Timeline, store: StoreReader, parsing: Parsing, resources: ExitStack
    ) -> None:
        self.id = id
        self.timeline = timeline
        self._store = store
        self._parsing = parsing
        self._resources = resources

    def diff(self, a: int = 0, b: int | None = None) -> Diff:
        """As `Session.diff`; the cursor is where it was when the session was opened here. Raises StepUnknown,
        SnapshotUnknown when a snapshot is gone, StoreDamaged."""
        moments = (a, self.timeline.cursor if b is None else b)
        (old, before), (new, after) = map(self.timeline.snapshot_of, moments)
        read = (partial(self._store.read, old), partial(self._store.read, new))
        return Diff(before, after, self._store.diff(old, new), read, self._parsing)

    def verify(self) -> tuple[str, ...]:
        """Reads all that is kept again, which takes as long as it is large; the names of what is damaged."""
        faults = self._store.verify()
        known = self._store.snapshots
        gone = (
            f"step {node.id}: there is no snapshot {node.snapshot}"
            for node in self.timeline.nodes.values()
            if isinstance(node.snapshot, int) and node.snapshot not in known and not node.let_go
        )
        return (*gone, *faults)

    @property
    def holdings(self) -> Holdings:
        return self._store.holdings

    def close(self) -> None:
        """May be repeated."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def sessions_folder(state: Path | None) -> Path:
    """Where sessions lie, in this state folder or the user's."""
    return (state or platformdirs.user_state_path("mulligan")).absolute() / "sessions"


def list_sessions(state: Path | None = None) -> tuple[Found, ...]:
    """The sessions whose files are there, the newest first."""
    found = [_found(folder) for folder in _folders(sessions_folder(state))]
    return tuple(sorted(found, key=lambda each: (each.opened, each.id), reverse=True))


def open_past(name: str, state: Path | None = None) -> PastSession:
    """`name` is a session's id, or enough of its beginning. Raises SessionUnknown, LedgerDamaged, StoreDamaged."""
    folder = _find_files(name, state)
    with ExitStack() as resources:
        if not resources.enter_context(reading(folder)) or not _has_files(folder):
            raise SessionUnknown(f"session {folder.name} is being removed")
        ledger = resources.enter_context(Ledger.attach(folder / "ledger.db"))
        store = resources.enter_context(StoreReader.attach(folder / "store"))
        parsing = resources.enter_context(Parsing())
        return PastSession(folder.name, Timeline.read(ledger.entries()), store, parsing, resources.pop_all())


@dataclass(frozen=True, slots=True)
class Verified:
    """`faults` names what is damaged, with paths as the sandbox made them; `holdings` is None when the session's store
    or its ledger cannot be opened."""

    session: str
    faults: tuple[str, ...]
    holdings: Holdings | None = None


def verify(name: str, state: Path | None = None) -> Verified:
    """Reads all again that a session stored. Raises SessionUnknown; damage is no error."""
    session = _find_files(name, state).name
    try:
        with open_past(session, state) as past:
            return Verified(session, past.verify(), past.holdings)
    except (StoreDamaged, LedgerDamaged) as error:
        return Verified(session, (error.message,))


@contextmanager
def open_ledger(name: str, state: Path | None = None) -> Iterator[tuple[str, Ledger]]:
    """The id and the ledger of a session, which is there also when its files are not. Raises SessionUnknown,
    LedgerDamaged."""
    hint = "`mulligan log` lists those whose ledger is there"
    folder = _find(name, ledgers(state), "a ledger", hint)
    with Ledger.attach(folder / "ledger.db") as ledger:
        yield folder.name, ledger


def ledgers(state: Path | None = None) -> list[Path]:
    """The folders of all sessions that have a ledger, the newest entry last."""
    found = sessions_folder(state).glob("*/ledger.db")
    return [path.parent for path in sorted(found, key=lambda path: (path.stat().st_mtime, path))]


def forget(name: str, state: Path | None = None) -> str:
    """Remove the files and snapshots of a session that was kept; its id. Its ledger stays. Raises SessionUnknown,
    SessionInUse."""
    folder = _find_files(name, state)
    if is_open(folder):
        raise SessionInUse(f"session {folder.name} is open in a process", hint="close it there first")
    if not remove_files(folder):
        raise SessionInUse(f"somebody looks at session {folder.name}", hint="try again when that has ended")
    return folder.name


def _find_files(name: str, state: Path | None) -> Path:
    hint = "`mulligan diff` lists those that have; `mulligan run --keep` keeps a session's files"
    return _find(name, _folders(sessions_folder(state)), "files to look at", hint)


def _find(name: str, sessions: Iterable[Path], what: str, hint: str) -> Path:
    found = [folder for folder in sessions if name and folder.name.startswith(name)]
    exact = [folder for folder in found if folder.name == name]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        ids = ", ".join(sorted(folder.name for folder in found)[:5])
        raise SessionUnknown(f"{len(found)} sessions begin with {name!r}: {ids}", hint="name one of them")
    raise SessionUnknown(f"no session {name!r} has {what}", hint=hint)


def _folders(sessions: Path) -> Iterator[Path]:
    if sessions.is_dir():
        yield from (folder for folder in sessions.iterdir() if _has_files(folder))


def _has_files(folder: Path) -> bool:
    if (folder / WAITING).exists():
        return False  # it is nobody's session yet
    return (folder / "store" / "index.sqlite").is_file() and (folder / "ledger.db").is_file()


def _found(folder: Path) -> Found:
    opened, timeline = time.time(), None
    try:
        with Ledger.attach(folder / "ledger.db") as ledger:
            entries = list(ledger.entries())
            opened = entries[0].time / 1e9 if entries else opened
            timeline = Timeline.read(entries)
    except LedgerDamaged:
        pass
    return Found(folder.name, _state(folder), opened, timeline)


def _state(folder: Path) -> Literal["open", "kept", "left"]:
    if is_open(folder):
        return "open"
    return "kept" if (folder / KEPT).exists() else "left"
