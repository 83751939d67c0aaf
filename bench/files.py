"""What a snapshot of files and its undo cost: ours with both detectors, beside git, cp, tar, rsync and Docker; and one
large file, beside the disk itself."""

from __future__ import annotations

import random
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import large
from bench.keepers import Container, Copies, Git, Keeper, Ours, Work
from bench.measure import SAID, Aim, Comparison, Turn, alternate, machine, seconds, versions
from mulligan.sandbox.image.recipe import default_tags
from mulligan.sandbox.snapshots import SnapshotStore
from mulligan.sandbox.snapshots.store import MOST_WATCHES

SIZES = (1_000, 10_000, 100_000)
LARGE = "large"
PARTS = (*map(str, SIZES), LARGE)
QUICK = (200,)
A_FOLDER = 20  #: files in each folder
WATCHES, SCAN = "mulligan, watches", "mulligan, scan"
COMMIT = "docker commit, new container"
_AIMS = {1_000: 5.0, 10_000: 5.0, 100_000: 8.0}  #: ms

_COPIES = {
    "cp -a": (("cp", "-aT", "{source}", "{target}"), ("cp", "-aT", "{source}", "{target}")),
    "tar": (("tar", "-cf", "{target}", "-C", "{source}", "."), ("tar", "-xf", "{source}", "-C", "{target}")),
    "rsync --link-dest": (
        ("rsync", "-a", "--link-dest={first}", "{source}/", "{target}/"),
        ("rsync", "-a", "{source}/", "{target}/"),
    ),
}
PEERS = ("git", *_COPIES, COMMIT)


def measure(quick: bool, isolations: Sequence[str] = (), parts: Collection[str] = PARTS) -> dict[str, Any]:
    """These parts in one run; plain data, ready for JSON. No isolation takes part."""
    facts, found, aims = machine(), [], []
    left_out = {who: why for who in PEERS if (why := _missing(who))}
    for count in QUICK if quick else SIZES:
        if not quick and str(count) not in parts:
            continue
        comparisons = side_by_side(
            count, rounds=2 if quick else 3 if count > 10_000 else 10, left_out=left_out
        )
        found += comparisons
        aims += _aims(comparisons, count)
    comparisons, missing = large.side_by_side(quick) if LARGE in parts else ([], {})
    return {
        "benchmark": "files",
        "quick": quick,
        "machine": facts,
        "versions": versions("mulligan"),
        "measures": [each.figures(who) for each in (*found, *comparisons) for who in each.seconds],
        "aims": [aim.figures() for aim in (*aims, *large.aims(comparisons))],
        "left_out": left_out | missing,
    }


def side_by_side(count: int, rounds: int, left_out: Mapping[str, str]) -> list[Comparison]:
    turns: dict[str, Turn] = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        for who in (WATCHES, SCAN, *(peer for peer in PEERS if peer not in left_out)):
            SAID.print(f"{count:,} files for {who}")
            home = Path(name) / who.replace(" ", "-")
            files = plant(home / "root", count)
            turns[who] = _turn(_keeper(who, home, stack), files)
        return alternate(f"{count:,} files", turns, rounds, peer="git" if "git" in turns else None)


def plant(root: Path, count: int) -> list[str]:
    """A tree of small files; the files, by their paths in it."""
    random_ = random.Random(count)
    files = [f"{n // A_FOLDER // 30}/{n // A_FOLDER}/{n}.txt" for n in range(count)]
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(random_.randbytes(600))
    return files


def _keeper(who: str, home: Path, stack: ExitStack) -> Keeper:
    root, folder = home / "root", home / "kept"
    if who in (WATCHES, SCAN):
        watches = MOST_WATCHES if who == WATCHES else 0
        store = stack.enter_context(SnapshotStore.open(root, folder, watches=watches))
        if (store.detector.name == "watches") != (who == WATCHES):
            raise SystemExit(f"watches cannot be measured: {store.detector.why}")
        return Ours(root, store)
    if who == COMMIT:
        container = Container(_image() or "")
        stack.callback(container.close)
        container.begin(root)
        return container
    return Git(root, folder) if who == "git" else Copies(root, folder, *_COPIES[who])


def _turn(keeper: Keeper, files: Sequence[str]) -> Turn:
    def turn(n: int) -> Mapping[str, float]:
        work = Work.of_round(n, files)
        keeper.do(work)
        took = {f"snapshot of {len(files):,} files": seconds(keeper.snapshot)}
        if isinstance(keeper, Ours):
            took[f"snapshot of {len(files):,} files, nothing changed"] = seconds(keeper.snapshot)
        took[f"undo in {len(files):,} files"] = seconds(keeper.undo)
        if not keeper.undone(work):
            raise RuntimeError("it was not undone")
        keeper.tidy()
        return took

    return turn


def _missing(who: str) -> str:
    """Why a peer cannot take part, or ""."""
    command = who.split(maxsplit=1)[0]
    if shutil.which(command) is None:
        return f"there is no {command} here"
    if who == COMMIT and _image() is None:
        return "no engine answers, or the image is not built (make image)"
    return ""


def _image() -> str | None:
    for tag in default_tags():
        if (
            subprocess.run(["docker", "image", "inspect", tag], capture_output=True, check=False).returncode
            == 0
        ):
            return tag
    return None


def _aims(found: Sequence[Comparison], count: int) -> list[Aim]:
    aims = []
    for each in found:
        most = 0.2 if each.work.endswith("nothing changed") else _AIMS.get(count)
        if most is not None and WATCHES in each.seconds:
            aims.append(Aim(f"{each.work}, ms", WATCHES, each.median(WATCHES) * 1000, most))
    return aims
