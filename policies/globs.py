"""Globs of hosts, of paths in URLs, and of plain names: whether one matches, and whether it covers another.

`covers` is told from the globs alone: where it says yes, every text that the second matches is matched by the first.
Where it says no, that may still be so. Matching takes at most the product of the two lengths, whatever the text.
"""

from __future__ import annotations

from collections.abc import Callable

#: names that lead nowhere public: only a rule that spells them out matches them
_PRIVATE = (
    "localhost",
    "local",
    "localdomain",
    "internal",
    "intranet",
    "lan",
    "home",
    "corp",
    "arpa",
    "onion",
)


def word_matches(glob: str, text: str) -> bool:
    """`*` is any run of characters."""
    pieces = glob.split("*")
    if len(pieces) == 1:
        return glob == text
    if not text.startswith(pieces[0]) or len(text) < len(pieces[0]) + len(pieces[-1]):
        return False
    at, end = len(pieces[0]), len(text) - len(pieces[-1])
    for piece in pieces[1:-1]:
        found = text.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return at <= end and text.endswith(pieces[-1])


def word_covers(wide: str, narrow: str) -> bool:
    """A star of the narrow one is matched by a star of the wide one alone, so it may stand for a character."""
    return wide == "*" or wide == narrow or word_matches(wide, narrow.replace("*", "\0*\0"))


def host_matches(glob: str, host: str, *, address: bool) -> bool:
    """`*` is any public name, `*.example.org` any name below it, at any depth. A star never matches an address."""
    if "*" not in glob or address:
        return glob == host
    labels = host.split(".")
    if glob == "*":
        return len(labels) > 1 and labels[-1] not in _PRIVATE
    return host.endswith(glob[1:]) and len(host) > len(glob) - 1


def host_covers(wide: str, narrow: str, *, address: bool) -> bool:
    if wide == narrow:
        return True
    if "*" not in narrow:
        return host_matches(wide, narrow, address=address)
    if wide == "*":
        return narrow.rpartition(".")[2] not in _PRIVATE
    return "*" in wide and narrow != "*" and narrow[1:].endswith(wide[1:])


def path_matches(glob: str, path: str) -> bool:
    """Segment by segment: `*` stays within one, `**` is any number of them, none included."""
    return _segments_match(glob.split("/")[1:], path.split("/")[1:], word_matches)


def path_covers(wide: str, narrow: str) -> bool:
    return wide == narrow or _segments_match(wide.split("/")[1:], narrow.split("/")[1:], _segment_covers)


def _segment_covers(wide: str, narrow: str) -> bool:
    return narrow != "**" and word_covers(wide, narrow)


def _segments_match(globs: list[str], segments: list[str], one: Callable[[str, str], bool]) -> bool:
    here = {0}  # how many of the segments may be used up
    for glob in globs:
        if glob == "**":
            here = set(range(min(here), len(segments) + 1))
        else:
            here = {at + 1 for at in here if at < len(segments) and one(glob, segments[at])}
        if not here:
            return False
    return len(segments) in here
