"""A proposal is judged by its text before it runs."""

from __future__ import annotations

import pytest

from mulligan.policies.decision import Decision
from mulligan.policies.judge import judge_proposal
from mulligan.policies.policy import Actions, Policy

SMALL = Policy(actions=Actions(max_source_bytes=8))


@pytest.mark.parametrize("source", ["", "x = 1", "é" * 4, "a" * 8])
def test_plain_text_is_allowed_by_a_named_rule(source: str) -> None:
    verdict = judge_proposal(SMALL, source)
    assert verdict.decision is Decision.ALLOW
    assert [finding.rule for finding in verdict.findings] == ["actions"]


@pytest.mark.parametrize(
    ("source", "rules"),
    [
        ("a" * 9, ["actions.max_source_bytes"]),
        ("é" * 5, ["actions.max_source_bytes"]),
        ("a\0b", ["actions.text"]),
        ("a\ud800", ["actions.text"]),
        ("\ud800\0 and too long", ["actions.max_source_bytes", "actions.text", "actions.text"]),
    ],
)
def test_every_objection_is_a_denial_with_its_rule_and_an_alternative(source: str, rules: list[str]) -> None:
    verdict = judge_proposal(SMALL, source)
    assert verdict.decision is Decision.DENY
    assert [finding.rule for finding in verdict.findings] == rules
    assert all(finding.reason and finding.instead for finding in verdict.findings)


def test_the_reason_says_where() -> None:
    (finding,) = judge_proposal(Policy(), "abc\udfff").findings
    assert "U+DFFF at character 3" in finding.reason
