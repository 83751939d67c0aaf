"""The console that all commands write to."""

from __future__ import annotations

from typing import IO

from rich.console import Console


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # rich would end the program from here


def console_on(file: IO[str] | None) -> Console:
    """On standard output, where None is given. What it is given to print is never read as markup."""
    return _Console(file=file, highlight=False, markup=False, emoji=False)
