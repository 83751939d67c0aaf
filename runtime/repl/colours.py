"""Colours that an action asked for, and nothing else of what it sent to the terminal.

Of the escape sequences only those that choose one of twelve colours, or bold, dim, italic or underlined, are followed,
and only until the action ends. Black, white and every background are left out: text could be hidden with them, and
what the user's terminal looks like is not known. All else goes through `printable`.
"""

from __future__ import annotations

import re

from rich.style import Style
from rich.text import Text

from mulligan.sandbox.printable import printable

_SGR = re.compile(r"\x1b\[([0-9;]{0,64})m")
_NAMES = ("red", "green", "yellow", "blue", "magenta", "cyan")
_LOOKS = {1: Style(bold=True), 2: Style(dim=True), 3: Style(italic=True), 4: Style(underline=True)}
_LOOKS |= {31 + n: Style(color=name) for n, name in enumerate(_NAMES)}
_LOOKS |= {91 + n: Style(color=f"bright_{name}") for n, name in enumerate(_NAMES)}
_PLAIN = Style.null()
_ENDS = {22: Style(bold=False, dim=False), 23: Style(italic=False), 24: Style(underline=False)}
_ENDS |= {39: Style(color="default")}


class Colours:
    """Of one stream: a colour that was begun goes on in the next line."""

    def __init__(self) -> None:
        self._now = _PLAIN

    def text(self, said: str) -> Text:
        """Whole lines of a stream, as they may be shown."""
        found = Text()
        pieces = _SGR.split(_last_states(said))
        for at, piece in enumerate(pieces):
            if at % 2:
                self._follow(piece)
            else:
                found.append(printable(piece), self._now)
        return found

    def reset(self) -> None:
        self._now = _PLAIN

    def _follow(self, codes: str) -> None:
        numbers = [int(code) if code else 0 for code in codes.split(";")[:16] if len(code) < 4]
        while numbers:
            code = numbers.pop(0)
            if code in (38, 48, 58):  # a colour in 2 or 4 more numbers
                del numbers[: {5: 2, 2: 4}.get(numbers[0], 1) if numbers else 0]
            elif code == 0:
                self._now = _PLAIN
            elif code in _LOOKS:
                self._now += _LOOKS[code]
            elif code in _ENDS:
                self._now += _ENDS[code]


def _last_states(said: str) -> str:
    """What carriage returns leave of each line, as `printable` has it, which sees only pieces of lines here."""
    said = said.replace("\r\n", "\n")
    if "\r" not in said:
        return said
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in said.split("\n"))
