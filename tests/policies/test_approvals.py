"""What a person allowed for good answers an `ask`, and nothing else: no denial, no hold, no silence."""

from __future__ import annotations

import pytest

from mulligan.policies.asking import judge_asked, scope_of, silences
from mulligan.policies.comparing import compare
from mulligan.policies.errors import PolicyError
from mulligan.policies.loading import parse_policy
from mulligan.policies.requests import parse_request

POLICY = """
network:
  - ask: ["POST,PUT a.org/v1/**", POST a.org/v1/deep/**]
  - ask: ANY http://b.org:81/**
  - deny: POST a.org/v1/shut/**
  - hold: POST a.org/v1/held/**
approvals: {always: [POST a.org/v1/**, POST c.org/**]}
"""


@pytest.mark.parametrize(
    ("asked", "decision"),
    [
        ("POST https://a.org/v1/x", "allow"),
        ("POST https://a.org/v1/deep/x", "allow"),
        ("PUT https://a.org/v1/x", "ask"),
        ("POST https://a.org/v1/shut/x", "deny"),
        ("POST https://a.org/v1/held/x", "hold"),
        ("POST https://c.org/x", "deny"),
        ("POST http://a.org/v1/x", "deny"),
    ],
)
def test_a_line_answers_what_is_asked_to_the_letter(asked: str, decision: str) -> None:
    verdict = judge_asked(parse_policy(POLICY), parse_request(asked))
    assert str(verdict.decision) == decision
    if decision == "allow":
        assert (
            verdict.deciding[0].place == "policy:7"
            and "for good: POST a.org/v1/**" in verdict.deciding[0].reason
        )


@pytest.mark.parametrize(
    ("asked", "scope"),
    [
        ("PUT https://a.org/v1/x", "PUT a.org/v1/**"),
        ("POST https://a.org/v1/deep/x", "POST a.org/v1/deep/x"),  # two rules ask, of different paths
        ("DELETE http://b.org:81/", "DELETE http://b.org:81/**"),
        ("POST https://a.org/v1/deep/*", ""),  # no line says this path
        ("ANY http://b.org:81/", ""),  # the line would be about every method
        ("FOO http://b.org:81/", ""),
    ],
)
def test_an_answer_covers_this_method_and_host_where_the_rule_asks(asked: str, scope: str) -> None:
    policy = parse_policy(POLICY)
    assert scope_of(policy, parse_request(asked)) == scope
    if scope:
        inner = POLICY.replace("POST c.org/**", scope)
        assert str(judge_asked(parse_policy(inner), parse_request(asked)).decision) == "allow"


def test_a_file_answers_no_question_of_the_file_that_it_extends_unless_that_lets_it(tmp_path: object) -> None:
    from pathlib import Path

    folder = Path(str(tmp_path))
    (folder / "outer.yaml").write_text("network: [{ask: POST a.org/**}]\napprovals: {timeout: 60}\n")
    text = "extends: outer.yaml\napprovals: {always: [POST a.org/**]}\n"
    with pytest.raises(
        PolicyError, match=r"policy:2:\d+: the outer file does not allow 'POST a.org/\*\*' for good"
    ):
        parse_policy(text, folder=folder)
    with pytest.raises(PolicyError, match=r"approvals.timeout is 90.0: the outer file has 60.0"):
        parse_policy("extends: outer.yaml\napprovals: {timeout: 90}\n", folder=folder)
    (folder / "outer.yaml").write_text("network: [{ask: POST a.org/**}]\nwidenable: [approvals]\n")
    policy = parse_policy(text, folder=folder)
    assert str(judge_asked(policy, parse_request("POST https://a.org/x")).decision) == "allow"
    found = compare(parse_policy("network: [{ask: POST a.org/**}]"), policy)
    assert "network: POST https://a.org/some-name: allow instead of ask" in found.more


@pytest.mark.parametrize(
    ("other", "silenced"),
    [
        ("POST a.org/v1/pay/**", True),
        ("ANY *.org/**", False),  # it asks about this request too, so it was seen
        ("POST a.org/v2/**", False),
        ("PUT a.org/v1/pay/**", False),
        ("POST b.org/v1/**", False),
        ("POST a.org/*/pay", True),
        ("POST a.org/V1;x/pay", True),
    ],
)
def test_a_line_that_would_answer_a_rule_that_was_not_seen_is_told(other: str, silenced: bool) -> None:
    policy = parse_policy(f"network:\n  - ask: POST a.org/v1/**\n  - ask: '{other}'\n")
    assert silences(policy, parse_request("POST https://a.org/v1/x"), "POST a.org/v1/**") is silenced
