"""The one place where a policy becomes something that an engine enforces."""

from __future__ import annotations

from mulligan.policies.policy import Policy
from mulligan.sandbox.isolation import Limits


def grant_limits(policy: Policy) -> Limits:
    """The engine's limits under a policy. `resources.wall` is not among them: the session keeps the time."""
    resources = policy.resources
    return Limits(
        memory=resources.memory,
        cpus=resources.cpus,
        pids=resources.pids,
        open_files=resources.open_files,
        file_size=resources.file_size,
        disk=resources.disk,
    )
