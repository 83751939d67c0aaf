"""One judgement, and how several become one: the strictest wins, every reason is kept, silence denies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import IntEnum


class Decision(IntEnum):
    """Ordered: the greater is the stricter."""

    ALLOW = 0
    HOLD = 1
    ASK = 2
    DENY = 3

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one rule decided. `rule` is its name in the policy, `instead` what would have been allowed, and `place` the
    file and line where it stands, if it stands in one."""

    decision: Decision
    rule: str
    reason: str
    instead: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    decision: Decision
    findings: tuple[Finding, ...]

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> Verdict:
        """The strictest of the findings' decisions. Where no rule had anything to say, deny."""
        kept = tuple(findings)
        return cls(max((finding.decision for finding in kept), default=Decision.DENY), kept)

    def record(self) -> dict[str, object]:
        """For the ledger: plain JSON data, with every finding."""
        findings = [{**asdict(finding), "decision": str(finding.decision)} for finding in self.findings]
        return {"decision": str(self.decision), "findings": findings}

    @property
    def deciding(self) -> tuple[Finding, ...]:
        """The findings that made the decision what it is."""
        return tuple(finding for finding in self.findings if finding.decision is self.decision)
