"""One large file that changes whole: ours beside the disk's own speed, and the reflink's where the filesystem can."""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.measure import Aim, Comparison, Turn, alternate, seconds
from mulligan.sandbox.snapshots import SnapshotStore

SIZE, QUICK_SIZE, ROUNDS = 300, 8, 7  #: MB
OURS, DISK, REFLINK = "mulligan", "cp and fdatasync", "cp --reflink"


class Store:
    def __init__(self, store: SnapshotStore) -> None:
        self._store = store
        self._first = store.snapshot().id

    def save(self) -> None:
        self._store.snapshot(thorough=False)

    def load(self) -> None:
        if stands := self._store.restore(self._first, thorough=False).stands:
            raise RuntimeError(f"not restored: {stands}")


class Copy:
    """A copy by `cp`, made durable as ours is. Undo, which neither makes durable, copies the first one back."""

    def __init__(self, file: Path, folder: Path, how: str) -> None:
        self._file, self._folder, self._how = file, folder, f"--reflink={how}"
        self._first, self._kept = folder / "first", 0
        self._copy(file, self._first)

    def save(self) -> None:
        """Beside the others, as ours keeps them all."""
        self._kept += 1
        kept = self._folder / f"{self._kept}"
        self._copy(self._file, kept)
        with open(kept, "rb+") as copied:
            os.fdatasync(copied.fileno())

    def load(self) -> None:
        self._copy(self._first, self._file)

    def _copy(self, source: Path, target: Path) -> None:
        subprocess.run(["cp", self._how, source, target], check=True, capture_output=True)


def side_by_side(quick: bool) -> tuple[list[Comparison], dict[str, str]]:
    """What it took, and who was left out, and why."""
    megabytes = QUICK_SIZE if quick else SIZE
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        turns: dict[str, Turn] = {}
        left_out: dict[str, str] = {}
        for who in (OURS, DISK, REFLINK):
            file = Path(name) / who.replace(" ", "-") / "root" / "file"
            file.parent.mkdir(parents=True)
            _fill(file, megabytes, 0)
            try:
                keeper = _keeper(who, file, stack)
            except subprocess.CalledProcessError:
                left_out[REFLINK] = "the filesystem of the temporary folder cannot (TMPDIR names another)"
                continue
            turns[who] = _turn(file, megabytes, keeper)
        return alternate("one large file", turns, 2 if quick else ROUNDS, peer=DISK), left_out


def aims(found: Sequence[Comparison]) -> list[Aim]:
    return [Aim(f"{each.work}, as a multiple of {DISK}", OURS, each.ratio(OURS), 1.0) for each in found]


def _keeper(who: str, file: Path, stack: ExitStack) -> Store | Copy:
    folder = file.parents[1]
    if who == OURS:
        return Store(stack.enter_context(SnapshotStore.open(file.parent, folder / "kept")))
    return Copy(file, folder, "always" if who == REFLINK else "never")


def _turn(file: Path, megabytes: int, keeper: Store | Copy) -> Turn:
    def turn(n: int) -> Mapping[str, float]:
        _fill(file, megabytes, n + 1)
        took = {f"snapshot of {megabytes} MB changed in one file": seconds(keeper.save)}
        _patch(file, megabytes, n)
        took[f"snapshot of {megabytes} MB with 4 KB changed"] = seconds(keeper.save)
        took[f"undo of {megabytes} MB changed in one file"] = seconds(keeper.load)
        if not _holds(file, 0):
            raise RuntimeError("it was not undone")
        return took

    return turn


def _fill(file: Path, megabytes: int, seed: int) -> None:
    """In place, as a program that opens it for writing."""
    random_ = random.Random(seed)
    with open(file, "rb+" if file.exists() else "wb") as opened:
        for _ in range(megabytes):
            opened.write(random_.randbytes(1_000_000))


def _patch(file: Path, megabytes: int, n: int) -> None:
    with open(file, "rb+") as opened:
        opened.seek(n % megabytes * 1_000_000)
        opened.write(b"changed!" * 512)


def _holds(file: Path, seed: int) -> bool:
    with open(file, "rb") as opened:
        return opened.read(1_000_000) == random.Random(seed).randbytes(1_000_000)
