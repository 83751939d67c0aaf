"""What a session takes up at one moment, in the sandbox and on the host."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mulligan.runtime.quota import Moved, sizes
from mulligan.sandbox import kernel

if TYPE_CHECKING:
    from mulligan.runtime.session import Folders

#: tries to measure files that are moved about meanwhile
TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionUsage:
    """`memory`: bytes of the worker and of the processes that actions have left running. A page that is shared, with
    twins too, is divided among its holders where the kernel lets us look (Pss), and else counted in each.
    `twins`: how many moments are held in memory; `twin_memory`: bytes that they hold together. In Docker that is what
    the control group is charged for less what the other processes answer for; in bubblewrap the sum of what each has at
    most to itself, which can be more than it is.
    `cpu`: seconds of processor time of all processes since this sandbox was started, our own included; what a process
    has taken that nobody waited for is missing. `processes` and `threads`: how many run now; the threads are those of
    our own processes too, one a twin.
    `disk` and `files`: bytes and entries of all that the session can write, the copy of the workspace included; None
    where processes move folders about faster than they can be counted.
    `history`: bytes of ledger, snapshots, transcripts and the record of commits, on the host."""

    memory: int
    twins: int
    twin_memory: int
    cpu: float
    processes: int
    threads: int
    disk: int | None
    files: int | None
    history: int

    def record(self) -> dict[str, Any]:
        return asdict(self)


def measure(held: kernel.Usage, folders: Folders) -> SessionUsage:
    """Takes as long as there are files."""
    disk = _sizes(folders.written)
    history = sum(map(_size, (folders.store, folders.output, folders.journal)))
    history += sum(path.stat().st_blocks * 512 for path in folders.root.glob("ledger.db*"))
    return SessionUsage(
        memory=held.resident,
        twins=len(held.twins),
        twin_memory=held.twin_memory,
        cpu=held.cpu,
        processes=held.processes,
        threads=held.threads,
        disk=None if disk is None else sum(disk),
        files=None if disk is None else len(disk),
        history=history,
    )


def _size(folder: Path) -> int:
    """Of a folder that only we write to."""
    return sum(sizes(folder)) if folder.is_dir() else 0


def _sizes(folders: Iterable[Path]) -> list[int] | None:
    for _ in range(TRIES):
        with suppress(Moved):
            return [size for folder in folders for size in sizes(folder)]
    return None
