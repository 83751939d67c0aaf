"""What comparing two contents gives: one plain value for every kind, and the bounds it keeps.

It crosses from the process that reads hostile contents, so `decode_record` believes nothing of it but its form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol

#: characters of a line that are shown
WIDTH = 300
#: lines of one file, when nobody says otherwise
LINES = 100
#: bytes of an encoded detail
LARGEST = 8 << 20

SIGNS = frozenset("+-~@ ")


class Unfit(Exception):
    """These contents are not to be compared as this kind; the message says why, for people."""


class Kind(Protocol):
    """One module a kind has this function. `None` is where there was no file. Raises Unfit."""

    def compare(self, before: bytes | None, after: bytes | None, lines: int) -> Detail: ...


@dataclass(frozen=True, slots=True)
class Line:
    """`sign` is "+" added, "-" removed, "~" changed, "@" a place in the file, " " unchanged. The text is as the
    file has it: it must be made printable before it is shown."""

    sign: str
    text: str


@dataclass(frozen=True, slots=True)
class Detail:
    """`counts` are the numbers in `summary`, for programs. `left_out` is how many lines there would be more.
    `notes` say why it is told as plainly as this."""

    kind: str
    summary: str
    counts: Mapping[str, int] = field(default_factory=dict)
    lines: tuple[Line, ...] = ()
    left_out: int = 0
    notes: tuple[str, ...] = ()


class Lines:
    """Gathers at most `most` lines and counts the others."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lines: list[Line] = []
        self.left_out = 0

    def add(self, sign: str, text: str, start: int = 0) -> None:
        """`start` is the character from which a line that is too wide is shown."""
        if len(self._lines) >= self._most:
            self.left_out += 1
        else:
            self._lines.append(Line(sign, clip(text, start)))

    def skip(self, count: int) -> None:
        self.left_out += count

    @property
    def full(self) -> bool:
        return len(self._lines) >= self._most

    @property
    def all(self) -> tuple[Line, ...]:
        return tuple(self._lines)


def clip(text: str, start: int = 0) -> str:
    if len(text) <= WIDTH:
        return text
    end = start + WIDTH
    return ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")


def counted(number: int, one: str, many: str = "") -> str:
    """`1 row`, `2 rows`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def encode(detail: Detail) -> bytes:
    record = {
        "kind": detail.kind,
        "summary": detail.summary,
        "counts": dict(detail.counts),
        "lines": [[line.sign, line.text] for line in detail.lines],
        "left_out": detail.left_out,
        "notes": list(detail.notes),
    }
    return json.dumps(record).encode()


def decode_record(record: Any) -> Detail:
    """A detail from JSON that was read. Raises ValueError for what is none."""
    try:
        return Detail(
            kind=_text(record["kind"]),
            summary=_text(record["summary"]),
            counts={_text(name): _number(count) for name, count in record["counts"].items()},
            lines=tuple(Line(_sign(sign), _text(text)) for sign, text in record["lines"]),
            left_out=_number(record["left_out"]),
            notes=tuple(map(_text, record["notes"])),
        )
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a detail: {error!r}") from error


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 10 * WIDTH:
        raise ValueError("a text was expected")
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int):
        raise ValueError("a number was expected")
    return value


def _sign(value: Any) -> str:
    if value not in SIGNS:
        raise ValueError("a sign was expected")
    return str(value)


def kind_of(module: ModuleType) -> Kind:
    """A module of this package as the kind that it is."""
    kind: Kind = module
    return kind
