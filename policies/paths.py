"""What the `files` of a policy say about one path, asked before anything happened. Pure.

Limits on how much one action or session may remove are no matter of one path; `limits_on` tells them.
"""

from __future__ import annotations

from collections.abc import Iterator

from mulligan.policies.decision import Decision, Finding, Verdict
from mulligan.policies.policy import Policy
from mulligan.policies.protection import Protection

VERBS = ("read", "write", "add", "change", "delete")

_FORBIDDING = {
    "protect": ("is protected", "copy it to a path that is not protected and change the copy"),
    "read_only": ("is read-only", "write to another path; it may be read where it is"),
}


def judge_path(policy: Policy, verb: str, path: str) -> Verdict:
    """`path` is relative to the workspace; `verb` one of VERBS. Raises ValueError for a path that is none of it."""
    name = _checked(path).encode()
    return Verdict.of(_hidden(policy, path, name) or _found(policy, verb, path, name))


def limits_on(policy: Policy, verb: str) -> tuple[str, ...]:
    """What bounds such changes beyond their paths, in words, each with its place."""
    if verb == "read":
        return ()
    counted = {
        "files.per_action.deletions": policy.files.per_action.deletions if verb == "delete" else None,
        "files.per_action.files": policy.files.per_action.files,
        "files.per_action.bytes": policy.files.per_action.bytes if verb != "delete" else None,
        "budgets.deletions": policy.budgets.deletions if verb == "delete" else None,
    }
    return tuple(_limit(policy, key, value) for key, value in counted.items() if value is not None)


def _limit(policy: Policy, key: str, value: int) -> str:
    place = policy.place(*key.split("."))
    return f"{key}: {value:,}{f'  ({place})' if place else ''}"


def _checked(path: str) -> str:
    parts = path.split("/")
    if path.startswith(("/", "~")) or not path.isprintable() or {"", ".", ".."} & set(parts):
        raise ValueError(f"{path!r} is no path in the workspace: write such as data/raw/a.csv")
    return path


def _hidden(policy: Policy, path: str, name: bytes) -> tuple[Finding, ...]:
    glob = Protection(policy.files.hidden).glob_of(name)
    if glob is None:
        return ()
    said = f"{path}: {glob!r} is hidden, so it is not brought in and never written back"
    return (_finding(policy, Decision.DENY, "hidden", glob, said, "do without it"),)


def _found(policy: Policy, verb: str, path: str, name: bytes) -> Iterator[Finding]:
    if verb == "read":
        said = f"{path}: what is in the workspace and not hidden may be read"
        yield Finding(decision=Decision.ALLOW, rule="files", reason=said)
        return
    for key, (is_so, instead) in _FORBIDDING.items():
        glob = Protection(getattr(policy.files, key)).glob_of(name)
        if glob is not None:
            decided, kept = (Decision.DENY, "") if key == "protect" else _broken(policy)
            yield _finding(policy, decided, key, glob, f"{path}: {glob!r} {is_so}{kept}", instead)
    for layer in policy.writable:
        glob = Protection(layer).glob_of(name)
        if glob is not None:
            yield _finding(policy, Decision.ALLOW, "writable", glob, f"{path}: {glob!r} is writable")
        else:
            instead = f"write to {', '.join(layer[:3])}" if layer else "do without: no path may be written"
            decided, kept = _broken(policy)
            yield _finding(policy, decided, "writable", "", f"{path}: is not writable{kept}", instead)


def _broken(policy: Policy) -> tuple[Decision, str]:
    """What becomes of a step that breaks a bound on paths; what is protected or hidden knows no report."""
    if policy.on_violation == "report":
        return Decision.ALLOW, "; on_violation is report, so it is kept, and the step says so"
    return Decision.DENY, ""


def _finding(
    policy: Policy, decision: Decision, key: str, glob: str, reason: str, instead: str = ""
) -> Finding:
    place = policy.place("files", key, glob) or policy.place("files", key)
    rule = f"files.{key}: {glob}" if glob else f"files.{key}"
    return Finding(decision=decision, rule=rule, reason=reason, instead=instead, place=place)
