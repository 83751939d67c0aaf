"""What a terminal shows while a large folder is brought in; a pipe gets nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

if TYPE_CHECKING:
    from types import TracebackType

    from mulligan.runtime.importing import Importing

#: entries, and bytes, below which nobody waits long
FEW, LITTLE = 2_000, 256 << 20


class Waiting:
    """A context manager; `progress` is told by the session, on its thread. The line goes when it is done."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[files]}"),
            DownloadColumn(),
            console=Console(file=sys.stderr, highlight=False, markup=False),
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def progress(self, now: Importing) -> None:
        if (now.all < FEW and now.all_bytes < LITTLE) or not self._bar.console.is_terminal:
            return
        if now.doing not in self._tasks:
            for done in self._tasks.values():
                self._bar.remove_task(done)
            self._tasks = {now.doing: self._bar.add_task(now.doing, total=now.all_bytes, files="")}
            self._bar.start()
        if now.done % 100 == 0 or now.done >= now.all or now.all < FEW:
            files = f"{now.done:,} of {now.all:,} entries"
            self._bar.update(self._tasks[now.doing], completed=now.bytes, files=files)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tasks:  # stopping one that never began prints a line
            self._bar.stop()
