"""What a policy says about one thing, asked in words: for people who read a policy, not for enforcement. Pure.

POST https://example.org/form      a request
https://example.org/form           the same by every method
example.org                        a host: which rules are about it
delete data/raw/a.csv              a path: read, write, add, change or delete
tool send_invoice(to=a@b.org)      a tool's call
database read sales                a statement
install numpy from pypi            a package; without `from`, from pypi
routine clean_sales                a routine of the library
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from mulligan.policies.address import host_of, is_address
from mulligan.policies.asking import judge_asked, judge_database, judge_package, judge_routine, judge_tool
from mulligan.policies.decision import Decision, Finding, Verdict
from mulligan.policies.errors import PolicyError
from mulligan.policies.globs import host_matches
from mulligan.policies.paths import VERBS, judge_path
from mulligan.policies.patterns import CallPattern, NamePattern, PackagePattern, StatementPattern
from mulligan.policies.policy import Policy
from mulligan.policies.requests import METHODS, RequestPattern, parse_request
from mulligan.policies.rules import Rule

LOOKS = (
    "write such as 'POST https://example.org/form', 'example.org', 'delete data/raw/a.csv', "
    "'tool send_mail(to=a@example.org)', 'database read sales', 'install numpy' or 'routine clean_sales'"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """`asked` as it was understood. `depends` where what was asked is less than one request: some may be allowed."""

    section: str
    asked: str
    verdict: Verdict
    depends: bool = False

    @property
    def allowed(self) -> bool:
        return not self.depends and self.verdict.decision is Decision.ALLOW


def explain(policy: Policy, question: str) -> tuple[Answer, ...]:
    """One answer, or one a method for a URL without any. Raises PolicyError for what is no question."""
    try:
        return tuple(_answers(policy, question.strip()))
    except PolicyError:
        raise
    except ValueError as error:
        raise PolicyError(f"not a question: {error}", hint=LOOKS) from error


def _answers(policy: Policy, question: str) -> Iterator[Answer]:
    word, _, rest = question.partition(" ")
    rest = rest.strip()
    if not question or not question.isprintable():
        raise PolicyError("not a question: empty, or with characters that do not print", hint=LOOKS)
    if word in _ASKED and rest:
        yield _ASKED[word](policy, rest)
    elif word in VERBS and rest:
        yield Answer("files", f"{word} {rest}", judge_path(policy, word, rest))
    elif rest:
        yield _request(policy, question)
    elif "://" in word:
        yield from (_request(policy, f"{method} {word}") for method in METHODS if method != "CONNECT")
    else:
        yield _host(policy, host_of(word))


def _request(policy: Policy, text: str) -> Answer:
    asked = parse_request(text)
    return Answer("network", str(asked), judge_asked(policy, asked))


def _tool(policy: Policy, text: str) -> Answer:
    call = CallPattern.subject(_starless(text))
    return Answer("tools", f"tool {text}", judge_tool(policy, call.name, call.arguments))


def _statement(policy: Policy, text: str) -> Answer:
    asked = StatementPattern.subject(_starless(text))
    return Answer("databases", f"database {text}", judge_database(policy, asked.database, asked.kind))


def _package(policy: Policy, text: str) -> Answer:
    text = text if " from " in text else f"{text} from pypi"
    asked = PackagePattern.subject(_starless(text))
    return Answer(
        "packages", f"install {text}", judge_package(policy, asked.name, asked.source, asked.version)
    )


def _routine(policy: Policy, text: str) -> Answer:
    return Answer("library", f"routine {text}", judge_routine(policy, NamePattern.subject(_starless(text))))


_ASKED: dict[str, Callable[[Policy, str], Answer]] = {
    "tool": _tool,
    "database": _statement,
    "install": _package,
    "routine": _routine,
}


def _starless(text: str) -> str:
    if "*" in text:
        raise ValueError(f"{text!r} has a star, which stands in rules alone")
    return text


# -- a host alone ----------------------------------------------------------------------------------------------


def _host(policy: Policy, host: str) -> Answer:
    """Rules that are about some request to it. Without one that grants, in each layer, every request is denied."""
    layers = [[rule for rule in layer if _is_about(rule, host)] for layer in policy.layers("network")]
    found = [_of_rule(rule, host) for layer in layers for rule in layer]
    if all(any(rule.decision is not Decision.DENY for rule in layer) for layer in layers):
        return Answer("network", f"any request to {host}", Verdict.of(found), depends=True)
    nothing = Finding(
        decision=Decision.DENY,
        rule="network",
        reason=f"{host}: no rule allows any request to it",
        instead=_instead(policy.layers("network")),
    )
    return Answer("network", f"any request to {host}", Verdict.of((*found, nothing)))


def _is_about(rule: Rule, host: str) -> bool:
    address, strict = is_address(host), rule.decision is not Decision.ALLOW
    return any(
        isinstance(each, RequestPattern)
        and (host_matches(each.host, host, address=address) or (strict and each.host == "*"))
        for each in rule.patterns
    )


def _of_rule(rule: Rule, host: str) -> Finding:
    because = rule.because or f"by the rule {rule.text!r}"
    return Finding(
        decision=rule.decision,
        rule=f"network: {rule.text}",
        reason=f"{host}: {because}",
        instead=rule.instead if rule.decision is not Decision.ALLOW else "",
        place=rule.place,
    )


def _instead(layers: Sequence[Sequence[Rule]]) -> str:
    lines = [line for rule in layers[0] if rule.decision is Decision.ALLOW for line in rule.lines][:3]
    return f"what is allowed is {'; '.join(lines)}" if lines else "do without: the policy allows no request"
