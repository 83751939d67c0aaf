"""The one place where a policy becomes something that an engine enforces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mulligan.policies.decision import Decision
from mulligan.policies.errors import PolicyError
from mulligan.policies.policy import PerAction, Policy
from mulligan.sandbox.isolation import Limits

if TYPE_CHECKING:
    from mulligan.sandbox.egress.judgement import Judge


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


def ungranted(policy: Policy) -> tuple[str, ...]:
    """What the policy lets be done and no part of Mulligan carries out yet, in words: it cannot be done at all."""
    said = []
    for name in ("network", "tools", "databases", "packages", "library"):
        granting = [rule for rule in policy.layers(name)[0] if rule.decision is not Decision.DENY]
        if granting:
            said.append(f"{name} ({len(granting)} rule{'s' if len(granting) > 1 else ''})")
    if policy.secrets:
        said.append(f"secrets ({len(policy.secrets)})")
    return tuple(said)


def check_enforced(policy: Policy) -> None:
    """Raises PolicyError for a bound that nothing would hold: no session opens under what only looks enforced."""
    files = policy.files
    missing = {
        "files.writable": policy.writable != (("**",),),
        "files.read_only": bool(files.read_only),
        "files.hidden": bool(files.hidden),
        "files.per_action": files.per_action != PerAction(),
        "budgets.deletions": policy.budgets.deletions is not None,
        "on_violation": policy.on_violation != "revert",
    }
    if held := [name for name, asked in missing.items() if asked]:
        raise PolicyError(
            f"the policy has {', '.join(held)}, which no session enforces yet",
            hint="leave it out, or use files.protect; presets have such bounds too, so none opens a session yet",
        )


def grant_network(policy: Policy) -> Judge | None:
    """Who judges a session's requests; None where the policy has no network rules, and there is no network."""
    return None
