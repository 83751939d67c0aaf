"""Values as JSON, with what JSON has no word for. Its counterpart inside is `sandbox/guest/offered/tools/_values.py`.

A value of another kind is an object `{"$": kind, "v": ...}`. Long texts, and bytes, lie beside the JSON as parts; it
refers to each by its number. What comes from inside is read here and nowhere else: no name in it is looked up, no class
is made of it, and each part is used once.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import json
import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from mulligan.sandbox.tools.errors import Garbled, Unpackable

#: characters from which on a text lies beside
LONG = 4096
#: numbers beyond 64 bits that one message may have: dictionaries of very many of them can be made to take for ever
LARGE_NUMBERS = 1000
_DIGITS = 4000
_KIND, _VALUE, _NAME = "$", "v", "n"


def pack(value: object, parts: list[bytes]) -> Any:
    """As plain data, with what lies beside appended to `parts`. Raises Unpackable."""
    try:
        return _pack(value, parts)
    except RecursionError as error:
        raise Unpackable("it is nested too deep, or holds itself") from error


def _pack(value: object, parts: list[bytes]) -> Any:
    match value:
        case None | bool():
            return value
        case Enum():
            return {_KIND: "enum", _NAME: type(value).__name__, _VALUE: _pack(value.value, parts)}
        case str():
            text = str(value)
            return text if len(text) < LONG else _beside("text", text.encode("utf-8", "surrogatepass"), parts)
        case int():
            if value.bit_length() > 3 * _DIGITS:
                raise Unpackable(f"a number of more than {_DIGITS:,} digits")
            return int(value)
        case float():
            return float(value) if math.isfinite(value) else _tagged("float", repr(float(value)))
        case bytes() | bytearray() | memoryview():
            return _beside("bytes", bytes(value), parts)
    return _pack_composed(value, parts)


def _pack_composed(value: object, parts: list[bytes]) -> Any:
    match value:
        case tuple() if hasattr(value, "_fields"):
            return _record(value, value._fields, parts)
        case list():
            return [_pack(each, parts) for each in value]
        case tuple() | set() | frozenset():
            name = next(each.__name__ for each in (tuple, frozenset, set) if isinstance(value, each))
            return _tagged(name, [_pack(each, parts) for each in value])
        case Mapping():
            if all(type(key) is str for key in value) and _KIND not in value:
                return {key: _pack(each, parts) for key, each in value.items()}
            return _tagged("dict", [[_pack(key, parts), _pack(each, parts)] for key, each in value.items()])
        case BaseModel():
            return _record(value, type(value).model_fields, parts)
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return _record(value, [field.name for field in dataclasses.fields(value)], parts)
    for kind, (known, spell, _) in _SIMPLE.items():
        if isinstance(value, known):
            return _tagged(kind, spell(value))
    raise Unpackable(f"a value of type {type(value).__name__}")


def _tagged(kind: str, value: Any) -> dict[str, Any]:
    return {_KIND: kind, _VALUE: value}


def _beside(kind: str, data: bytes, parts: list[bytes]) -> dict[str, Any]:
    parts.append(data)
    return _tagged(kind, len(parts) - 1)


def _record(value: object, names: Any, parts: list[bytes]) -> dict[str, Any]:
    fields = {name: _pack(getattr(value, name), parts) for name in names}
    return {_KIND: "record", _NAME: type(value).__name__, _VALUE: fields}


def _seconds(value: datetime.timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


#: kind -> its class, as text, and back; datetime before date, which it is a kind of
_SIMPLE: Mapping[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "datetime": (datetime.datetime, datetime.datetime.isoformat, datetime.datetime.fromisoformat),
    "date": (datetime.date, datetime.date.isoformat, datetime.date.fromisoformat),
    "time": (datetime.time, datetime.time.isoformat, datetime.time.fromisoformat),
    "timedelta": (datetime.timedelta, _seconds, lambda value: datetime.timedelta(*value)),
    "decimal": (Decimal, str, Decimal),
    "uuid": (UUID, str, UUID),
    "path": (PurePath, str, str),
}


class Unpacking:
    """Of one message that came from inside."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        self._parts: list[bytes | None] = list(parts)
        self._large = 0

    def read(self, text: bytes) -> Any:
        """Raises Garbled."""
        try:
            return self._read(json.loads(text, parse_constant=_no_constant))
        except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
            raise Garbled(f"it cannot be read ({type(error).__name__})") from error

    def again(self, plain: Any) -> Any:
        """What `pack` made, as new objects."""
        return self._read(plain)

    def _read(self, value: Any) -> Any:
        match value:
            case int() if abs(value) >> 63:
                self._large += 1
                if self._large > LARGE_NUMBERS:
                    raise Garbled(f"it has more than {LARGE_NUMBERS:,} numbers beyond 64 bits")
            case list():
                return [self._read(each) for each in value]
            case dict() if _KIND in value:
                return self._read_kind(value[_KIND], value.get(_VALUE))
            case dict():
                return {key: self._read(each) for key, each in value.items()}
        return value

    def _read_kind(self, kind: Any, value: Any) -> Any:
        match kind, value:
            case "text", int():
                return self._part(value).decode("utf-8", "surrogatepass")
            case "bytes", int():
                return self._part(value)
            case "float", "nan" | "inf" | "-inf":
                return float(value)
            case "tuple", list():
                return tuple(self._read(value))
            case (("set" | "frozenset"), list()):
                return (set if kind == "set" else frozenset)(self._read(value))
            case "dict", list():
                return {self._read(key): self._read(each) for key, each in value}
            case "enum", _:
                return self._read(value)
            case "record", dict():
                return {str(key): self._read(each) for key, each in value.items()}
            case str(), str() | list() if kind in _SIMPLE:
                return _SIMPLE[kind][2](value)
        raise Garbled("it has a value of no kind that there is")

    def _part(self, number: int) -> bytes:
        part = self._parts[number] if 0 <= number < len(self._parts) else None
        if part is None:
            raise Garbled("it refers to a part that is not there")
        self._parts[number] = None
        return part


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def embed(value: Any, parts: Sequence[bytes]) -> Any:
    """What `pack` made, as one piece of plain data, for a record of it. What is too deep to be read again raises
    RecursionError."""
    match value:
        case list():
            return [embed(each, parts) for each in value]
        case {"$": "text", "v": int(number)}:
            return parts[number].decode("utf-8", "surrogatepass")
        case {"$": "bytes", "v": int(number)}:
            return {_KIND: "base64", _VALUE: base64.b64encode(parts[number]).decode()}
        case dict():
            return {key: embed(each, parts) for key, each in value.items()}
    return value


def extract(value: Any, parts: list[bytes]) -> Any:
    """The other way: what `embed` made, as `pack` had made it."""
    match value:
        case list():
            return [extract(each, parts) for each in value]
        case {"$": "base64", "v": str(text)}:
            return _beside("bytes", base64.b64decode(text), parts)
        case dict():
            return {key: extract(each, parts) for key, each in value.items()}
    return value
