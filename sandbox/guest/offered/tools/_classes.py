"""Classes and types from the data that the host has put down: records, enumerations, annotations."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import pathlib
import typing
import uuid
from typing import Any

from . import _values

#: what annotations may name, besides the built-in types and the classes made here
_KNOWN = {
    **{name: getattr(datetime, name) for name in ("datetime", "date", "time", "timedelta")},
    **{name: getattr(typing, name) for name in ("Any", "Literal")},
    "Decimal": decimal.Decimal,
    "UUID": uuid.UUID,
    "Path": pathlib.PurePosixPath,
}


def make(described: dict[str, dict[str, Any]]) -> None:
    """All classes, in `_values.classes`. Fields have their types as text, which may name a class that comes later."""
    for name, told in described.items():
        made = _KINDS[told["kind"]](name, told)
        made.__doc__, made.__module__ = told["doc"], "tools"
        _values.classes[name] = made


def _make_enum(name: str, told: dict[str, Any]) -> Any:
    return enum.Enum(name, [(member, _values.unpack(value, [])) for member, value in told["members"]])


def _make_dict(name: str, told: dict[str, Any]) -> Any:
    return type(
        name, (dict,), {"__annotations__": {field["name"]: field["type"] for field in told["fields"]}}
    )


def _make_record(name: str, told: dict[str, Any]) -> Any:
    fields = [(field["name"], field["type"], *_default(field)) for field in told["fields"]]
    optional = [len(field) > 2 for field in fields]
    return dataclasses.make_dataclass(name, fields, kw_only=optional != sorted(optional))


def _default(field: dict[str, Any]) -> tuple[Any, ...]:
    if "optional" in field:
        return (dataclasses.field(default=_values.LEFT),)
    if "default" not in field:
        return ()
    value = _values.unpack(field["default"], [])
    if isinstance(value, (list, dict, set)):
        return (dataclasses.field(default_factory=value.copy),)
    return (dataclasses.field(default=value),)


_KINDS = {"enum": _make_enum, "dict": _make_dict, "record": _make_record}


def annotation(text: str) -> Any:
    """The type that a text spells; the text itself, where there is none of it here."""
    try:
        return eval(text, {**_KNOWN, **_values.classes})  # noqa: S307 the host wrote it
    except Exception:
        return text
