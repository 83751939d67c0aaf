"""Values as JSON, with what JSON has no word for: as sandbox/tools/values.py on the host, whose word is
believed here."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import uuid
from collections.abc import Callable, Mapping
from typing import Any

#: characters from which on a text lies beside
LONG = 4096
#: classes that were made from data, by name
classes: dict[str, Any] = {}


class Left:
    """Stands for a default that the host knows and that cannot be shown here."""

    def __repr__(self) -> str:
        return "..."


LEFT = Left()


def pack(value: Any, parts: list[bytes]) -> Any:
    """Raises TypeError for what cannot travel."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return pack(value.value, parts)
    if isinstance(value, str):
        return (
            str(value)
            if len(value) < LONG
            else _beside("text", value.encode("utf-8", "surrogatepass"), parts)
        )
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _tagged("float", repr(float(value)))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _beside("bytes", bytes(value), parts)
    return _pack_composed(value, parts)


def _pack_composed(value: Any, parts: list[bytes]) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return _record(value, value._fields, parts)
    if isinstance(value, list):
        return [pack(each, parts) for each in value]
    for kind in (tuple, frozenset, set):
        if isinstance(value, kind):
            return _tagged(kind.__name__, [pack(each, parts) for each in value])
    if isinstance(value, Mapping):
        if all(type(key) is str for key in value) and "$" not in value:
            return {key: pack(each, parts) for key, each in value.items()}
        return _tagged("dict", [[pack(key, parts), pack(each, parts)] for key, each in value.items()])
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _record(value, [field.name for field in dataclasses.fields(value)], parts)
    for name, (known, spell, _) in SIMPLE.items():
        if isinstance(value, known):
            return _tagged(name, spell(value))
    return pack(_plain(value), parts)


def _plain(value: Any) -> Any:
    """Of numpy and pandas, and what resembles them."""
    for name in ("tolist", "to_dict", "model_dump", "item"):
        if callable(getattr(value, name, None)) and not isinstance(value, type):
            found = getattr(value, name)()
            if type(found) is not type(value):
                return found
    raise TypeError(f"a value of type {type(value).__name__} cannot be handed to a tool")


def _tagged(kind: str, value: Any) -> dict[str, Any]:
    return {"$": kind, "v": value}


def _beside(kind: str, data: bytes, parts: list[bytes]) -> dict[str, Any]:
    parts.append(data)
    return _tagged(kind, len(parts) - 1)


def _record(value: Any, names: Any, parts: list[bytes]) -> dict[str, Any]:
    found = {name: getattr(value, name) for name in names}
    fields = {name: pack(each, parts) for name, each in found.items() if each is not LEFT}
    return {"$": "record", "n": type(value).__name__, "v": fields}


def _seconds(value: datetime.timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


SIMPLE: Mapping[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "datetime": (datetime.datetime, datetime.datetime.isoformat, datetime.datetime.fromisoformat),
    "date": (datetime.date, datetime.date.isoformat, datetime.date.fromisoformat),
    "time": (datetime.time, datetime.time.isoformat, datetime.time.fromisoformat),
    "timedelta": (datetime.timedelta, _seconds, lambda value: datetime.timedelta(*value)),
    "decimal": (decimal.Decimal, str, decimal.Decimal),
    "uuid": (uuid.UUID, str, uuid.UUID),
    "path": (pathlib.PurePath, str, pathlib.PurePosixPath),
}


def read(text: bytes, parts: list[bytes]) -> Any:
    return unpack(json.loads(text), parts)


def unpack(value: Any, parts: list[bytes]) -> Any:
    if isinstance(value, list):
        return [unpack(each, parts) for each in value]
    if not isinstance(value, dict):
        return value
    if "$" not in value:
        return {key: unpack(each, parts) for key, each in value.items()}
    kind, inner = value["$"], value["v"]
    if kind == "text":
        return parts[inner].decode("utf-8", "surrogatepass")
    if kind == "bytes":
        return parts[inner]
    if kind == "base64":
        import base64

        return base64.b64decode(inner)
    if kind == "float":
        return float(inner)
    if kind in ("tuple", "set", "frozenset"):
        return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](
            unpack(each, parts) for each in inner
        )
    if kind == "dict":
        return {unpack(key, parts): unpack(each, parts) for key, each in inner}
    if kind == "enum":
        return _member(value["n"], unpack(inner, parts))
    if kind == "record":
        return _made(value["n"], {key: unpack(each, parts) for key, each in inner.items()})
    return SIMPLE[kind][2](inner)


def _member(name: str, value: Any) -> Any:
    try:
        return classes[name](value)
    except (KeyError, ValueError):
        return value


def _made(name: str, fields: dict[str, Any]) -> Any:
    if name not in classes:  # of a type that the signature does not name
        classes[name] = dataclasses.make_dataclass(name, [(key, Any) for key in fields])
    made = object.__new__(classes[name])
    for key, value in fields.items():
        object.__setattr__(made, key, value)
    return made
