"""Judging a proposal before it runs, by what the text itself settles, and what an action did once it has run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mulligan.policies.decision import Decision, Finding, Verdict
from mulligan.policies.policy import Policy
from mulligan.policies.protection import Protection

#: findings of one verdict on changes; one more says how many were left out
_NAMED = 10
#: characters of a path that a finding shows
_SHOWN = 300


@dataclass(frozen=True, slots=True)
class Touched:
    """A path that an action changed, relative to the workspace, and what it did to it: "added", "changed"..."""

    path: bytes
    did: str


def judge_changes(
    protection: Protection, touched: Iterable[Touched], unseen: Iterable[bytes] = ()
) -> Verdict:
    """Whether what an action did may stand. `unseen` are folders in which nobody could look: what may be in them
    is not allowed where anything is protected. Pure."""
    found = [objection for each in touched if (objection := protected(protection, each)) is not None]
    found += [
        _deny("protect", f"{shown(path)} is nested too deep to be looked into", _SHALLOW) for path in unseen
    ]
    if len(found) > _NAMED:
        found[_NAMED:] = [_deny("protect", f"and {len(found) - _NAMED:,} more protected paths", "")]
    return Verdict.of(found or (_allow("protect", "no protected path was changed"),))


def unjudged(why: str) -> Finding:
    """The objection to a step of which it is not known what it did to protected paths."""
    return _deny("protect.unseen", why, "make room, or write less at a time")


def protected(protection: Protection, touched: Touched) -> Finding | None:
    """The objection to a change of this path, if it is protected."""
    glob = protection.glob_of(touched.path)
    if glob is None:
        return None
    return _deny("protect", f"{shown(touched.path)} was {touched.did}, and {glob!r} is protected", _ELSEWHERE)


_ELSEWHERE = "copy it to a path that is not protected and change the copy; it may be read where it is"
_SHALLOW = "nest folders less deep"


def shown(path: bytes) -> str:
    """A path as one bounded line, whatever is in it."""
    text = repr(path.decode("utf-8", "backslashreplace"))
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]}...{text[-_SHOWN // 2 :]}"


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


def _allow(rule: str, reason: str) -> Finding:
    return Finding(decision=Decision.ALLOW, rule=rule, reason=reason)


def _fine(policy: Policy) -> Finding:
    return _allow("actions", f"text of at most {policy.actions.max_source_bytes:,} bytes")
