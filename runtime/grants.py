"""The one place where a policy becomes something that an engine enforces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mulligan.policies.decision import Decision
from mulligan.policies.errors import PolicyError
from mulligan.policies.policy import PerAction, Policy
from mulligan.policies.rules import Rule
from mulligan.runtime.unlocking import unlock, used
from mulligan.sandbox.isolation import Limits

if TYPE_CHECKING:
    from mulligan.sandbox.egress.judgement import Judge
    from mulligan.sandbox.egress.secrets import Secrets


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


def bounds_outcomes(policy: Policy) -> bool:
    """Whether there is anything to judge in what an action did, beside `files.protect`."""
    files = policy.files
    paths = policy.writable != (("**",),) or bool(files.read_only)
    return paths or files.per_action != PerAction() or policy.budgets.deletions is not None


def ungranted(policy: Policy, *, asks: bool = True, library: bool = False) -> tuple[str, ...]:
    """What the policy lets be done and no part of Mulligan carries out yet, in words: it cannot be done at all. Without
    `asks` there is nobody to be asked; `library`: there is one."""
    said = []
    network = _granting(policy, "network")
    if not asks and (asking := [rule for rule in network if rule.decision is Decision.ASK]):
        said.append(f"network on approval ({_counted(asking)}): nobody is there to be asked")
    tools = _granting(policy, "tools")
    if held := [rule for rule in tools if rule.decision is Decision.HOLD]:
        said.append(f"tools held until commit ({_counted(held)})")
    if not asks and (asking := [rule for rule in tools if rule.decision is Decision.ASK]):
        said.append(f"tools on approval ({_counted(asking)}): nobody is there to be asked")
    for name in ("packages", *(() if library else ("library",))):
        if name == "packages" and network:
            continue  # judged where their index is asked
        if granting := _granting(policy, name):
            said.append(f"{name} ({_counted(granting)})")
    if unused := set(policy.secrets) - used(policy):
        said.append(f"secrets that no network rule uses ({len(unused)})")
    return tuple(said)


def _granting(policy: Policy, section: str) -> list[Rule]:
    return [rule for rule in policy.layers(section)[0] if rule.decision is not Decision.DENY]


def _counted(rules: list[Rule]) -> str:
    return f"{len(rules)} rule{'s' if len(rules) > 1 else ''}"


def check_enforced(policy: Policy) -> None:
    """Raises PolicyError for a bound that nothing would hold: no session opens under what only looks enforced."""
    missing = {
        "budgets.messages (of tools)": policy.budgets.messages is not None and _granting(policy, "tools"),
        "packages (with hold)": _opens_network(policy)
        and [rule for layer in policy.layers("packages") for rule in layer if rule.decision is Decision.HOLD],
    }
    if held := [name for name, asked in missing.items() if asked]:
        raise PolicyError(
            f"the policy has {', '.join(held)}, which no session enforces yet",
            hint="leave it out",
        )


def _opens_network(policy: Policy) -> bool:
    return bool(_granting(policy, "network"))


def grant_secrets(policy: Policy) -> Secrets | None:
    """Those that the proxy puts in, read from where the host keeps them. Raises PolicyError."""
    return unlock(policy) if _opens_network(policy) else None


def grant_network(policy: Policy) -> Judge | None:
    """Who judges a session's requests; None where no rule lets any leave, and there is no network."""
    if not _opens_network(policy):
        return None
    from mulligan.runtime.granting import PolicyJudge

    return PolicyJudge(policy)
