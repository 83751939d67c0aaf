"""JSON Schema of a policy file, for editors. It describes the file, not the value: `extends`, sizes as text, and no
null, as a key after which nothing stands is refused. What it accepts may still be refused when the file is loaded."""

from __future__ import annotations

from typing import Any

from mulligan.policies.policy import Policy
from mulligan.policies.rules import DECISIONS

_SIZE = {"type": "string", "pattern": r"^\s*[0-9]{1,12}(\.[0-9]{1,6})? ?([KMGTkmgt][Ii]?)?[Bb]\s*$"}
_EXTENDS = {
    "description": "a preset or a file, or several: what all of them allow is what this file may narrow",
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}],
}
_BOUNDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum"}


def schema() -> dict[str, Any]:
    made = _plain(Policy.model_json_schema())
    made["properties"] = {"extends": _EXTENDS, **made["properties"]}
    for name, model in made["$defs"].items():
        if name.endswith("Rule"):
            model["oneOf"] = [{"required": [key]} for key in DECISIONS]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **made,
        "title": "Mulligan policy",
        "description": "What the actions of an agent may do.",
    }


def _plain(node: Any) -> Any:
    """Without null, titles, and bounds in words that are not JSON Schema's."""
    if isinstance(node, list):
        return [_plain(each) for each in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _keyed(key, value) for key, value in node.items() if not _spare(key, value)}
    options = [each for each in kept.get("anyOf", ()) if each != {"type": "null"}]
    if options:
        del kept["anyOf"]
        kept |= {"anyOf": options} if len(options) > 1 else options[0]
    bounds = {_BOUNDS[key]: kept.pop(key) for key in _BOUNDS if key in kept}
    if bounds:  # pydantic leaves them beside the two ways in which a size may be written
        kept["anyOf"] = [{"type": "integer", **bounds}, _SIZE]
    return kept


def _keyed(key: str, value: Any) -> Any:
    if key in ("properties", "$defs"):
        return {name: _plain(inner) for name, inner in value.items()}
    return value if key in ("default", "enum", "required") else _plain(value)


def _spare(key: str, value: Any) -> bool:
    """Defaults of whole sections are told by their keys."""
    return (key == "title" and isinstance(value, str)) or (
        key == "default" and (value is None or isinstance(value, dict))
    )
