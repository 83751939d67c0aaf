"""The examples of a policy's rules, one by one. Loading a policy checks them as well, and refuses the file at the first
that does not hold; here each is told. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from mulligan.policies.document import Node, read_document
from mulligan.policies.policy import RULES
from mulligan.policies.rules import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """`wanted` is whether the rule should match it, `why` what is wrong, empty where it holds."""

    place: str
    section: str
    rule: str
    text: str
    wanted: bool
    why: str

    @property
    def holds(self) -> bool:
        return not self.why


def examples_of(text: str, origin: str) -> tuple[Example, ...]:
    """Of rules that are whole but for their examples; the rest is for whoever loads the file to tell. Raises
    PolicyError for what is no YAML."""
    document = read_document(text, origin)
    sections = document.value if isinstance(document.value, dict) else {}
    return tuple(
        example
        for name in RULES
        if name in sections and isinstance(sections[name].value, tuple)
        for node in sections[name].value
        for example in _of_rule(name, node, origin)
    )


def _of_rule(section: str, node: Node, origin: str) -> Iterator[Example]:
    if not isinstance(node.value, dict):
        return
    data = {key: each.plain() for key, each in node.value.items() if key not in ("match", "not_match")}
    try:
        rule = RULES[section].model_validate(data)
    except ValidationError:
        return
    for key in ("match", "not_match"):
        for each in _texts(node.value.get(key)):
            text = str(each.value)
            yield Example(
                place=f"{origin}:{each.place.line}",
                section=section,
                rule=rule.text,
                text=text,
                wanted=key == "match",
                why=_wrong(rule, text, key == "match"),
            )


def _texts(node: Node | None) -> Iterator[Node]:
    if node is not None:
        yield from node.value if isinstance(node.value, tuple) else (node,)


def _wrong(rule: Rule, text: str, wanted: bool) -> str:
    try:
        matches = rule.matches(type(rule).pattern.subject(text))
    except ValueError as error:
        return str(error)
    if matches is wanted:
        return ""
    return "the rule does not match it" if wanted else "the rule matches it"
