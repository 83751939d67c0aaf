"""Judging a proposal before it runs. Only what the text itself settles is judged here."""

from __future__ import annotations

from collections.abc import Iterator

from mulligan.policies.decision import Decision, Finding, Verdict
from mulligan.policies.policy import Policy


def judge_proposal(policy: Policy, source: str) -> Verdict:
    """Whether this source may be given to the kernel at all. Pure: the same arguments, the same verdict."""
    objections = tuple(_objections(policy, source))
    return Verdict.of(objections or (_fine(policy),))


def _objections(policy: Policy, source: str) -> Iterator[Finding]:
    size, limit = len(source.encode("utf-8", "surrogatepass")), policy.actions.max_source_bytes
    if size > limit:
        yield _deny(
            "actions.max_source_bytes",
            f"the source has {size:,} bytes; the most is {limit:,}",
            "put data in a file of the workspace and read it from there, or split the action",
        )
    if "\0" in source:
        yield _deny(
            "actions.text",
            f"a NUL byte at character {source.index(chr(0))}: Python source cannot hold one",
            r'write "\x00" inside a string literal',
        )
    if (at := _first_surrogate(source)) is not None:
        yield _deny(
            "actions.text",
            f"a lone surrogate U+{ord(source[at]):04X} at character {at}: the source is not valid Unicode",
            "write the character itself, or an escape inside a string literal",
        )


def _first_surrogate(source: str) -> int | None:
    try:
        source.encode()
    except UnicodeEncodeError as error:
        return error.start
    return None


def _deny(rule: str, reason: str, instead: str) -> Finding:
    return Finding(decision=Decision.DENY, rule=rule, reason=reason, instead=instead)


def _fine(policy: Policy) -> Finding:
    reason = f"text of at most {policy.actions.max_source_bytes:,} bytes"
    return Finding(decision=Decision.ALLOW, rule="actions", reason=reason)
