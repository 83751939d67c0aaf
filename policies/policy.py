"""The rules in force, as an immutable value. An unknown key is refused: a misspelt rule is no missing rule.

What a policy extends bounds it: of the sections that the outer one does not call widenable, every layer must allow
(narrowing.py makes the layers). A rule of one layer can therefore never undo that of another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, ValidationInfo, model_validator

from mulligan.policies.address import Request
from mulligan.policies.protection import check_glob
from mulligan.policies.requests import RequestPattern
from mulligan.policies.rules import (
    DatabaseRule,
    LibraryRule,
    Lines,
    NetworkRule,
    PackageRule,
    Rule,
    RuleError,
    Section,
    ToolRule,
)

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}
_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([A-Za-z]{1,3})")
_SECRET = re.compile(r"environment:[A-Za-z_]\w*|file:/?[^\0]+|keyring:[^/]+/.+")

#: the sections of rules, and what one rule of each looks like
RULES: Mapping[str, type[Rule]] = {
    rule.section: rule for rule in (NetworkRule, ToolRule, DatabaseRule, PackageRule, LibraryRule)
}


def _bytes(value: object) -> object:
    """Text such as "4GiB" or "512 MB" as a number of bytes; anything else is left for the model to judge."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None or match[2].upper() not in _UNITS:
        raise ValueError(
            f'{value!r} is not a size: write a number of bytes, or text such as "4GiB" or "512MB"'
        )
    return int(float(match[1]) * _UNITS[match[2].upper()])


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _secret(value: str) -> str:
    if not _SECRET.fullmatch(value):
        raise ValueError(
            f"{value!r} is no place of a secret: write environment:NAME, file:PATH or keyring:SERVICE/USER"
        )
    return value


Bytes = Annotated[int, BeforeValidator(_bytes, json_schema_input_type=int | str), Field(gt=0, lt=1 << 62)]
Amount = Annotated[int, BeforeValidator(_bytes, json_schema_input_type=int | str), Field(ge=0, lt=1 << 62)]
Count = Annotated[int, Field(ge=0, lt=1 << 53)]
Globs = Annotated[tuple[Annotated[str, AfterValidator(check_glob)], ...], BeforeValidator(_tuple)]


class Resources(Section):
    """What one session may use."""

    memory: Bytes = Field(default=4 << 30, description="bytes of memory of all processes together")
    cpus: float = Field(default=2.0, gt=0, le=4096, description="cores")
    pids: int = Field(default=512, ge=16, le=1 << 22, description="processes and threads at once")
    wall: float = Field(default=120.0, gt=0, description="seconds that one action may take")
    open_files: int = Field(default=4096, ge=64, le=1 << 20, description="descriptors of one process")
    file_size: Bytes = Field(default=8 << 30, description="bytes of one file")
    disk: Bytes = Field(default=16 << 30, description="bytes that the session may add to its files")
    output: Bytes = Field(default=4 << 30, description="bytes of long output that the session keeps in files")
    history: Bytes = Field(
        default=16 << 30,
        description="bytes that the first snapshot's successors may take; the oldest are let go",
    )
    files: int = Field(default=1_000_000, ge=1, le=1 << 32, description="files that the session may add")


class Actions(Section):
    """What a proposed action may look like."""

    max_source_bytes: Bytes = Field(default=1 << 20, description="bytes of one action's source in UTF-8")


class PerAction(Section):
    """What one action may do to the workspace's files; None is no limit."""

    bytes: Amount | None = Field(default=None, description="bytes in files that it adds or changes, together")
    files: Count | None = Field(default=None, description="files that it adds, changes or removes")
    deletions: Count | None = Field(
        default=None, description="files that it removes; a file that moved is none"
    )


class Files(Section):
    """What actions may do to the workspace's files. Globs are those of a .gitignore, without `!`."""

    writable: Globs = Field(default=("**",), description="paths that actions may add, change and remove")
    read_only: Globs = Field(default=(), description="paths that actions may not change")
    protect: Globs = Field(
        default=(),
        description="paths that no action may change, whatever on_violation says; the first write ends it",
    )
    hidden: Globs = Field(default=(), description="paths that are not brought in, and never written back")
    per_action: PerAction = PerAction()


