"""What an action did, put into the plain values that the policy's bounds judge; and what the kept steps did altogether.

The budget counts the steps on the way to where the session is: what was undone did not happen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from mulligan.policies.decision import Decision, Finding, Verdict
from mulligan.policies.exclusion import Exclusion
from mulligan.policies.judge import Touched, shown
from mulligan.policies.outcomes import UNSEEN, OutcomeBounds, Tally
from mulligan.policies.policy import Policy
from mulligan.runtime.changes import worth_telling
from mulligan.runtime.checkpoint import Checkpoint
from mulligan.runtime.commit import Refusal
from mulligan.runtime.matter import Decided
from mulligan.runtime.outcome import spelt
from mulligan.sandbox.snapshots import Change, Entry, Kind

_WORKSPACE = b"workspace/"
_REPORTED = Finding(decision=Decision.ALLOW, rule="on_violation", reason="what breaks a rule is reported")


Ask = Callable[[int, Verdict, Sequence[str]], Decided]


class OutcomeJudge:
    """Used by the session's thread, in sessions whose policy bounds outcomes."""

    def __init__(self, policy: Policy, excluded: Exclusion, ask: Ask) -> None:
        """`ask` is called where the policy has a person decide, with the step, what broke which rule, and the paths."""
        self._bounds = OutcomeBounds(policy)
        self._excluded = excluded
        self._ask = ask if policy.on_violation == "ask" else None
        #: paths that a person has let be changed, so that a commit carries them
        self._allowed: set[bytes] = set()
        self._reports = policy.on_violation == "report"
        self._kept: dict[int, Tally] = {}
        #: what was committed as removed though no action had removed it, by the step after which it went
        self._gone: dict[int, set[bytes]] = {}

    def judge(
        self, step: int, way: Sequence[int], before: Checkpoint, after: Checkpoint, changes: Sequence[Change]
    ) -> tuple[Verdict, tuple[str, ...]]:
        """Whether `step` may stand, and what is to be said of it if it does. `way` are the steps from the root to where
        it began, `changes` lead from one checkpoint to the other."""
        inside = [each for each in worth_telling(changes) if each.path.startswith(_WORKSPACE)]
        touched = [Touched(each.path.removeprefix(_WORKSPACE), each.action) for each in inside]
        unseen = [path for path in after.unseen if path not in before.unseen and path.startswith(_WORKSPACE)]
        tally = self._count(inside)
        verdict = self._bounds.judge(touched, tally, self._deleted(way), unseen)
        if verdict.decision is Decision.ALLOW:
            self._kept[step] = tally
            return verdict, ()
        if any(finding.rule == UNSEEN for finding in verdict.findings):
            return verdict, ()
        if self._ask is not None:
            return self._asked(step, verdict, tally, touched)
        if not self._reports:
            return verdict, ()
        self._kept[step] = tally
        return Verdict.of((_REPORTED,)), (f"Against the policy, and kept: {spelt(verdict)}",)

    def _asked(
        self, step: int, verdict: Verdict, tally: Tally, touched: Sequence[Touched]
    ) -> tuple[Verdict, tuple[str, ...]]:
        """What a person says of a step that broke a rule."""
        assert self._ask is not None
        decided = self._ask(step, verdict, [f"{each.did} {shown(each.path)}" for each in touched])
        decision = Decision.ALLOW if decided.allowed else Decision.DENY
        finding = Finding(decision=decision, rule="on_violation", reason=decided.why, instead=decided.instead)
        if not decided.allowed:
            return Verdict.of((*verdict.findings, finding)), ()
        self._kept[step] = tally
        self._allowed |= {each.path for each in touched}
        return Verdict.of((finding,)), (f"Against the policy, and kept, as {decided.why}: {spelt(verdict)}",)

    def refusal(self, way: Sequence[int], there: Callable[[], Mapping[bytes, Entry]]) -> Refusal:
        """What `commit` asks of each path. `there` gives what was there after the last step of `way`: whatever has gone
        since then no action removed, and it counts against the budget as if one had."""
        files = there() if self._bounds.has_budget and not self._reports else {}
        deleted, gone = self._deleted(way), self._gone.setdefault(way[-1], set())

        def reason(path: bytes, did: str) -> str | None:
            if self._reports or path in self._allowed:
                return None
            found = self._bounds.objection(Touched(path, did))
            known = files.get(_WORKSPACE + path)
            if found is None and did == "removed" and known is not None and known.kind is not Kind.FOLDER:
                found = self._bounds.beyond_budget(deleted + len(gone - {path}))
                if found is None:
                    gone.add(path)
            return found.reason if found is not None else None

        return reason

    def _deleted(self, way: Sequence[int]) -> int:
        return sum(self._kept[each].deletions for each in way if each in self._kept)

    def _count(self, changes: Sequence[Change]) -> Tally:
        """Folders do not count. A file whose content is there under a new name was moved, and not removed; unless no
        commit would carry the new one."""
        files = [each for each in changes if _counts(each)]
        fresh = Counter(each.after.data for each in files if each.after is not None and self._is_new(each))
        deletions = 0
        for each in files:
            if each.before is None or (each.after is not None and each.after.kind is not Kind.FOLDER):
                continue
            if each.before.kind is Kind.FILE and fresh[each.before.data] > 0:
                fresh[each.before.data] -= 1
            else:
                deletions += 1
        return Tally(bytes=sum(_written(each) for each in files), files=len(files), deletions=deletions)

    def _is_new(self, change: Change) -> bool:
        """Whether it is a file where there was nothing, which a commit would carry."""
        if change.before is not None or change.after is None or change.after.kind is not Kind.FILE:
            return False
        return self._excluded.glob_of(change.path.removeprefix(_WORKSPACE), folder=False) is None


def _counts(change: Change) -> bool:
    ends = [each for each in (change.before, change.after) if each is not None]
    return any(each.kind is not Kind.FOLDER for each in ends)


def _written(change: Change) -> int:
    before, after = change.before, change.after
    if after is None or after.kind is not Kind.FILE or (before is not None and before.data == after.data):
        return 0
    return after.size
