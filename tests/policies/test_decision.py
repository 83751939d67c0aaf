"""The strictest decision wins, every reason is kept, and silence denies."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mulligan.policies.decision import Decision, Finding, Verdict

findings = st.builds(Finding, decision=st.sampled_from(Decision), rule=st.text(), reason=st.text())


def test_decisions_are_ordered() -> None:
    order = [Decision.ALLOW, Decision.HOLD, Decision.ASK, Decision.DENY]
    assert all(one < other for one, other in pairwise(order))
    assert [str(decision) for decision in order] == ["allow", "hold", "ask", "deny"]


def test_no_finding_denies() -> None:
    assert Verdict.of([]) == Verdict(Decision.DENY, ())


@given(st.lists(findings, min_size=1))
def test_the_strictest_wins_and_nothing_is_dropped(found: list[Finding]) -> None:
    verdict = Verdict.of(found)
    assert list(verdict.findings) == found
    assert all(finding.decision <= verdict.decision for finding in found)
    assert verdict.deciding
    assert {finding.decision for finding in verdict.deciding} == {verdict.decision}
