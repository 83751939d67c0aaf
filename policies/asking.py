"""Judging what an action asks for: a request, a tool's call, a statement, a package, a routine. Pure.

In each layer of the policy all rules that match are heard and the strictest decides; where none says that it may be
done, the layer denies. What cannot be read in one way only is denied before any rule is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from mulligan.policies.address import Request, Unclear, request
from mulligan.policies.decision import Decision, Finding, Verdict
from mulligan.policies.globs import word_matches
from mulligan.policies.packages import packages_in, source_of
from mulligan.policies.patterns import Call, Package, PackagePattern, Statement
from mulligan.policies.policy import Policy
from mulligan.policies.requests import METHODS, RequestPattern
from mulligan.policies.rules import Rule

#: rules that a denial names as what would have been allowed
_NAMED = 3
_SHOWN = 200


def judge_request(
    policy: Policy, method: str, scheme: str, host: str, port: int | None, path: str
) -> Verdict:
    """Whether a request may leave. `host` is as it was given, `port` None where none was, `path` as it stands in the
    request line. A tunnel is the method CONNECT, with neither scheme nor path."""
    try:
        asked = request(method, scheme, host, port, path)
    except Unclear as error:
        return _unclear("network", str(error), "write the address in its usual form")
    return judge_asked(policy, asked)


def judge_asked(policy: Policy, asked: Request) -> Verdict:
    """As `judge_request`, of a request in its one spelling. What a person has allowed for good is not asked again.
    Where the policy has rules for packages, a request to an index is judged by those too."""
    verdict = _judge(policy, "network", asked, str(asked))
    if verdict.decision is Decision.ASK and (line := policy.approvals.answered(asked)) is not None:
        place = policy.place("approvals", "always", line)
        verdict = Verdict.of(_answered(finding, line, place) for finding in verdict.findings)
    if not (packages := packages_in(asked, _sources(policy))) or not any(policy.layers("packages")):
        return verdict
    found = [_unheld(each) for package in packages for each in _judge_package(policy, package).findings]
    return Verdict.of((*verdict.findings, *found))


def _sources(policy: Policy) -> frozenset[str]:
    return frozenset(
        each.source
        for layer in policy.layers("packages")
        for rule in layer
        for each in rule.patterns
        if isinstance(each, PackagePattern)
    )


def _unheld(finding: Finding) -> Finding:
    """A package cannot be installed later than it is."""
    return replace(finding, decision=Decision.DENY) if finding.decision is Decision.HOLD else finding


def _answered(finding: Finding, line: str, place: str) -> Finding:
    if finding.decision is not Decision.ASK:
        return finding
    reason = f"{finding.reason}; a person allowed it for good: {line}"
    return replace(
        finding, decision=Decision.ALLOW, reason=reason, place=place, rule=f"approvals.always: {line}"
    )


def scope_of(policy: Policy, asked: Request) -> str:
    """What an answer about this request can cover beyond it, as a line of `approvals.always`: its method, host and
    port, with the path of the rule that asks, or its own where several rules differ. Empty where no line says it, as
    of a method that no rule can name."""
    if asked.method not in METHODS:
        return ""
    if asked.method == "CONNECT":
        return str(asked) if _as_a_whole(policy, asked.host, asked.port) else ""
    paths = {each.path for each in _asking(policy, asked)}
    own = asked.path if "*" not in asked.path else ""
    for path in (*(paths if len(paths) == 1 else ()), own):
        shown = replace(asked, path=path)
        line = str(shown).replace(" https://", " ", 1)
        with suppress(ValueError):
            if path and RequestPattern.parse(line).matches(asked, generous=False):
                return line
    return ""


def silences(policy: Policy, asked: Request, line: str) -> bool:
    """Whether this line, for good, might answer a rule too that does not ask about this request: nobody who is asked
    about this one sees that rule."""
    path = RequestPattern.parse(line).path
    return "*" in path and any(
        isinstance(each, RequestPattern) and each.may_meet(asked, path)
        for layer in policy.layers("network")
        for rule in layer
        if rule.decision is Decision.ASK and not rule.matches(asked)
        for each in rule.patterns
    )


def secrets_for(policy: Policy, asked: Request) -> frozenset[str]:
    """Names of the secrets that may be put into a request that is let leave, now or at commit: in each layer a rule
    that grants it uses them."""
    return frozenset.intersection(
        *(
            frozenset(name for rule in layer if rule.grants(asked) for name in rule.secrets)
            for layer in policy.layers("network")
        )
    )


def puts_in_at(policy: Policy, host: str, port: int) -> bool:
    """Whether some rule puts a secret into requests to there: then a tunnel has to be looked into."""
    return any(
        isinstance(each, RequestPattern) and each.may_lead_to(host, port)
        for rule in policy.layers("network")[0]
        if rule.secrets and rule.decision is not Decision.DENY
        for each in rule.patterns
    )


def _asking(policy: Policy, asked: Request) -> Iterator[RequestPattern]:
    for layer in policy.layers("network"):
        for rule in layer:
            if rule.decision is Decision.ASK:
                yield from (
                    each
                    for each in rule.patterns
                    if isinstance(each, RequestPattern) and each.matches(asked, generous=True)
                )


def looks_inside(policy: Policy, host: str, port: int) -> bool:
    """Whether a tunnel to there has to be looked into: unless one is allowed, or asked about as a whole, and no rule is
    about what is in it."""
    if any(word_matches(source, source_of(host)) for source in _sources(policy) - {"*"}):
        return True
    decision = judge_request(policy, "CONNECT", "", host, port, "").decision
    return decision is not Decision.ALLOW and not (
        decision is Decision.ASK and _as_a_whole(policy, host, port)
    )


def _as_a_whole(policy: Policy, host: str, port: int) -> bool:
    """Whether all rules that are about a tunnel to there are about the tunnel itself."""
    asked = request("CONNECT", "", host, port, "")
    return all(
        rule.grants(asked) for layer in policy.layers("network") for rule in layer if rule.matches(asked)
    )


def names_host(policy: Policy, asked: Request) -> bool:
    """Whether, in each layer, a rule that lets this request leave spells its host out, without a star: only such a host
    may lie in a private network."""
    return all(
        any(_spells(rule, asked) for rule in layer if rule.decision is not Decision.DENY)
        for layer in policy.layers("network")
    )


def _spells(rule: Rule, asked: Request) -> bool:
    """Whether one line both grants it and spells its host out: what another line says of the host is not about it."""
    return any(
        isinstance(each, RequestPattern) and each.host == asked.host and each.matches(asked, generous=False)
        for each in rule.patterns
    )


def judge_tool(policy: Policy, name: str, arguments: Mapping[str, object]) -> Verdict:
    return _judge(policy, "tools", Call(name, arguments), f"the tool {name}")


def judge_database(policy: Policy, name: str, kind: str) -> Verdict:
    """`kind` is one of patterns.STATEMENTS: what a statement does at its worst."""
    return _judge(policy, "databases", Statement(kind, name), f"{kind} on the database {name}")


def judge_package(policy: Policy, name: str, source: str, version: str | None = None) -> Verdict:
    """`source` is "pypi", or the host of another index; without a version, whether some may be installed."""
    return _judge_package(policy, Package(name, source, version))


def _judge_package(policy: Policy, asked: Package) -> Verdict:
    name = f"{asked.name}=={asked.version}" if asked.version else asked.name or "whose name cannot be read"
    return _judge(policy, "packages", asked, f"the package {name} from {asked.source}")


def judge_routine(policy: Policy, name: str) -> Verdict:
    return _judge(policy, "library", name, f"the routine {name}")


def _judge(policy: Policy, section: str, asked: object, spelt: str) -> Verdict:
    return Verdict.of(
        finding
        for layer in policy.layers(section)
        for finding in _heard(section, layer, asked, _bounded(spelt))
    )


def _heard(section: str, rules: Sequence[Rule], asked: object, spelt: str) -> Iterator[Finding]:
    matching = [rule for rule in rules if rule.matches(asked)]
    yield from (_found(section, rule, spelt) for rule in matching)
    if any(rule.decision is Decision.DENY or rule.grants(asked) for rule in matching):
        return
    yield Finding(
        decision=Decision.DENY,
        rule=section,
        reason=f"{spelt}: no rule allows it",
        instead=_allowed(section, rules),
    )


def _found(section: str, rule: Rule, spelt: str) -> Finding:
    return Finding(
        decision=rule.decision,
        rule=f"{section}: {rule.text}",
        reason=f"{spelt}: {rule.because or f'by the rule {rule.text!r}'}",
        instead=rule.instead if rule.decision is not Decision.ALLOW else "",
        place=rule.place,
    )


def _allowed(section: str, rules: Sequence[Rule]) -> str:
    """What a denial can offer: some of what the section allows."""
    lines = [line for rule in rules if rule.decision is Decision.ALLOW for line in rule.lines]
    if not lines:
        return f"do without: the policy allows nothing under {section}"
    more = f" and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
    return f"what is allowed is {'; '.join(lines[:_NAMED])}{more}"


def _unclear(section: str, why: str, instead: str) -> Verdict:
    return Verdict.of(
        (Finding(decision=Decision.DENY, rule=f"{section}.unclear", reason=why, instead=instead),)
    )


def _bounded(text: str) -> str:
    """One line, whatever is in it."""
    shown = text if text.isprintable() else ascii(text)[1:-1]
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN // 2]}...{shown[-_SHOWN // 2 :]}"
