"""A line that somebody types below the output, not in the editor: an answer to `input()`, or to a question of ours."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from mulligan.sandbox.printable import printable

if TYPE_CHECKING:
    from mulligan.runtime.prompt import Curtain
    from mulligan.runtime.repl.keyboard import Keyboard


def reader(keyboard: Keyboard, curtain: Curtain) -> Callable[[str, bool], str | None]:
    def read(words: str, hidden: bool) -> str | None:
        """None at Ctrl-D, and where the terminal ended."""
        with keyboard.hidden() if hidden else keyboard.plain():
            curtain.write(printable(words))
            curtain.flush()
            line = _line(sys.stdin.fileno())
        if hidden or line is None:
            curtain.write("\n")
        return line

    return read


def _line(descriptor: int) -> str | None:
    """Read past Python's own buffer, which would take more than the line. What was typed before it was asked for ends
    as keys do."""
    data = b""
    while not data.endswith((b"\n", b"\r")):
        try:
            piece = os.read(descriptor, 4096)
        except OSError:
            piece = b""
        if not piece:
            return None if not data else data.decode("utf-8", "replace")
        data += piece
    return data.decode("utf-8", "replace").rstrip("\r\n")
