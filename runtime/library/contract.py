"""What is known of a routine beside its text: its contract, kept as a header of remarks at the top of its file.

    # /// routine
    # name: "slugify"
    # version: 2
    # needs: {"network": [], "packages": {"regex": "2024.5"}}
    # ///

Each line is a key and a value in JSON. It is read as data, from the first line of the file on, up to the first line
that ends it; what looks like a header further down, in a docstring or a remark, is part of the text and says nothing.
What can be read off the text (signature, docstring, parameters) is not repeated here.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from mulligan.runtime.library.errors import RoutineBroken

OPENS, CLOSES = "# /// routine", "# ///"
#: characters of a header, and of any text in it
LONGEST, TEXT = 60_000, 4_000
STATES = ("candidate", "trusted", "quarantined", "retired")


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What it asks of a session: requests, tools and databases as a policy's rules spell them, and packages with the
    versions that they had in its trial."""

    network: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Whence it came. `prompt` is the hash of the prompt, where one is known."""

    session: str = ""
    step: int = 0
    model: str = ""
    prompt: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A call, as text, and what it gives, in the form of trial.py; "" until a trial has recorded it."""

    call: str
    gives: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """`compensation` names the routine that makes up for what this one does elsewhere. `why` says why it is in its
    state, and `tried` what its last trial said. `digest` is of all else and of the text, under a key of this user: one
    that does not fit was changed by hand, or written by somebody else."""

    name: str
    version: int = 1
    parent: int = 0
    state: str = "candidate"
    why: str = ""
    tried: str = ""
    needs: Needs = Needs()
    effects: tuple[str, ...] = ()
    compensation: str = ""
    provenance: Provenance = Provenance()
    routines: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    flaky: bool = False
    tags: tuple[str, ...] = ()
    digest: str = ""

    def sealed(self, text: str, key: bytes) -> Contract:
        return replace(self, digest=self.seal(text, key))

    def seal(self, text: str, key: bytes) -> str:
        """What `digest` should be, with this text. The state is in it: nobody gets trusted by a change of one word, nor
        by whoever can write the file and has not the key."""
        record = {**asdict(self), "digest": ""}
        data = json.dumps(record, sort_keys=True) + "\0" + text
        return hmac.new(key, data.encode("utf-8", "backslashreplace"), hashlib.sha256).hexdigest()


def write_header(contract: Contract) -> str:
    default = asdict(Contract(name=""))
    kept = {
        key: value for key, value in asdict(contract).items() if value != default[key] or key == "version"
    }
    lines = [f"# {key}: {json.dumps(value)}" for key, value in kept.items()]
    return "\n".join([OPENS, *lines, CLOSES]) + "\n"


def split_file(content: str) -> tuple[Contract, str]:
    """The contract and the text of a routine's file. Raises RoutineBroken, which says what is wrong and in which
    line."""
    lines = content.split("\n", 400)
    if lines[0] != OPENS:
        raise RoutineBroken(
            f"its first line is not {OPENS!r}", hint="`mulligan library add` writes the header"
        )
    if CLOSES not in lines[1:]:
        raise RoutineBroken(
            f"its header never ends: there is no line {CLOSES!r}", hint="add one after the header"
        )
    end = lines.index(CLOSES, 1)
    if sum(map(len, lines[:end])) > LONGEST:
        raise RoutineBroken(f"its header has more than {LONGEST:,} characters", hint="shorten its examples")
    values: dict[str, Any] = {}
    for number, line in enumerate(lines[1:end], 2):
        key, colon, value = line.removeprefix("# ").partition(": ")
        if not line.startswith("# ") or not colon or key in values:
            raise RoutineBroken(
                f"line {number} is no '# key: value' of its own", hint="one key a line, each once"
            )
        try:
            values[key] = json.loads(value, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise RoutineBroken(
                f"line {number}: the value of {key[:40]!r} is no JSON", hint="quote texts"
            ) from error
    return _contract(values), "\n".join(lines[end + 1 :]).lstrip("\n")


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def _contract(values: Mapping[str, Any]) -> Contract:
    contract: Contract = _made(Contract, values)
    if contract.state not in STATES:
        raise RoutineBroken(
            f"its state {contract.state[:40]!r} is none of {', '.join(STATES)}", hint="remove the line"
        )
    return contract


_INNER: Mapping[str, type] = {"needs": Needs, "provenance": Provenance}


def _made(kind: type, values: object) -> Any:
    """A contract, or a part of one, from plain data: unknown keys, wrong types and texts that are too long are
    refused."""
    if not isinstance(values, dict):
        raise RoutineBroken(f"its {kind.__name__.lower()} are no keys and values", hint="write {...}")
    known = {each.name: each for each in fields(kind)}
    if unknown := set(values) - set(known):
        raise RoutineBroken(
            f"its header has the key {min(unknown)[:40]!r}, which means nothing", hint="remove it"
        )
    if kind in (Contract, Example) and (missing := {"name", "call"} & set(known) - set(values)):
        raise RoutineBroken(f"its header lacks {min(missing)!r}", hint="add it")
    return kind(**{key: _value(key, str(known[key].type), value) for key, value in values.items()})


def _value(key: str, kind: str, value: object) -> object:
    if key in _INNER:
        return _made(_INNER[key], value)
    match kind:
        case "str" if isinstance(value, str) and len(value) <= TEXT:
            return value
        case "bool" if isinstance(value, bool):
            return value
        case "int" if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31:
            return value
        case "tuple[str, ...]" if isinstance(value, list) and len(value) <= 200 and all(map(_is_text, value)):
            return tuple(value)
        case "tuple[Example, ...]" if isinstance(value, list) and len(value) <= 50:
            return tuple(_made(Example, each) for each in value)
        case "Mapping[str, str]" if isinstance(value, dict) and len(value) <= 100:
            if all(map(_is_text, value.values())):
                return value
    raise RoutineBroken(
        f"the value of {key!r} in its header is no {_WORDS.get(kind, kind)}", hint="correct it"
    )


_WORDS = {
    "str": f"text of at most {TEXT:,} characters",
    "int": "whole number",
    "bool": "true or false",
    "tuple[str, ...]": "list of texts",
    "tuple[Example, ...]": "list of examples",
    "Mapping[str, str]": "object of texts",
}


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= TEXT
