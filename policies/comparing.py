"""What one policy lets be done that another does not. Pure.

Rules are not subtracted from one another: what is said to differ was judged. Of every line of either policy a subject
is made (its stars stand for some name), and both policies judge it; where they decide differently, that is a
difference, with its proof. Numbers are compared. A line of which no difference was shown, and which no rule of the
other policy covers, or beside which the other has stricter rules of its own, is told as undecided: there may be one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mulligan.policies.asking import judge_asked, judge_database, judge_package, judge_routine, judge_tool
from mulligan.policies.decision import Decision
from mulligan.policies.paths import judge_path
from mulligan.policies.policy import RULES, Policy
from mulligan.policies.requests import RequestPattern
from mulligan.policies.rules import Rule, covering
from mulligan.policies.samples import path_of, samples

_MILD = ("revert", "ask", "report")


@dataclass(frozen=True, slots=True)
class Comparison:
    """What B lets be done and A does not, or only more strictly; the other way round; and what is undecided."""

    more: tuple[str, ...]
    less: tuple[str, ...]
    undecided: tuple[str, ...]


def compare(a: Policy, b: Policy) -> Comparison:
    more, less = tuple(_wider(a, b)), tuple(_wider(b, a))
    open_in_b, open_in_a = _undecided(a, b, "the second"), _undecided(b, a, "the first")
    return Comparison(more, less, tuple(dict.fromkeys((*open_in_b, *open_in_a))))


def _wider(a: Policy, b: Policy) -> Iterator[str]:
    """What b lets be done and a does not."""
    for section in RULES:
        for said, subject in _subjects(a, b, section):
            one, other = _decide(a, section, subject), _decide(b, section, subject)
            if other < one:
                yield f"{section}: {said}: {other} instead of {one}"
    for verb, path in _paths(a, b):
        one, other = (judge_path(each, verb, path).decision for each in (a, b))
        if other < one:
            yield f"files: {verb} {path}: {other} instead of {one}"
    for key, bound, value in _numbers(a, b):
        if bound is not None and (value is None or value > bound):
            yield f"{key}: {'no limit' if value is None else f'{value:,}'} instead of {bound:,}"
    if _MILD.index(b.on_violation) > _MILD.index(a.on_violation):
        yield f"on_violation: {b.on_violation} instead of {a.on_violation}"
    for name, place in b.secrets.items():
        if a.secrets.get(name) != place:
            yield f"secrets: {name} from {place}"
    for name in b.widenable:
        if name not in a.widenable:
            yield f"widenable: {name}, in files that extend it"


def _undecided(a: Policy, b: Policy, whose: str) -> Iterator[str]:
    """Lines that b grants, of which neither a difference nor its absence can be told."""
    for section in RULES:
        for rule in b.layers(section)[0]:
            if rule.decision is Decision.DENY or _is_shown(a, b, section, rule):
                continue
            same = _stricter(a, section, rule) <= _stricter(b, section, rule)
            for line, pattern in zip(rule.lines, rule.patterns, strict=True):
                if not (same and all(covering(layer, pattern, rule) for layer in a.layers(section))):
                    yield f"{section}: {rule.decision} {line}, of {whose}{f' ({rule.place})' if rule.place else ''}"
    if a.writable != b.writable or any(
        set(getattr(a.files, key)) - set(getattr(b.files, key)) for key in ("hidden", "protect", "read_only")
    ):
        yield "files: whether some path beyond those that were tried is judged differently"


def _is_shown(a: Policy, b: Policy, section: str, rule: Rule) -> bool:
    """Whether each of its lines was shown to differ already."""
    return all(
        any(_decide(b, section, each) < _decide(a, section, each) for _, each in samples(pattern))
        for pattern in rule.patterns
    )


def _stricter(policy: Policy, section: str, than: Rule) -> set[tuple[str, tuple[str, ...]]]:
    return {
        (str(rule.decision), rule.lines)
        for layer in policy.layers(section)
        for rule in layer
        if rule.decision > than.decision
    }


def _subjects(a: Policy, b: Policy, section: str) -> Iterator[tuple[str, object]]:
    lines = {
        pattern: None
        for policy in (a, b)
        for layer in policy.layers(section)
        for rule in layer
        for pattern in rule.patterns
    }
    if section == "network":
        lines |= {RequestPattern.parse(line): None for policy in (a, b) for line in policy.approvals.always}
    yield from dict(sample for pattern in lines for sample in samples(pattern)).items()


def _decide(policy: Policy, section: str, subject: Any) -> Decision:
    match section:
        case "network":
            return judge_asked(policy, subject).decision
        case "tools":
            return judge_tool(policy, subject.name, subject.arguments).decision
        case "databases":
            return judge_database(policy, subject.database, subject.kind).decision
        case "packages":
            return judge_package(policy, subject.name, subject.source, subject.version).decision
    return judge_routine(policy, subject).decision


def _paths(a: Policy, b: Policy) -> Iterator[tuple[str, str]]:
    globs = ["**"]
    for policy in (a, b):
        files = policy.files
        for layer in (files.hidden, files.protect, files.read_only, *policy.writable):
            globs += layer
    paths = dict.fromkeys(path_of(glob) for glob in globs)
    yield from ((verb, path) for path in paths for verb in ("read", "change"))


def _numbers(a: Policy, b: Policy) -> Iterator[tuple[str, Any, Any]]:
    pairs = {
        "resources": (a.resources, b.resources),
        "actions": (a.actions, b.actions),
        "budgets": (a.budgets, b.budgets),
        "approvals": (a.approvals, b.approvals),
        "files.per_action": (a.files.per_action, b.files.per_action),
    }
    for name, (one, other) in pairs.items():
        for key in type(one).model_fields:
            if key == "always":  # its lines are judged, as rules are
                continue
            yield f"{name}.{key}", getattr(one, key), getattr(other, key)
