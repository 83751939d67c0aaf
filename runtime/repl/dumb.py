"""Reading lines on a terminal that can only print (TERM=dumb): no keys, no colours, and the sandbox is waited for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mulligan.runtime.repl.words import is_command, is_question

if TYPE_CHECKING:
    from mulligan.runtime.repl.opening import Opening


class DumbEditor:
    """In place of the `Editor`. `reads` is given the words that stand before what is typed."""

    def __init__(self, opening: Opening, reads: Callable[[str], str | None]) -> None:
        self._opening, self._reads = opening, reads

    def read(self) -> str:
        """A whole action or a command. Raises EOFError at Ctrl-D."""
        session = self._opening.wait()
        before = f"[{len(session.timeline.nodes)}]> "
        lines: list[str] = []
        while True:
            line = self._reads(before)
            if line is None:
                raise EOFError
            lines.append(line)
            text = "\n".join(lines)
            alone = len(lines) == 1 and (not text.strip() or is_command(text) or is_question(text))
            if alone or session.is_complete(text).says != "incomplete":
                return text
            before = "...".rjust(len(before) - 1) + " "
