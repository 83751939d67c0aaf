"""What a policy grants is what the engine is told."""

from __future__ import annotations

from mulligan.policies.policy import Policy, Resources
from mulligan.runtime.grants import grant_limits
from mulligan.sandbox.isolation import Limits


def test_the_default_policy_grants_the_default_limits() -> None:
    assert grant_limits(Policy()) == Limits()


def test_every_limit_is_taken_from_the_policy() -> None:
    resources = Resources(memory=1, cpus=0.5, pids=17, open_files=65, file_size=2, disk=3)
    assert grant_limits(Policy(resources=resources)) == Limits(
        memory=1, cpus=0.5, pids=17, open_files=65, file_size=2, disk=3
    )
