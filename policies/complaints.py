"""What is wrong with a policy file, said so that someone who has never seen one can put it right.

    policy.yaml:3:3: unknown key 'resources.ram'
      did you mean 'resources.memory'?

Of several mistakes each has a line.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mulligan.policies.document import Node
from mulligan.policies.errors import PolicyError
from mulligan.policies.narrowing import Problem
from mulligan.policies.policy import RULES, Policy
from mulligan.policies.rules import RuleError

#: mistakes that are told at once
_MOST = 20
_SHOWN = 60

#: words of other programs' policies, and those that people think of first
_MEANT = {
    **dict.fromkeys(("timeout", "time", "seconds", "max_time"), "resources.wall"),
    **dict.fromkeys(("ram", "mem"), "resources.memory"),
    **dict.fromkeys(("cpu", "cores", "processors"), "resources.cpus"),
    **dict.fromkeys(("processes", "threads"), "resources.pids"),
    **dict.fromkeys(
        (
            "alloweddomains",
            "denieddomains",
            "domains",
            "hosts",
            "egress",
            "http",
            "urls",
            "internet",
            "allow",
            "deny",
        ),
        "network",
    ),
    **dict.fromkeys(("denyread", "ignore", "exclude"), "files.hidden"),
    **dict.fromkeys(("allowwrite", "write"), "files.writable"),
    **dict.fromkeys(("denywrite", "readonly"), "files.read_only"),
    **dict.fromkeys(("env", "environment", "credentials", "tokens"), "secrets"),
    **dict.fromkeys(("pip", "install", "dependencies"), "packages"),
    **dict.fromkeys(("functions", "mcp"), "tools"),
    **dict.fromkeys(("db", "sql"), "databases"),
    **dict.fromkeys(("inherit", "inherits", "base", "preset", "include"), "extends"),
    **dict.fromkeys(("widen", "may_widen"), "widenable"),
}
_RULES_LOOK = {
    "network": "GET pypi.org/**",
    "tools": "search_docs",
    "databases": "read sales",
    "packages": "pandas from pypi",
    "library": "clean_*",
}


def complaint(origin: str, document: Node, problems: Iterable[Problem]) -> PolicyError:
    """All of them as one error, with their places."""
    found = list(dict.fromkeys(problems))
    said = [(f"{origin}:{place_of(document, each)}: {each.what}", each.hint) for each in found]
    if len(said) == 1:
        return PolicyError(said[0][0], hint=said[0][1])
    lines = [f"{what}; {hint}" if hint else what for what, hint in said[:_MOST]]
    if len(said) > _MOST:
        lines.append(f"{origin}: and {len(said) - _MOST} more")
    return PolicyError("\n".join(lines), hint="each line names a place and what to write there")


def place_of(document: Node, problem: Problem) -> str:
    node, key, _ = document.at(problem.at)
    place = key if problem.what.startswith("unknown key") else node.place
    return f"{place.line}:{place.column}"


def problems_of(document: Node, error: ValidationError) -> list[Problem]:
    return [_problem(document, detail) for detail in error.errors()]


def unwritten(node: Node, at: tuple[str | int, ...] = ()) -> Iterator[Problem]:
    """Keys after which nothing stands. None of them means a default: a limit without a number is not no limit."""
    inner: Iterable[tuple[str | int, Node]] = ()
    if isinstance(node.value, dict):
        inner = node.value.items()
    elif isinstance(node.value, tuple):
        inner = enumerate(node.value)
    for key, value in inner:
        if value.value is None:
            said = f"nothing is written after {spell((*at, key))!r}"
            yield Problem((*at, key), said, f"{_write((*at, key))}; or remove the key")
        yield from unwritten(value, (*at, key))


def _problem(document: Node, detail: ErrorDetails) -> Problem:
    at: tuple[str | int, ...] = tuple(detail["loc"])
    raised = detail.get("ctx", {}).get("error")
    if isinstance(raised, RuleError):
        what, hint = _parted(str(raised))
        return Problem((*at, *raised.at), what, hint or _write(at))
    if isinstance(raised, PolicyError):
        return Problem(at, raised.message, raised.hint)
    if detail["type"] == "extra_forbidden":
        return Problem(at, f"unknown key {spell(at)!r}", nearest(at))
    if raised is not None:
        what, hint = _parted(f"{spell(at)}: {raised}")
        return Problem(at, what, hint or _write(at))
    node, _, _ = document.at(at)
    if isinstance(node.value, str) and re.match(r"\w+:\S", node.value) and "section" in _not(detail):
        return Problem(at, f"{spell(at)}: no space after the colon", "write 'key: value'")
    return Problem(at, f"{spell(at)}: {_show(node.plain())} {_not(detail)}", _write(at))


def _parted(text: str) -> tuple[str, str]:
    """What is wrong, and what to write: our own messages part the two by a colon and the word."""
    what, write, hint = text.partition(": write ")
    return (what, f"write {hint}") if write else (text, "")


def _not(detail: ErrorDetails) -> str:
    """What the value is not, in place of pydantic's words for programmers."""
    kind, context = detail["type"], detail.get("ctx", {})
    match kind:
        case "int_type" | "int_from_float":
            return "is no whole number"
        case "float_type" | "finite_number":
            return "is no number"
        case "string_type":
            return "is no text"
        case "tuple_type":
            return "is no list"
        case "model_type" | "dict_type" | "model_attributes_type":
            return "is no section"
        case "literal_error":
            return f"is none of {context['expected'].replace(chr(39), '')}"
        case "greater_than":
            return f"is not above {context['gt']:,}"
        case "greater_than_equal":
            return f"is below {context['ge']:,}"
        case "less_than":
            return f"is not below {context['lt']:,}"
        case "less_than_equal":
            return f"is above {context['le']:,}"
    return f"is wrong: {detail['msg']}"


