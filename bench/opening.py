"""What opening a session on a folder costs, beside `cp -a` and `git clone` of it: many files, and one large one."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import mulligan
from bench.files import LARGE, PARTS, plant
from bench.measure import SAID, Comparison, Turn, alternate, machine, seconds, versions
from mulligan.sandbox.snapshots.content import clone
from mulligan.sandbox.snapshots.removal import remove_folder

ROUNDS = {1_000: 7, 10_000: 5, 100_000: 1}  #: by the number of files
QUICK = {200: 1}
SIZE, QUICK_SIZE, LARGE_ROUNDS = 1024, 8, 3  #: MiB
MIB = 1 << 20
PEER, SHARED, CLONED = "cp -a", "cp -a --reflink", "git clone"
_CANNOT = "the filesystem of the temporary folder cannot (TMPDIR names another)"


def measure(quick: bool, isolations: Sequence[str] = (), parts: Collection[str] = PARTS) -> dict[str, Any]:
    """These parts in one run; plain data, ready for JSON."""
    facts, found = machine(), []
    with tempfile.TemporaryDirectory(prefix="mulligan-bench-") as name:
        shares = _shares(Path(name))
        for count, rounds in (QUICK if quick else ROUNDS).items():
            if not quick and str(count) not in parts:
                continue
            SAID.print(f"{count:,} files")
            source = Path(name) / f"{count}"
            plant(source, count)
            if shutil.which("git"):
                _commit_all(source)
            found += _side_by_side(f"open on {count:,} files", source, isolations, rounds, shares)
            remove_folder(source)
            remove_folder(_repository(source))
        if LARGE in parts:
            size = QUICK_SIZE if quick else SIZE
            source = _one_file(Path(name) / "large", size)
            rounds = 1 if quick else LARGE_ROUNDS
            found += _side_by_side(f"open on one file of {size:,} MiB", source, isolations, rounds, shares)
    left_out = {} if shares else {SHARED: _CANNOT, "mulligan, sharing blocks": _CANNOT}
    left_out |= {} if os.geteuid() == 0 else {"mulligan, overlay": "only root can mount one"}
    left_out |= {} if shutil.which("git") else {CLONED: "there is no git here"}
    return {
        "benchmark": "open",
        "quick": quick,
        "machine": facts,
        "versions": versions("mulligan"),
        "measures": [each.figures(who) for each in found for who in each.seconds],
        "aims": [],
        "left_out": left_out,
    }


def _side_by_side(
    work: str, source: Path, isolations: Sequence[str], rounds: int, shares: bool
) -> list[Comparison]:
    """All that is made stays until the end: ext4 without a journal is slow to make files for half a minute after some
    were removed, and that would be another's time."""
    way = "sharing blocks" if shares else "copying"
    with ExitStack() as later:
        made = Path(later.enter_context(tempfile.TemporaryDirectory(dir=source.parent)))
        turns: dict[str, Turn] = {
            f"mulligan, {way}, {name}": _opening(work, source, name, "copy", later) for name in isolations
        }
        if os.geteuid() == 0:
            for name in isolations:
                turns[f"mulligan, overlay, {name}"] = _opening(work, source, name, "overlay", later)
        turns[PEER] = _copying(work, source, made / "copy", "never")
        if shares:
            turns[SHARED] = _copying(work, source, made / "shared", "always")
        if _repository(source).exists():
            turns[CLONED] = _cloning(work, source, made / "clone")
        return alternate(work, turns, rounds, warmups=0, peer=PEER)


def _opening(work: str, source: Path, isolation: str, staging: str, later: ExitStack) -> Turn:
    """Until the first snapshot is taken."""

    def turn(n: int) -> Mapping[str, float]:
        state = source.parent / f"state-{isolation}-{staging}-{n}"
        later.callback(remove_folder, state)
        opened: list[mulligan.Session] = []

        def work_() -> None:
            opened.append(mulligan.open(source, isolation=isolation, state=state, staging=staging))

        took = seconds(work_)
        session = later.enter_context(opened[0])
        _check(source, session.workspace)
        return {work: took}

    return turn


def _copying(work: str, source: Path, target: Path, reflink: str) -> Turn:
    def turn(n: int) -> Mapping[str, float]:
        command = ["cp", "-aT", f"--reflink={reflink}", source, f"{target}-{n}"]
        took = seconds(lambda: subprocess.run(command, check=True) and None)
        _check(source, Path(f"{target}-{n}"))
        return {work: took}

    return turn


def _cloning(work: str, source: Path, target: Path) -> Turn:
    def turn(n: int) -> Mapping[str, float]:
        command = ["git", "clone", "--quiet", _repository(source), f"{target}-{n}"]
        took = seconds(lambda: subprocess.run(command, check=True) and None)
        _check(source, Path(f"{target}-{n}"))
        return {work: took}

    return turn


def _commit_all(source: Path) -> None:
    """A repository of the folder, beside it. Nothing is packed in the background, while others are timed."""
    git = ["git", f"--git-dir={_repository(source)}", f"--work-tree={source}", "-c", "user.name=bench"]
    git += ["-c", "user.email=bench@example.org", "-c", "init.defaultBranch=main", "-c", "gc.auto=0"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "planted"], check=True)


def _repository(source: Path) -> Path:
    return source.with_suffix(".git")


def _check(source: Path, copy: Path) -> None:
    """Whether all is there."""
    if _sizes(source) != _sizes(copy):
        raise RuntimeError(f"{copy} is not what {source} is")


def _sizes(folder: Path) -> tuple[int, int]:
    sizes = []
    for at, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if name != ".git"]
        sizes += [os.lstat(os.path.join(at, name)).st_size for name in names]
    return len(sizes), sum(sizes)


def _one_file(folder: Path, megabytes: int) -> Path:
    folder.mkdir()
    random_ = random.Random(megabytes)
    with open(folder / "file", "wb") as file:
        for _ in range(megabytes):
            file.write(random_.randbytes(MIB))
    return folder


def _shares(folder: Path) -> bool:
    """Whether files of this folder can share their blocks."""
    with tempfile.TemporaryFile(dir=folder) as one, tempfile.TemporaryFile(dir=folder) as other:
        one.write(b"x" * 65536)
        one.flush()
        return clone(one.fileno(), other.fileno())