class Budgets(Section):
    """What a session may do altogether; None is no limit. What was undone does not count, unless it left."""

    deletions: Count | None = Field(default=None, description="files of the workspace that are removed")
    messages: Count | None = Field(default=None, description="messages that are sent to people")
    bytes_out: Amount | None = Field(default=None, description="bytes that leave over the network")


def _request_lines(lines: tuple[str, ...]) -> tuple[str, ...]:
    for line in lines:
        RequestPattern.parse(line)
    return lines


class Approvals(Section):
    """How a person is asked, where a rule says `ask`, or `on_violation` does."""

    timeout: float = Field(
        default=300.0, gt=0, le=86_400, description="seconds that a person has to answer; then it is denied"
    )
    questions: int = Field(
        default=20,
        ge=0,
        le=1000,
        description="requests that one action may have asked about; more are denied",
    )
    always: Annotated[Lines, AfterValidator(_request_lines)] = Field(
        default=(), description="requests that a person has allowed for good, where a rule says ask"
    )

    def answered(self, asked: Request) -> str | None:
        """The line of `always` that lets this request leave, read to the letter."""
        return next(
            (line for line in self.always if RequestPattern.parse(line).matches(asked, generous=False)), None
        )


Violation = Literal["revert", "ask", "report"]
Name = Literal[
    "resources", "actions", "files", "network", "tools", "databases", "secrets", "packages", "library", "on_violation",
    "budgets", "approvals",
]  # fmt: skip


class Policy(Section):
    """`Policy()` is the default policy: each field's default is what its section documents."""

    resources: Resources = Resources()
    actions: Actions = Actions()
    files: Files = Files()
    network: Annotated[tuple[NetworkRule, ...], BeforeValidator(_tuple)] = Field(
        default=(), description="requests; what no rule allows is denied, so [] is no network"
    )
    tools: Annotated[tuple[ToolRule, ...], BeforeValidator(_tuple)] = Field(
        default=(), description="functions of the host that the agent may call"
    )
    databases: Annotated[tuple[DatabaseRule, ...], BeforeValidator(_tuple)] = Field(
        default=(), description="statements to databases"
    )
    secrets: dict[str, Annotated[str, AfterValidator(_secret)]] = Field(
        default={}, description="secrets by name, and where the host finds each; rules name them under uses"
    )
    packages: Annotated[tuple[PackageRule, ...], BeforeValidator(_tuple)] = Field(
        default=(), description="what may be installed, and from where"
    )
    library: Annotated[tuple[LibraryRule, ...], BeforeValidator(_tuple)] = Field(
        default=(), description="routines that may be used"
    )
    on_violation: Violation = Field(
        default="revert", description="what becomes of a step that broke a rule about files or a budget"
    )
    budgets: Budgets = Budgets()
    approvals: Approvals = Approvals()
    widenable: Annotated[tuple[Name, ...], BeforeValidator(_tuple)] = Field(
        default=(), description="sections that a file which extends this one may widen, not only narrow"
    )

    #: the layers beside its own that must allow as well: of each section rules, and globs of what is writable
    _bounds: dict[str, tuple[tuple[Rule, ...], ...]] = PrivateAttr(default_factory=dict)
    _bounds_of_writable: tuple[tuple[str, ...], ...] = PrivateAttr(default=())
    #: where a key or a glob stands: "policy.yaml:12"
    _places: dict[tuple[str, ...], str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _know_the_secrets(self, info: ValidationInfo) -> Policy:
        known = {*self.secrets, *(info.context or ())}  # those of the policies that this one extends
        for section in ("network", "tools"):
            for number, rule in enumerate(getattr(self, section)):
                for name in rule.uses:
                    if name not in known:
                        message = f"no secret is called {name!r}: write its name under secrets, with where it is found"
                        raise RuleError(message, at=(section, number, "uses"))
        return self

    def layers(self, section: str) -> tuple[tuple[Rule, ...], ...]:
        """The rules of a section, layer by layer: what is allowed is allowed in each."""
        return (getattr(self, section), *self._bounds.get(section, ()))

    @property
    def writable(self) -> tuple[tuple[str, ...], ...]:
        """Globs, layer by layer: a path that may be written is matched in each."""
        return (self.files.writable, *self._bounds_of_writable)

    def place(self, *key: str) -> str:
        """Where a key (or a glob, as the last of the names) stands: "policy.yaml:12"; empty where in no file."""
        return self._places.get(key, "")