def _write(at: Sequence[str | int]) -> str:
    """What would stand there rightly."""
    names = [part for part in at if isinstance(part, str)]
    if len(at) == 1 and names and names[0] in _RULES_LOOK:
        return f"write a list of rules, such as '- allow: {_RULES_LOOK[names[0]]}', or [] for none"
    if len(at) == 2 and names and names[0] in _RULES_LOOK:
        return f"write a rule, such as '- allow: {_RULES_LOOK[names[0]]}'"
    field = _field(names)
    if field is None:
        return "see policies/presets/coding.yaml for what a policy looks like"
    if isinstance(field, Mapping):
        return f"write its keys below it, indented: {', '.join(field)}"
    return f"write {field}"


def _field(names: Sequence[str]) -> Mapping[str, Any] | str | None:
    """The keys of a section, or what a value looks like."""
    here: Any = tree()
    for name in names:
        if not isinstance(here, Mapping) or name not in here:
            return None
        here = here[name]
    return here  # type: ignore[no-any-return]


def tree() -> Mapping[str, Any]:
    """All keys of a policy, section by section; at the end of each way what a value looks like, in words."""
    return {"extends": "the name of a preset, or a file: extends: analysis", **_keys(Policy)}


def _keys(model: type[BaseModel]) -> dict[str, Any]:
    return {name: _look(name, field.annotation) for name, field in model.model_fields.items()}


def _look(name: str, annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _keys(annotation)
    if name in RULES:
        return _keys(RULES[name])
    if name == "secrets":
        return "such as 'TOKEN: environment:TOKEN' below it, indented"
    if name in ("memory", "file_size", "disk", "bytes", "bytes_out", "max_source_bytes"):
        return "a size, such as 4GiB or 100 MB"
    if name in ("cpus", "wall", "timeout"):
        return "a number without a unit, such as 30 or 0.5"
    if name == "always":
        return "a list of requests, such as [POST example.org/form]"
    if name == "on_violation":
        return "revert, ask or report"
    if name == "widenable":
        return "a list of sections, such as [network, tools]"
    if "int" in str(annotation):
        return "a whole number without a unit, such as 100"
    if name in ("writable", "read_only", "protect", "hidden"):
        return 'a list of paths in quotes, such as ["data/raw/**", "*.key"]'
    return "text, in quotes where it begins with a sign"


def nearest(at: Sequence[str | int]) -> str:
    """The known key that the last one is closest to, in its own section or, failing that, in any."""
    names = [part for part in at if isinstance(part, str)]
    here = _field(names[:-1])
    word = names[-1].lower() if names else ""
    if isinstance(here, Mapping):
        in_rule = len(names) > 1 and names[0] in RULES
        if close := difflib.get_close_matches(word, list(here), n=1):
            return f"did you mean {close[0] if in_rule else '.'.join((*names[:-1], close[0]))!r}?"
        if in_rule:
            return f"known here: {', '.join(here)}"
    if word.replace("-", "_") in _MEANT:
        return f"did you mean {_MEANT[word.replace('-', '_')]!r}?"
    everywhere = {full.rpartition(".")[2]: full for full in reversed(_paths(tree(), ""))}
    if close := difflib.get_close_matches(word, list(everywhere), n=1):
        return f"did you mean {everywhere[close[0]]!r}?"
    prefix = ".".join(names[:-1])
    known = here if isinstance(here, Mapping) else tree()
    return "known here: " + ", ".join(f"{prefix}.{name}" if prefix else name for name in known)


def _paths(keys: Mapping[str, Any], prefix: str) -> list[str]:
    found = []
    for name, inner in keys.items():
        found.append(prefix + name)
        if isinstance(inner, Mapping) and prefix + name not in RULES:
            found += _paths(inner, f"{prefix}{name}.")
    return found


def spell(at: Sequence[str | int]) -> str:
    """A path as people read it: `resources.memory`, `network rule 2.allow`. Rules and items count from 1."""
    said = ""
    for part in at:
        if isinstance(part, int):
            said += f" {'rule' if said in RULES else 'item'} {part + 1}"
        else:
            said += f"{'.' if said else ''}{part[:_SHOWN]}"
    return said or "the policy"


def _show(value: object) -> str:
    if isinstance(value, dict | tuple):
        return "a section" if isinstance(value, dict) else "a list"
    text = str(value).lower() if isinstance(value, bool) else ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
