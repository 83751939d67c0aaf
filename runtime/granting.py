"""A session's network as its policy has it: what the proxy asks is asked of the rules.

Both sides read strictly, and a request passes only where both read it alike: the proxy asks about each way in which a
server might read a path, and the policy denies what has more than one.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from urllib.parse import quote

from mulligan.policies.address import Request, Unclear, request
from mulligan.policies.asking import (
    judge_asked,
    looks_inside,
    names_host,
    puts_in_at,
    scope_of,
    secrets_for,
    silences,
)
from mulligan.policies.decision import Decision, Finding, Verdict
from mulligan.policies.policy import Policy
from mulligan.sandbox.egress.judgement import Asked, Judgement

#: what a path as it is sent never holds; a reading of it that was decoded may
_UNSENT = re.compile(r"[^!-~]")
#: judgements that are remembered, of requests with no longer a path than this
_REMEMBERED, _SHORT = 1000, 300


class PolicyJudge:
    """The proxy's judge. It holds values alone, so any thread may ask."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._known = lru_cache(_REMEMBERED)(self._judged)
        self._inside = lru_cache(_REMEMBERED)(self._looks_inside)

    def judge(self, asked: Asked) -> Judgement:
        # what a rule says never changes, and the query is not judged
        plain = replace(asked, query="")
        return self._known(plain) if len(asked.path) <= _SHORT else self._judged(plain)

    def _judged(self, asked: Asked) -> Judgement:
        try:
            spelt = _spelt(asked)
        except Unclear as error:
            why = str(error)
            return Judgement(
                allowed=False,
                rule="network.unclear",
                reason=why,
                instead="write the address in its usual form",
            )
        verdict = judge_asked(self._policy, spelt)
        finding = verdict.deciding[0]
        held = [each for each in verdict.findings if each.decision is Decision.HOLD]
        if verdict.decision is Decision.ASK:
            return self._asking(verdict, spelt) if not held else _both(finding, held[0])
        allowed, holds = verdict.decision is Decision.ALLOW, verdict.decision is Decision.HOLD
        return Judgement(
            allowed=allowed,
            rule=_named(finding),
            reason=_reason(finding, spelt),
            instead=finding.instead,
            holds=holds,
            private=(allowed or holds) and names_host(self._policy, spelt),
            uses=secrets_for(self._policy, spelt) if allowed or holds else frozenset(),
        )

    def _asking(self, verdict: Verdict, spelt: Request) -> Judgement:
        """Every rule that asks is named: whoever answers one answers them all."""
        asking, scope = verdict.deciding, scope_of(self._policy, spelt)
        return Judgement(
            allowed=False,
            asks=True,
            rule="; ".join(dict.fromkeys(map(_named, asking))),
            reason="; ".join(dict.fromkeys(_reason(each, spelt) for each in asking)),
            instead=asking[0].instead,
            private=names_host(self._policy, spelt),
            scope=scope,
            lasts=bool(scope)
            and not silences(self._policy, spelt, scope)
            and all(each.rule.startswith("network") for each in asking),
            uses=secrets_for(self._policy, spelt),
        )

    def needs_inside(self, host: str, port: int) -> bool:
        return self._inside(host, port)

    def _looks_inside(self, host: str, port: int) -> bool:
        return looks_inside(self._policy, host, port) or puts_in_at(self._policy, host, port)


def _both(asking: Finding, holding: Finding) -> Judgement:
    """Nothing is asked about now and held until later."""
    why = f"{_named(asking)} asks about it and {_named(holding)} holds it: nothing is done both ways"
    return Judgement(allowed=False, rule=_named(asking), reason=why, instead=asking.instead)


def _spelt(asked: Asked) -> Request:
    """Raises Unclear. The path of a reading that was decoded is escaped again where no request could hold it."""
    path = _UNSENT.sub(lambda found: quote(found[0]), asked.path)
    return request(asked.method, asked.scheme, asked.host, asked.port, path)


def _reason(finding: Finding, spelt: Request) -> str:
    """Whoever shows it names the request."""
    return finding.reason.removeprefix(f"{spelt}: ")


def _named(finding: Finding) -> str:
    """The rule, with its line. What the folders of the host are called is not for the sandbox."""
    place = finding.place.rpartition("/")[2]
    rule = finding.rule.removeprefix("network: ")
    return f"{rule} ({place})" if place else rule
