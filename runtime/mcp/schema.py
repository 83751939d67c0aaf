"""From the JSON schema of a server's tool to a Python signature. The server checks its arguments itself; what is said
here is for whoever calls, so what cannot be said in types is `Any`."""

from __future__ import annotations

import builtins
import inspect
import keyword
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Optional, Union

_PLAIN: Mapping[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "null": None,
    "object": dict[str, Any],
}
#: how deep types may be nested, how many a tool may have in all and at one place, and how many parameters: a schema
#: that refers to itself has types without end
_DEEPEST, _TYPES, _WIDEST, _PARAMETERS = 20, 2000, 50, 200


def signature(schema: Mapping[str, Any]) -> tuple[inspect.Signature, dict[str, str]]:
    """Of a tool with this input schema; and by which name the server knows each parameter. What need not be given
    defaults to None, and is then not sent. Raises ValueError for more parameters than there may be."""
    properties = schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    if len(properties) > _PARAMETERS:
        raise ValueError(f"it has more than {_PARAMETERS} parameters")
    wanted = schema.get("required")
    wanted = wanted if isinstance(wanted, list) else []
    required = [name for name in properties if name in wanted]
    left = iter(range(_TYPES))
    names: dict[str, str] = {}
    parameters: list[inspect.Parameter] = []
    for name in (*required, *(each for each in properties if each not in required)):
        plain = _identifier(name, names)
        names[plain] = name
        kind = annotation(properties[name], schema, left)
        given = {} if name in required else {"default": None}
        if given:
            kind = Optional[kind]  # noqa: UP045 of what need not be a type
        parameters.append(
            inspect.Parameter(plain, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=kind, **given)
        )
    return inspect.Signature(parameters), names


def _identifier(name: str, taken: Mapping[str, object]) -> str:
    plain = re.sub(r"\W", "_", name, flags=re.ASCII) or "_"
    plain = f"a{plain}" if plain[0].isdigit() or plain[0] == "_" else plain
    while keyword.iskeyword(plain) or plain in taken:
        plain += "_"
    return plain


def tool_name(name: str, prefix: str = "") -> str:
    """The name of a function for a tool of this name: none of Python's own, in whose place it would stand."""
    return _identifier(prefix + name, vars(builtins))


def annotation(schema: Any, root: Mapping[str, Any], left: Iterator[int], depth: int = 0) -> Any:
    """The type that a schema describes, as far as there is one; one is taken from `left` for each."""
    if not isinstance(schema, dict) or depth > _DEEPEST or next(left, None) is None:
        return Any
    if isinstance(reference := schema.get("$ref"), str):
        return annotation(_resolved(reference, root), root, left, depth + 1)
    if "const" in schema or "enum" in schema:
        return _literal([schema["const"]] if "const" in schema else schema["enum"])
    several = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(several, list) and 0 < len(several) <= _WIDEST:
        return Union[tuple(annotation(each, root, left, depth + 1) for each in several)]  # noqa: UP007
    kind = schema.get("type")
    if isinstance(kind, list) and 0 < len(kind) <= _WIDEST:
        return Union[tuple(annotation({**schema, "type": each}, root, left, depth + 1) for each in kind)]  # noqa: UP007
    if kind == "array":
        return list[annotation(schema.get("items"), root, left, depth + 1)]  # type: ignore[misc]
    return _PLAIN.get(kind, Any) if isinstance(kind, str) else Any


def _literal(values: Any) -> Any:
    if not isinstance(values, list) or not values:
        return Any
    if not all(isinstance(each, str | int | bool | None) for each in values):
        return Any
    return Literal[tuple(values)]


def _resolved(reference: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part) if isinstance(found, dict) else None
    return found
