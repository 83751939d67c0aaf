"""A shelf: a folder, fit for git, with one plain Python file a routine.

    slugify.py               in force: trusted, or quarantined
    candidates/slugify.py    proposed: a first version, or the next one; the one in force stays until it is trusted
    older/1/slugify.py       what was in force, or proposed, before

Whoever writes holds the lock of the folder. A file is written beside its place, brought to the disk and renamed: the
rename is the commit point. The index (index.py) follows the files and lies elsewhere.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mulligan.runtime.library.errors import RoutineBroken, RoutineRefused, RoutineUnknown, ShelfUnusable
from mulligan.runtime.library.index import Index, Row
from mulligan.runtime.library.naming import fault_of
from mulligan.runtime.library.routine import Routine, read_routine
from mulligan.runtime.library.whereabouts import index_of, user_key

FORCE, CANDIDATES, OLDER = "", "candidates", "older"


class Shelf:
    """A context manager. Used by one thread at a time; any number of processes may have it open."""

    def __init__(self, folder: Path, index: Index, key: bytes) -> None:
        self.folder = folder
        self._key = key
        self._index = index
        self._broken: dict[str, str] = {}

    @classmethod
    def open(cls, folder: Path, state: Path | None = None, *, create: bool = False) -> Shelf:
        """Raises ShelfUnusable. With `create` a folder that is not there is made."""
        folder = folder.absolute()
        try:
            if create:
                folder.mkdir(parents=True, exist_ok=True)
            if not folder.is_dir():
                raise ShelfUnusable(f"there is no folder {folder}", hint="`mulligan library add` makes one")
            key = user_key()
            shelf = cls(folder, Index(index_of(folder, state, key), key), key)
        except OSError as error:
            if isinstance(error, ShelfUnusable):
                raise
            raise ShelfUnusable(
                f"{folder}: {error.strerror}", hint="name a folder that you can write"
            ) from error
        try:
            shelf.refresh()
        except BaseException:
            shelf.close()
            raise
        return shelf

    def close(self) -> None:
        self._index.close()

    def __enter__(self) -> Shelf:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- looking -----------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Notice what was changed in the folder by others."""
        self._broken = self._index.refresh({place: self.folder / place for place in (FORCE, CANDIDATES)})

    @property
    def revision(self) -> str:
        return self._index.revision

    @property
    def broken(self) -> dict[str, str]:
        """The files that are no routines, and why."""
        return dict(self._broken)

    def rows(self, place: str | None = None) -> list[Row]:
        return self._index.rows(place)

    def row(self, name: str) -> Row | None:
        """The one in force, else the one that is proposed."""
        return self._index.row(name)

    def get(self, name: str, place: str | None = None) -> Routine:
        """The one in force, else the one that is proposed; or the one at that place. Raises RoutineUnknown,
        RoutineBroken."""
        if fault := fault_of(name):
            raise RoutineUnknown(
                f"there is no routine {name[:80]!r}: that {fault}", hint="`mulligan library list`"
            )
        for each in (FORCE, CANDIDATES) if place is None else (place,):
            with suppress(FileNotFoundError):
                return self._read(each, name)
        where = f" under {place}" if place else ""
        raise RoutineUnknown(
            f"there is no routine {name!r} on {self.folder}{where}", hint="`mulligan library list`"
        )

    def _read(self, place: str, name: str) -> Routine:
        try:
            return read_routine(self._path(place, name), self._key)
        except ShelfUnusable as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise FileNotFoundError(name) from error
            raise

    def needs(self, name: str) -> str:
        """What the one in force needs, in JSON."""
        return self._index.needs(name)

    def offered(self) -> Iterator[tuple[Any, ...]]:
        """As `Index.offered`."""
        return self._index.offered()

    def alike(self, likeness: str) -> str | None:
        return self._index.alike(likeness)

    def search(self, text: str, k: int = 10) -> list[tuple[str, float]]:
        return self._index.search(text, k)

    def uses(self, name: str, version: int) -> tuple[int, int]:
        """How often this version went well, and how often it failed."""
        return self._index.uses(name, version)

    def count(self, name: str, version: int, *, failed: bool) -> tuple[int, int]:
        """Note that a session said how it did; as `uses`, with this one."""
        return self._index.count(name, version, failed=failed)

    def is_in_force(self, name: str, version: int) -> bool:
        self.refresh()
        return self._index.version(name) == version

    def versions(self, name: str) -> list[int]:
        """All that there are, ascending, those that are neither in force nor proposed among them."""
        older = [
            int(each.parent.name)
            for each in self.folder.glob(f"{OLDER}/*/{name}.py")
            if each.parent.name.isdecimal()
        ]
        now = [row.version for row in self.rows() if row.name == name]
        return sorted({*older, *now})

    # -- writing -----------------------------------------------------------------------------------------------

    def propose(self, routine: Routine) -> Routine:
        """Put it there as a candidate, as the next version of its name. What was proposed before goes to the older
        ones; what is in force stays."""
        with self._locked():
            versions = self.versions(routine.name)
            number = versions[-1] + 1 if versions else 1
            self._put_away(CANDIDATES, routine.name)
            made = replace(routine, key=self._key).changed(
                version=number, parent=versions[-1] if versions else 0, state="candidate", why=""
            )
            self._write(CANDIDATES, made)
            return made

    def trust(self, name: str, why: str, tried: str, seen: Routine | None = None) -> Routine:
        """Put what is proposed in force; or what is in force and was edited. Raises RoutineRefused where that is not
        what was `seen`."""
        with self._locked():
            place = CANDIDATES if self._path(CANDIDATES, name).is_file() else FORCE
            routine = self.get(name, place)
            if seen is not None and routine.content != seen.content:
                raise RoutineRefused(f"{name} was changed meanwhile", hint="look at it again")
            if place == CANDIDATES:
                self._put_away(FORCE, name)
            made = routine.changed(state="trusted", why=why, tried=tried)
            self._write(FORCE, made)
            if place == CANDIDATES:
                self._path(CANDIDATES, name).unlink()
            return made

    def note(self, routine: Routine, place: str, **changes: object) -> Routine:
        """Change its contract where it lies: what a trial recorded, say. Raises RoutineRefused where another version
        lies there by now."""
        with self._locked():
            if self.get(routine.name, place).content != routine.content:
                raise RoutineRefused(f"{routine.name} was changed meanwhile", hint="try it again")
            made = routine.changed(**changes)
            self._write(place, made)
            return made

    def quarantine(self, name: str, why: str) -> Routine:
        """What is in force, or else what is proposed, is not to be used."""
        with self._locked():
            place = FORCE if self._path(FORCE, name).is_file() else CANDIDATES
            made = self.get(name, place).changed(state="quarantined", why=why)
            self._write(place, made)
            return made

    def retire(self, name: str, why: str = "it was retired") -> int:
        """Take it off the shelf, to the older ones. How many versions were taken off."""
        with self._locked():
            taken = [self._put_away(place, name, why) for place in (FORCE, CANDIDATES)]
            if not any(taken):
                raise RoutineUnknown(
                    f"there is no routine {name!r} on {self.folder}", hint="`mulligan library list`"
                )
            return sum(taken)

    def retract(self, name: str, version: int) -> str | None:
        """The step that made this version was undone: take it off, and have the one before in force again. Where it
        lay, for `bring_back`; None where it lies nowhere any more."""
        with self._locked():
            for place in (FORCE, CANDIDATES):
                with suppress(FileNotFoundError, RoutineBroken):
                    routine = self._read(place, name)
                    if routine.version == version:
                        self._put_away(place, name)
                        if place == FORCE:
                            self._put_in_force(name, routine.contract.parent)
                        return place
            return None

    def bring_back(self, name: str, version: int, place: str) -> bool:
        """The step was redone: what was retracted lies where it lay. False where another took that place meanwhile, or
        it is gone."""
        with self._locked():
            older = f"{OLDER}/{version}"
            with suppress(FileNotFoundError, RoutineBroken):
                routine = self._read(older, name)
                now = self._read(place, name) if self._path(place, name).exists() else None
                if now is not None and now.version != routine.contract.parent:
                    return False
                self._put_away(place, name)
                self._write(place, routine)
                self._path(older, name).unlink()
                return True
            return False

    def _put_in_force(self, name: str, version: int) -> None:
        older = self._path(f"{OLDER}/{version}", name)
        if older.is_file():
            routine = self._read(f"{OLDER}/{version}", name)
            if not routine.edited and routine.contract.state == "trusted":
                self._write(FORCE, routine)
                older.unlink()

    def _put_away(self, place: str, name: str, why: str = "") -> bool:
        """To the older ones, as it is; or as retired, with this reason."""
        try:
            routine = self._read(place, name)
        except FileNotFoundError:
            return False
        self._write(
            f"{OLDER}/{routine.version}", routine.changed(state="retired", why=why) if why else routine
        )
        self._path(place, name).unlink()
        return True

    def _path(self, place: str, name: str) -> Path:
        return self.folder / place / f"{name}.py"

    def _write(self, place: str, routine: Routine) -> None:
        path = self._path(place, routine.name)
        beside = path.with_name(f".{routine.name}.{secrets.token_hex(4)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(beside, "x", encoding="utf-8") as file:
                file.write(routine.content)
                file.flush()
                os.fsync(file.fileno())
            os.rename(beside, path)  # from here on it is on the shelf
        except (OSError, UnicodeEncodeError) as error:
            beside.unlink(missing_ok=True)
            why = error.strerror if isinstance(error, OSError) else "it holds what cannot be written as UTF-8"
            raise ShelfUnusable(
                f"{path}: {why}; nothing was changed", hint="make room, or see who may write"
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone with the folder, and the index in step with it before and after."""
        try:
            descriptor = os.open(
                self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644
            )
        except OSError as error:
            raise ShelfUnusable(
                f"{self.folder}: {error.strerror}", hint="name a shelf that you can write"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self.refresh()
            yield
            self.refresh()
        finally:
            os.close(descriptor)
