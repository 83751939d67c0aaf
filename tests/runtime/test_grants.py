"""What a policy grants is what the engine is told."""

from __future__ import annotations

import pytest

import mulligan
from mulligan.policies.errors import PolicyError
from mulligan.policies.loading import parse_policy
from mulligan.policies.policy import Policy, Resources
from mulligan.runtime.grants import grant_limits, ungranted
from mulligan.sandbox.isolation import Limits


def test_the_default_policy_grants_the_default_limits() -> None:
    assert grant_limits(Policy()) == Limits()


def test_every_limit_is_taken_from_the_policy() -> None:
    resources = Resources(memory=1, cpus=0.5, pids=17, open_files=65, file_size=2, disk=3)
    assert grant_limits(Policy(resources=resources)) == Limits(
        memory=1, cpus=0.5, pids=17, open_files=65, file_size=2, disk=3
    )


@pytest.mark.parametrize("text", ["tools: [{allow: send}]\nbudgets: {messages: 1}"])
def test_a_bound_that_nothing_holds_opens_no_session(text: str) -> None:
    with pytest.raises(PolicyError, match="which no session enforces yet"):
        mulligan.open(policy=parse_policy(text))


def test_what_is_allowed_and_not_there_is_said() -> None:
    policy = parse_policy("""
network: [{allow: GET a.org/**}, {deny: GET a.org/x}]
tools: [{deny: x}]
packages: [{allow: a from pypi}, {ask: b from pypi}]
secrets: {TOKEN: environment:TOKEN}
""")
    assert ungranted(policy) == ("secrets that no network rule uses (1)",)
    assert ungranted(parse_policy("packages: [{allow: a from pypi}]")) == ("packages (1 rule)",)
    assert ungranted(Policy()) == ()
