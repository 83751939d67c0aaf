"""Text that came out of a sandbox, made safe to show: it cannot drive a terminal, turn a line around, or hide.

What is shown in its escaped form, by Unicode's own properties: controls, surrogates, line and paragraph separators,
format characters, tag characters and every other one that is drawn as nothing. Kept, though they are format
characters, are the two joiners that Persian, the scripts of India and emoji are spelled with, and the number signs
that are drawn.
"""

from __future__ import annotations

import re
import unicodedata

#: escape sequences of ECMA-48: CSI; OSC; and DCS, SOS, PM, APC, which end with a string terminator. Nothing is
#: matched twice over, so the time is proportional to the text, whatever is in it.
_ANSI = re.compile(
    r"\x1b\[[0-?]*+[ -/]*+[@-~]"
    r"|\x1b\][^\x07\x1b]{0,4096}+(?:\x07|\x1b\\)?"
    r"|\x1b[PX^_][^\x1b]{0,4096}+(?:\x1b\\)?"
)
_UNUSUAL = re.compile(r"[^\n\t -~]")
_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_KEPT = frozenset("\u200c\u200d\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2")
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0")


def printable(text: str) -> str:
    """Text that is safe to show: escape sequences go, other characters that act or hide are shown as `\\xNN`. A
    carriage return keeps what was last written on its line, as a terminal would."""
    text = _ANSI.sub("", text.replace("\r\n", "\n"))
    if "\r" in text:
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return _UNUSUAL.sub(_shown, text)


def escaped(text: str) -> str:
    """Text that is safe to show with nothing left out: escape sequences and carriage returns are shown as well."""
    return _UNUSUAL.sub(_shown, text)


def one_line(text: str) -> str:
    """A name that is safe to show and makes no line of its own. Nothing is left out, so two names stay two."""
    return escaped(text).replace("\n", "\\n").replace("\t", "\\t")


def _shown(found: re.Match[str]) -> str:
    char = found[0]
    return ascii(char)[1:-1] if _acts_or_hides(char) else char


def _acts_or_hides(char: str) -> bool:
    if 0xE0000 <= ord(char) <= 0xE0FFF or char in _BLANK:  # tags, and variation selectors that carry text
        return True
    return unicodedata.category(char) in _CATEGORIES and char not in _KEPT
