"""Whether a policy lets a routine be used: by its name, and by what it needs.

This is asked before it could run, so that a refusal has a reason. What confines it when it runs is the session that
imports it: a contract that leaves out what the routine does gives it nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mulligan.policies.asking import judge_routine
from mulligan.policies.decision import Decision
from mulligan.policies.policy import RULES, Policy
from mulligan.policies.rules import Rule

#: what a contract needs, by the section of a policy that says whether it may be had
SECTIONS = ("network", "tools", "databases")


def everything_by_name(policy: Policy) -> Policy:
    """The same policy, for whoever named a library and no policy: every routine may be used, by name."""
    rule = RULES["library"].model_validate({"allow": ["*"]})
    return policy.model_copy(update={"library": (rule,)})


def lacking(policy: Policy, name: str, needs: Mapping[str, object]) -> str:
    """Why a routine of this name and these needs may not be used; "" where it may."""
    return _by_name(policy, name) or next(iter(_missing(policy, needs)), "")


def _by_name(policy: Policy, name: str) -> str:
    verdict = judge_routine(policy, name)
    if verdict.decision is Decision.ALLOW:
        return ""
    finding = verdict.deciding[0]
    if finding.instead.startswith("do without"):
        return f"the policy names no routine that may be used; instead: add 'library: [allow: {name}]' to it"
    why = finding.reason.removeprefix(f"the routine {name}: ")
    return f"the policy does not allow it: {why}" + (
        f"; instead: {finding.instead}" if finding.instead else ""
    )


def _missing(policy: Policy, needs: Mapping[str, object]) -> Iterable[str]:
    for section in SECTIONS:
        lines = needs.get(section)
        for line in lines if isinstance(lines, list | tuple) else ():
            if not all(_is_granted(section, layer, str(line)) for layer in policy.layers(section)):
                yield f"it needs {line!r} under {section}, which the policy does not allow"


def _is_granted(section: str, layer: Sequence[Rule], line: str) -> bool:
    """Whether some rule lets all of it be done, if need be with a person's leave, and none forbids all of it."""
    try:
        asked = RULES[section].pattern.parse(line)
    except ValueError:
        return False
    covering = [rule.decision for rule in layer if any(each.covers(asked) for each in rule.patterns)]
    return (
        bool(covering) and Decision.DENY not in covering and min(covering) in (Decision.ALLOW, Decision.ASK)
    )
