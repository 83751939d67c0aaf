"""What a snapshot of files and its undo cost: ours with both detectors, beside git, cp, tar and rsync."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from bench.measure import SAID, Aim, Comparison, Turn, alternate, machine, versions
from mulligan.sandbox.snapshots import SnapshotStore
from mulligan.sandbox.snapshots.store import MOST_WATCHES

SIZES = (1_000, 10_000, 100_000)
QUICK = (200,)
A_FOLDER = 20  #: files in each folder
CHANGED = 10
WATCHES, SCAN = "mulligan, watches", "mulligan, scan"
PEERS = ("git", "cp -a", "tar", "rsync --link-dest")
_AIMS = {1_000: 5.0, 10_000: 5.0, 100_000: 8.0}  #: ms


class Keeper(Protocol):
    def snapshot(self) -> None: ...

    def undo(self) -> None:
        """Take back what came after the first snapshot."""
        ...


class Ours:
    def __init__(self, store: SnapshotStore) -> None:
        self._store = store
        self._first = store.snapshot(thorough=False).id

    def snapshot(self) -> None:
        self._store.snapshot(thorough=False)

    def undo(self) -> None:
        if stands := self._store.restore(self._first, thorough=False).stands:
            raise RuntimeError(f"not restored: {stands}")


class Git:
    """Its own folder lies outside the tree, as a tool's would."""

    def __init__(self, root: Path, folder: Path) -> None:
        identity = ("-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0")
        self._git = ("git", *identity, f"--git-dir={folder}", f"--work-tree={root}")
        self._run("init", "-q")
        self.snapshot()
        self._run("tag", "first")

    def snapshot(self) -> None:
        self._run("add", "-A")
        self._run("commit", "-q", "-m", "snapshot")

    def undo(self) -> None:
        self._run("reset", "-q", "--hard", "first")
        self._run("clean", "-q", "-fdx")

    def _run(self, *arguments: str) -> None:
        subprocess.run([*self._git, *arguments], check=True)


class Copies:
    """A whole copy for each snapshot, by a command from one folder to another; undo copies the first one back."""

    def __init__(self, root: Path, folder: Path, save: Sequence[str], load: Sequence[str]) -> None:
        folder.mkdir()
        self._root, self._folder = root, folder
        self._save, self._load = save, load
        self._run(save, root, folder / "first")

    def snapshot(self) -> None:
        self._run(self._save, self._root, self._folder / "next")

    def undo(self) -> None:
        shutil.rmtree(self._root)
        self._root.mkdir()
        self._run(self._load, self._folder / "first", self._root)

    def tidy(self) -> None:
        """Remove the last copy; not measured."""
        last = self._folder / "next"
        shutil.rmtree(last) if last.is_dir() else last.unlink()

    def _run(self, command: Sequence[str], source: Path, target: Path) -> None:
        names = {"source": str(source), "target": str(target), "first": str(self._folder / "first")}
        subprocess.run([part.format_map(names) for part in command], check=True)


_COPIES = {
    "cp -a": (("cp", "-aT", "{source}", "{target}"), ("cp", "-aT", "{source}", "{target}")),
    "tar": (("tar", "-cf", "{target}", "-C", "{source}", "."), ("tar", "-xf", "{source}", "-C", "{target}")),
    "rsync --link-dest": (
        ("rsync", "-a", "--link-dest={first}", "{source}/", "{target}/"),
        ("rsync", "-a", "{source}/", "{target}/"),
    ),
}


def measure(quick: bool, isolations: Sequence[str] = ()) -> dict[str, Any]:
    """Everything in one run; plain data, ready for JSON. No isolation takes part."""
    facts, found, aims = machine(), [], []
    for count in QUICK if quick else SIZES:
        comparisons = side_by_side(count, rounds=2 if quick else 4 if count > 10_000 else 10)
        found += comparisons
        aims += _aims(comparisons, count)
    return {
        "benchmark": "files",
        "quick": quick,
        "machine": facts,
        "versions": versions("mulligan"),
        "measures": [each.figures(who) for each in found for who in each.seconds],
        "aims": [aim.figures() for aim in aims],
        "left_out": {who: "it is not installed here" for who in PEERS if not _installed(who)},
    }


def side_by_side(count: int, rounds: int) -> list[Comparison]:
    turns: dict[str, Turn] = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        for who in (WATCHES, SCAN, *filter(_installed, PEERS)):
            SAID.print(f"{count:,} files for {who}")
            home = Path(name) / who.replace(" ", "-")
            files = plant(home / "root", count)
            turns[who] = _turn(_keeper(who, home, stack), files)
        return alternate(f"{count:,} files", turns, rounds, peer="git" if "git" in turns else None)


def plant(root: Path, count: int) -> list[Path]:
    """A tree of small files; the files."""
    random_ = random.Random(count)
    files = [root / f"{n // A_FOLDER // 30}" / f"{n // A_FOLDER}" / f"{n}.txt" for n in range(count)]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(random_.randbytes(600))
    return files


def _keeper(who: str, home: Path, stack: ExitStack) -> Keeper:
    root, folder = home / "root", home / "kept"
    if who in (WATCHES, SCAN):
        watches = MOST_WATCHES if who == WATCHES else 0
        store = stack.enter_context(SnapshotStore.open(root, folder, watches=watches))
        if (store.detector.name == "watches") != (who == WATCHES):
            raise SystemExit(f"watches cannot be measured: {store.detector.why}")
        return Ours(store)
    return Git(root, folder) if who == "git" else Copies(root, folder, *_COPIES[who])


def _turn(keeper: Keeper, files: Sequence[Path]) -> Turn:
    def turn(n: int) -> Mapping[str, float]:
        random_ = random.Random(n)
        *changed, deleted = random_.sample(files, CHANGED + 1)
        for file in changed:
            file.write_bytes(random_.randbytes(600))
        deleted.unlink()
        (changed[0].parent / "added").write_bytes(b"added")
        took = {f"snapshot of {len(files):,} files": _seconds(keeper.snapshot)}
        if isinstance(keeper, Ours):
            took[f"snapshot of {len(files):,} files, nothing changed"] = _seconds(keeper.snapshot)
        took[f"undo in {len(files):,} files"] = _seconds(keeper.undo)
        if (changed[0].parent / "added").exists() or not deleted.exists():
            raise RuntimeError("it was not undone")
        if isinstance(keeper, Copies):
            keeper.tidy()
        return took

    return turn


def _seconds(work: Callable[[], None]) -> float:
    os.sync()  # what others wrote is not ours to wait for
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _installed(who: str) -> bool:
    return shutil.which(who.split(maxsplit=1)[0]) is not None


def _aims(found: Sequence[Comparison], count: int) -> list[Aim]:
    aims = []
    for each in found:
        most = 0.2 if each.work.endswith("nothing changed") else _AIMS.get(count)
        if most is not None and WATCHES in each.seconds:
            aims.append(Aim(f"{each.work}, ms", WATCHES, each.median(WATCHES) * 1000, most))
    return aims
