"""Taking secret values out of bytes and text that pass by, in every form that programs commonly give them.

What stands for a value is as long as what was there, so that a length that was announced stays right. A piece that ends
within what may be a value is held back until it is known: nothing of a value that is cut in two passes. What encodes a
value otherwise (compressed, encrypted, spelt backwards) is not known, and passes: docs/threat-model.md.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

#: what stands for each byte of a value
MARK = b"*"


def forms(value: bytes) -> frozenset[bytes]:
    """The value and its encodings: base64 of all three alignments and both alphabets, hexadecimal, escaped for URLs,
    for JSON and for Python."""
    found = {value, *_base64(value), value.hex().encode(), value.hex().upper().encode()}
    for escaped in (
        quote(value, safe=""),
        quote(value),
        quote_plus(value),
        "".join(f"%{byte:02X}" for byte in value),
    ):
        found |= {escaped.encode(), re.sub("%..", lambda part: part[0].lower(), escaped).encode()}
    text = value.decode("utf-8", "surrogateescape")
    found |= {_inner(json.dumps(text)), _inner(json.dumps(text, ensure_ascii=False)), _inner(repr(text))}
    return frozenset(found)


def _inner(quoted: str) -> bytes:
    return quoted[1:-1].encode("utf-8", "surrogateescape")


def _base64(value: bytes) -> Iterator[bytes]:
    """What of the value's own bits alone is in an encoding that it is a part of: the digits at its ends, which hold
    bits of its neighbours, are left out."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + value + bytes((-before - len(value)) % 3))
        bits = 8 * (before + len(value))
        digits = encoded[-(-8 * before // 6) : bits // 6]
        yield digits
        yield digits.translate(bytes.maketrans(b"+/", b"-_"))


class Redactor:
    """Of a session; from any thread. Without values it lets everything pass."""

    def __init__(self, values: Iterable[bytes] = ()) -> None:
        found = {form for value in values for form in forms(value)}
        self._forms = sorted(found, key=len, reverse=True)
        self.longest = max(map(len, found), default=0)
        self._bytes = re.compile(b"|".join(map(re.escape, self._forms))) if found else None
        text = [form.decode("utf-8", "surrogateescape") for form in self._forms]
        self._text = re.compile("|".join(map(re.escape, text))) if found else None
        self._begun = {form[0] for form in found}

    def __bool__(self) -> bool:
        return self._bytes is not None

    def raw(self, data: bytes) -> bytes:
        return data if self._bytes is None else self._bytes.sub(lambda found: MARK * len(found[0]), data)

    def text(self, text: str) -> str:
        return text if self._text is None else self._text.sub(lambda found: "*" * len(found[0]), text)

    def plain(self, value: Any) -> Any:
        """JSON data with every text in it, keys too."""
        if self._text is None:
            return value
        match value:
            case str():
                return self.text(value)
            case Mapping():
                return {self.text(str(key)): self.plain(each) for key, each in value.items()}
            case list() | tuple():
                return [self.plain(each) for each in value]
        return value

    def unfinished(self, data: bytes) -> int:
        """How many of the last bytes may be the beginning of a value."""
        for at in range(max(0, len(data) - self.longest + 1), len(data)):
            if data[at] in self._begun:
                rest = data[at:]
                if any(form.startswith(rest) for form in self._forms):
                    return len(rest)
        return 0


class Stream:
    """Pieces in, pieces out, with what may be half a value held back."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = b""

    def add(self, piece: bytes) -> bytes:
        data = self._redactor.raw(self._held + piece)
        held = self._redactor.unfinished(data)
        self._held = data[len(data) - held :]
        return data[: len(data) - held]

    def end(self) -> bytes:
        """What was held back, and is no value."""
        held, self._held = self._held, b""
        return held
