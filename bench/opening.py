"""What opening a session on a folder costs, beside `cp -a` and `git clone` of it: many files, and one large one."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import mulligan
from bench.files import plant
from bench.measure import SAID, Comparison, Turn, alternate, machine, seconds, versions
from mulligan.sandbox.snapshots.content import clone
from mulligan.sandbox.snapshots.removal import remove_folder

ROUNDS = {10_000: 3, 100_000: 1}  #: by the number of files
QUICK = {200: 1}
LARGE, QUICK_LARGE, LARGE_ROUNDS = 1024, 8, 3  #: MiB
MIB = 1 << 20
PEER, SHARED, CLONED = "cp -a", "cp -a --reflink", "git clone"
_CANNOT = "the filesystem of the temporary folder cannot (TMPDIR names another)"


def measure(quick: bool, isolations: Sequence[str] = ()) -> dict[str, Any]:
    """Everything in one run; plain data, ready for JSON."""
    facts, found = machine(), []
    with tempfile.TemporaryDirectory(prefix="mulligan-bench-") as name:
        shares = _shares(Path(name))
        for count, rounds in (QUICK if quick else ROUNDS).items():
            SAID.print(f"{count:,} files")
            source = Path(name) / f"{count}"
            plant(source, count)
            if shutil.which("git"):
                _commit_all(source)
            found += _side_by_side(f"open on {count:,} files", source, isolations, rounds, shares)
            remove_folder(source)
            remove_folder(_repository(source))
        size = QUICK_LARGE if quick else LARGE
        source = _one_file(Path(name) / "large", size)
        found += _side_by_side(
            f"open on one file of {size:,} MiB", source, isolations, 1 if quick else LARGE_ROUNDS, shares
        )
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
    way = "sharing blocks" if shares else "copying"
    turns: dict[str, Turn] = {
        f"mulligan, {way}, {name}": _opening(work, source, name, "copy") for name in isolations
    }
    if os.geteuid() == 0:
        for name in isolations:
            turns[f"mulligan, overlay, {name}"] = _opening(work, source, name, "overlay")
    turns[PEER] = _copying(work, source, "never")
    if shares:
        turns[SHARED] = _copying(work, source, "always")
    if _repository(source).exists():
        turns[CLONED] = _cloning(work, source)
    return alternate(work, turns, rounds, warmups=0, peer=PEER)


def _opening(work: str, source: Path, isolation: str, staging: str) -> Turn:
    """Until the first snapshot is taken; closing is not timed."""

    def turn(n: int) -> Mapping[str, float]:
        state = source.parent / "state"
        with ExitStack() as stack:
            stack.callback(remove_folder, state)
            opened: list[mulligan.Session] = []

            def work_() -> None:
                opened.append(mulligan.open(source, isolation=isolation, state=state, staging=staging))

            took = seconds(work_)
            session = stack.enter_context(opened[0])
            _check(source, session.workspace)
            return {work: took}

    return turn


def _copying(work: str, source: Path, reflink: str) -> Turn:
    def turn(n: int) -> Mapping[str, float]:
        target = source.parent / "copy"
        command = ["cp", "-aT", f"--reflink={reflink}", source, target]
        took = seconds(lambda: subprocess.run(command, check=True) and None)
        _check(source, target)
        remove_folder(target)
        return {work: took}

    return turn


def _cloning(work: str, source: Path) -> Turn:
    def turn(n: int) -> Mapping[str, float]:
        target = source.parent / "clone"
        command = ["git", "clone", "--quiet", _repository(source), target]
        took = seconds(lambda: subprocess.run(command, check=True) and None)
        remove_folder(target / ".git")
        _check(source, target)
        remove_folder(target)
        return {work: took}

    return turn


def _commit_all(source: Path) -> None:
    """A repository of the folder, beside it."""
    git = ["git", f"--git-dir={_repository(source)}", f"--work-tree={source}", "-c", "user.name=bench"]
    git += ["-c", "user.email=bench@example.org", "-c", "init.defaultBranch=main"]
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
    sizes = [os.lstat(os.path.join(at, name)).st_size for at, _, names in os.walk(folder) for name in names]
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
