"""Judging what an action did, by the paths that it touched and by counts. Pure.

`files.protect` is judged apart (judge.py), since nothing may be made of it but a revert; the rest here becomes what
`on_violation` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mulligan.policies.decision import Decision, Finding, Verdict
from mulligan.policies.judge import Touched, shown
from mulligan.policies.policy import Policy
from mulligan.policies.protection import Protection

#: the rule against folders in which nobody could look: no `on_violation` lets such a step be kept
UNSEEN = "files.unseen"
#: paths that a verdict names; one more finding counts the others
_NAMED = 10
_ALL = ("**",)
_COUNTS = {"bytes": "wrote {:,} bytes", "files": "changed {:,} files", "deletions": "removed {:,} files"}


@dataclass(frozen=True, slots=True)
class Tally:
    """What one action did to the workspace, counted."""

    bytes: int = 0
    files: int = 0
    deletions: int = 0


class OutcomeBounds:
    """The bounds of a policy on what an action may have done."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._writable = [Protection(layer) for layer in policy.writable if layer != _ALL]
        self._read_only = Protection(policy.files.read_only)

    def judge(
        self, touched: Iterable[Touched], tally: Tally, deleted: int, unseen: Iterable[bytes] = ()
    ) -> Verdict:
        """`deleted` are the files that the steps before removed; `unseen` are folders in which nobody could look."""
        found = [each for path in touched if (each := self.objection(path)) is not None]
        if len(found) > _NAMED:
            found[_NAMED:] = [_deny("files", f"and {len(found) - _NAMED:,} more paths", "")]
        found += [
            _deny(UNSEEN, f"{shown(path)} is nested too deep to be looked into", "nest folders less deep")
            for path in list(unseen)[:1]
        ]
        found += [*self._per_action(tally), *self._budget(tally, deleted)]
        fine = Finding(decision=Decision.ALLOW, rule="files", reason="within its bounds")
        return Verdict.of(found or (fine,))

    def objection(self, touched: Touched) -> Finding | None:
        """Why this may not have been done to this path."""
        what = f"{shown(touched.path)} was {touched.did}"
        if (glob := self._read_only.glob_of(touched.path)) is not None:
            place = self._policy.place("files", "read_only", glob)
            return _deny(
                "files.read_only", f"{what}, and {glob!r} is read-only", "write to another path", place
            )
        for layer in self._writable:
            if layer.glob_of(touched.path) is None:
                place = self._policy.place("files", "writable")
                instead = f"write to {', '.join(layer.globs[:3])}" if layer else "print what is to be kept"
                return _deny("files.writable", f"{what}, and is not among what is writable", instead, place)
        return None

    @property
    def has_budget(self) -> bool:
        return self._policy.budgets.deletions is not None

    def beyond_budget(self, deleted: int) -> Finding | None:
        """Why no more files may be removed, once so many are."""
        return next(self._budget(Tally(deletions=1), deleted), None)

    def _per_action(self, tally: Tally) -> Iterator[Finding]:
        for key, did in _COUNTS.items():
            most, count = getattr(self._policy.files.per_action, key), getattr(tally, key)
            if most is not None and count > most:
                reason = f"the action {did.format(count)}; the most is {most:,}"
                place = self._policy.place("files", "per_action", key)
                yield _deny(f"files.per_action.{key}", reason, "do less in one action", place)

    def _budget(self, tally: Tally, deleted: int) -> Iterator[Finding]:
        most, total = self._policy.budgets.deletions, deleted + tally.deletions
        if most is not None and tally.deletions and total > most:
            reason = f"{total:,} files removed in this session; the most is {most:,}"
            place = self._policy.place("budgets", "deletions")
            yield _deny("budgets.deletions", reason, "do without, or undo a step that removed files", place)


def _deny(rule: str, reason: str, instead: str, place: str = "") -> Finding:
    return Finding(decision=Decision.DENY, rule=rule, reason=reason, instead=instead, place=place)
