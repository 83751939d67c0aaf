"""Reading a policy from a TOML file. The only file that this room reads is the one it is given.

    [resources]
    memory = "2GiB"
    wall = 30

Whatever is wrong is said with the file, the line where it is known, and the key that was probably meant.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mulligan.policies.errors import PolicyError
from mulligan.policies.policy import Policy

_LARGEST = 1 << 20


def load_policy(path: Path) -> Policy:
    """The policy in a file. Raises `PolicyError`, for a file that cannot be read as well."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise PolicyError(f"{path}: {error.strerror}", hint="name a TOML file that you can read") from error
    if len(data) > _LARGEST:
        raise PolicyError(f"{path}: more than {_LARGEST:,} bytes", hint="this is not a policy file")
    try:
        return parse_policy(data.decode(), origin=str(path))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolicyError(f"{path}, line {line}: not UTF-8", hint="save the file as UTF-8") from error


def parse_policy(text: str, *, origin: str = "policy") -> Policy:
    """The policy in a text; `origin` names it in errors. Raises `PolicyError`."""
    try:
        return Policy.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"{origin}: not TOML: {error}") from error
    except ValidationError as error:
        problems = [_problem(text, origin, detail) for detail in error.errors()]
        hints = dict.fromkeys(hint for _, hint in problems if hint)
        raise PolicyError("\n".join(said for said, _ in problems), hint="; ".join(hints)) from error


def _problem(text: str, origin: str, detail: ErrorDetails) -> tuple[str, str]:
    keys = [str(part) for part in detail["loc"]]
    place = origin if (line := _line(text, keys)) is None else f"{origin}, line {line}"
    if detail["type"] == "extra_forbidden":
        return f"{place}: unknown key {'.'.join(keys)!r}", _nearest(keys)
    return f"{place}: {'.'.join(keys)}: {detail['msg'].removeprefix('Value error, ')}", ""


def _nearest(keys: Sequence[str]) -> str:
    """The known key that the last one is closest to, in its own section or, failing that, in any."""
    here = {
        f"{prefix}{name}": name for prefix, name in _known() if prefix == "".join(f"{k}." for k in keys[:-1])
    }
    everywhere = {f"{prefix}{name}": name for prefix, name in _known()}
    for candidates in (here, everywhere):
        close = difflib.get_close_matches(keys[-1], list(candidates.values()), n=1)
        if close:
            return (
                "did you mean "
                + repr(next(full for full, name in candidates.items() if name == close[0]))
                + "?"
            )
    return "known here: " + ", ".join(here or everywhere)


def _known() -> Iterator[tuple[str, str]]:
    for section, field in Policy.model_fields.items():
        yield "", section
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from ((f"{section}.", name) for name in field.annotation.model_fields)


def _line(text: str, keys: Sequence[str]) -> int | None:
    """The line that sets a key, for tables written as `[section]`; None for any other way of writing it."""
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.fullmatch(r"\s*\[\s*([\w.-]+)\s*\]\s*(?:#.*)?", line):
            section = header[1]
            if section == ".".join(keys):
                return number
        elif re.match(rf"""\s*["']?{re.escape(keys[-1])}["']?\s*=""", line) and section == ".".join(
            keys[:-1]
        ):
            return number
    return None
