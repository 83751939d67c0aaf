"""Text that came out of a sandbox, made safe to show: it cannot drive a terminal or turn a line around."""

from __future__ import annotations

import re

#: escape sequences of ECMA-48: CSI; OSC; and DCS, SOS, PM, APC, which end with a string terminator
_ANSI = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)?"
    r"|\x1b[PX^_][^\x1b]{0,4096}(?:\x1b\\)?"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Text that cannot drive a terminal: escape sequences go, other control and direction characters are shown as
    `\\xNN`. A carriage return keeps what was last written on its line, as a terminal would."""
    text = _ANSI.sub("", text.replace("\r\n", "\n"))
    if "\r" in text:
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)
