"""Types as the guest can have them: as text that names built-in types, a few of the standard library's, and classes of
its own that it makes from data given here. A type that it cannot have is spelt by its name, for people."""

from __future__ import annotations

import dataclasses
import datetime
import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from mulligan.sandbox.tools.errors import Unpackable
from mulligan.sandbox.tools.values import embed, pack

#: classes that the guest has under these names
_KNOWN: Mapping[type, str] = {
    **{kind: kind.__name__ for kind in (bool, int, float, str, bytes, object)},
    **{kind: kind.__name__ for kind in (list, dict, tuple, set, frozenset)},
    **{kind: kind.__name__ for kind in (datetime.datetime, datetime.date, datetime.time, datetime.timedelta)},
    Decimal: "Decimal",
    UUID: "UUID",
    type(None): "None",
}


class Spelling:
    """`made` has what the guest makes classes from, by their names, as it comes upon them."""

    def __init__(self) -> None:
        self.made: dict[str, dict[str, Any]] = {}
        self._classes: dict[str, type] = {}

    def spell(self, annotation: Any) -> str:
        """Raises Unpackable where two classes have one name."""
        origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
        if annotation is inspect.Parameter.empty or annotation is Any:
            return "Any"
        if annotation is None:
            return "None"
        if origin is typing.Annotated:
            return self.spell(inner[0])
        if origin is typing.Literal:
            return f"Literal[{', '.join(repr(each.value if isinstance(each, Enum) else each) for each in inner)}]"
        if origin in (typing.Union, types.UnionType):
            return " | ".join(map(self.spell, inner))
        if origin is not None:
            return self._spell_generic(origin, inner)
        return self._spell_class(annotation)

    def _spell_generic(self, origin: Any, inner: tuple[Any, ...]) -> str:
        name = _KNOWN.get(origin) or str(getattr(origin, "__name__", origin))
        said = [
            "..." if each is Ellipsis else self.spell(each) for each in inner if not isinstance(each, list)
        ]
        return f"{name}[{', '.join(said)}]" if said else name

    def _spell_class(self, kind: Any) -> str:
        if not isinstance(kind, type):
            return str(getattr(kind, "__name__", kind))
        if kind in _KNOWN:
            return _KNOWN[kind]
        if issubclass(kind, PurePath):
            return "Path"
        if _is_typed_dict(kind) or _fields(kind) is not None or issubclass(kind, Enum):
            self._make(kind)
        return kind.__name__

    def _make(self, kind: type) -> None:
        name = kind.__name__
        if self._classes.setdefault(name, kind) is not kind:
            raise Unpackable(f"two classes are called {name}")
        if name in self.made:
            return
        self.made[name] = {}  # it may refer to itself
        if issubclass(kind, Enum):
            members = [[member.name, packed(member.value)] for member in kind]
            self.made[name] = {"kind": "enum", "doc": _doc(kind), "members": members}
            return
        hints = typing.get_type_hints(kind)
        if _is_typed_dict(kind):
            self.made[name] = {
                "kind": "dict",
                "doc": _doc(kind),
                "fields": [{"name": each, "type": self.spell(hint)} for each, hint in hints.items()],
            }
            return
        fields = [
            {"name": each, "type": self.spell(hints.get(each, Any)), **default}
            for each, default in _fields(kind) or ()
        ]
        self.made[name] = {"kind": "record", "doc": _doc(kind), "fields": fields}


def packed(value: object) -> Any:
    """As one piece of plain data. Raises Unpackable."""
    parts: list[bytes] = []
    return embed(pack(value, parts), parts)


def default(value: object) -> dict[str, Any]:
    """What is said of a default: the value, or that there is one."""
    try:
        return {"default": packed(value)}
    except Unpackable:
        return {"optional": True}


def _fields(kind: type) -> list[tuple[str, dict[str, Any]]] | None:
    """The names of a record's fields, each with what is said of its default; None of what is no record."""
    if issubclass(kind, BaseModel):
        found = kind.model_fields.items()
        return [(name, {} if field.is_required() else default_of(field.default)) for name, field in found]
    if dataclasses.is_dataclass(kind):
        return list(_of_dataclass(kind))
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        given: dict[str, Any] = getattr(kind, "_field_defaults", {})
        return [(name, default(given[name]) if name in given else {}) for name in kind._fields]
    return None


def _of_dataclass(kind: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for field in dataclasses.fields(kind):
        if not field.init:
            continue
        if field.default_factory is not dataclasses.MISSING:
            yield field.name, {"optional": True}
        else:
            yield field.name, {} if field.default is dataclasses.MISSING else default(field.default)


def default_of(value: object) -> dict[str, Any]:
    """Of pydantic, where a factory leaves no default."""
    return {"optional": True} if repr(value) == "PydanticUndefined" else default(value)


def _is_typed_dict(kind: type) -> bool:
    """Also of typing_extensions."""
    return issubclass(kind, dict) and hasattr(kind, "__total__")


def _doc(kind: type) -> str:
    own = kind.__dict__.get("__doc__") or ""
    return "" if own.startswith(f"{kind.__name__}(") else inspect.cleandoc(own)[:4000]
