"""A rule: one decision over one or more one-liners, with its reason, its alternative and its examples.

    - allow: GET pypi.org/**
      because: packages are read from there
      instead: ask for a package in the project's list
      match: [GET https://pypi.org/simple/]
      not_match: [POST https://pypi.org/legacy/]

The examples are checked when the rule is made: a rule that does not do what its author thinks is no rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator

from mulligan.policies.decision import Decision
from mulligan.policies.patterns import CallPattern, NamePattern, PackagePattern, Pattern, StatementPattern
from mulligan.policies.requests import RequestPattern

T = TypeVar("T")
DECISIONS = ("allow", "hold", "ask", "deny")


def _listed(value: object) -> object:
    """One text as a list of one; anything else is left for the model to judge."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


Lines = Annotated[tuple[str, ...], BeforeValidator(_listed, json_schema_input_type=str | list[str])]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class RuleError(ValueError):
    """A rule is wrong, in the part of it that `at` leads to."""

    def __init__(self, message: str, *, at: tuple[str | int, ...]) -> None:
        super().__init__(message)
        self.at = at


class Rule(Section):
    """One of `allow`, `hold`, `ask` and `deny`. `place` is the file and line that it stands at, if there is one."""

    section: ClassVar[str] = ""
    pattern: ClassVar[type[Pattern]]

    allow: Lines | None = Field(default=None, description="may be done")
    hold: Lines | None = Field(default=None, description="is kept back until commit")
    ask: Lines | None = Field(default=None, description="a person is asked first")
    deny: Lines | None = Field(default=None, description="may not be done")
    because: str = Field(default="", description="why; it is shown wherever the rule decides")
    instead: str = Field(default="", description="what to do instead; shown when the rule forbids")
    match: Lines = Field(
        default=(), description="examples that the rule must match, checked when the file is loaded"
    )
    not_match: Lines = Field(default=(), description="examples that it must not match")

    _patterns: tuple[Any, ...] = PrivateAttr(default=())
    _place: str = PrivateAttr(default="")

    @model_validator(mode="after")
    def _check(self) -> Rule:
        given = [name for name in DECISIONS if getattr(self, name) is not None]
        if len(given) != 1:
            had = f"this one has {' and '.join(given)}" if given else "this one has none"
            raise ValueError(f"a rule has one of {', '.join(DECISIONS)}: {had}")
        if not self.lines:
            raise ValueError(f"nothing follows {given[0]!r}: write what it is about, or remove the rule")
        parse, key = type(self).pattern.parse, str(self.decision)
        self._patterns = tuple(_read(parse, line, (key, at)) for at, line in enumerate(self.lines))
        self._check_examples("match", True)
        self._check_examples("not_match", False)
        return self

    def _check_examples(self, key: str, wanted: bool) -> None:
        for at, example in enumerate(getattr(self, key)):
            subject = _read(type(self).pattern.subject, example, (key, at))
            if self.matches(subject) is not wanted:
                does = "does not match" if wanted else "matches"
                said = f"the rule '{self.text}' {does} its example {example!r}: write another rule, or another example"
                raise RuleError(said, at=(key, at))

    @property
    def decision(self) -> Decision:
        return next(Decision[name.upper()] for name in DECISIONS if getattr(self, name) is not None)

    @property
    def lines(self) -> tuple[str, ...]:
        return getattr(self, str(self.decision)) or ()

    @property
    def secrets(self) -> frozenset[str]:
        return frozenset(getattr(self, "uses", ()))

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        return self._patterns

    @property
    def place(self) -> str:
        return self._place

    @property
    def text(self) -> str:
        """As it stands in the file, in one line."""
        return f"{self.decision} {', '.join(self.lines)}"

    def at(self, place: str) -> Rule:
        """The same rule, which stands at this place."""
        moved = self.model_copy()
        moved._place = place
        return moved

    def matches(self, subject: object) -> bool:
        """As the judge reads it: generously, unless it allows."""
        return self._any(subject, generous=self.decision is not Decision.ALLOW)

    def grants(self, subject: object) -> bool:
        """Whether it says of exactly this that it may be done, held or asked about."""
        return self.decision is not Decision.DENY and self._any(subject, generous=False)

    def _any(self, subject: object, *, generous: bool) -> bool:
        return any(each.matches(subject, generous=generous) for each in self.patterns)


class NetworkRule(Rule):
    section = "network"
    pattern = RequestPattern

    uses: Lines = Field(default=(), description="names of secrets that are put into such requests")


class ToolRule(Rule):
    section = "tools"
    pattern = CallPattern

    uses: Lines = Field(default=(), description="names of secrets that such calls are given")


class DatabaseRule(Rule):
    section = "databases"
    pattern = StatementPattern


class PackageRule(Rule):
    section = "packages"
    pattern = PackagePattern


class LibraryRule(Rule):
    section = "library"
    pattern = NamePattern


def _read(parse: Callable[[str], T], line: str, at: tuple[str | int, ...]) -> T:
    try:
        return parse(line)
    except ValueError as error:
        raise RuleError(str(error), at=at) from error


def covering(rules: Sequence[Rule], line: Pattern, like: Rule) -> bool:
    """Whether one of the rules alone lets all of `line` be done, no more strictly than the rule `like` does, and with
    the secrets that it uses."""
    return any(
        rule.decision <= like.decision
        and rule.secrets >= like.secrets
        and any(each.covers(line) for each in rule.patterns)
        for rule in rules
    )
