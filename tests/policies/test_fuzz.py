"""Whatever a policy file holds, loading it ends in a policy or in a PolicyError; and whatever is asked, nothing is
allowed that no rule allows, as told by a second judge that is slow, simple and shares no code with the first."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mulligan.policies.asking import judge_request, judge_tool
from mulligan.policies.decision import Decision
from mulligan.policies.document import read_document
from mulligan.policies.errors import PolicyError
from mulligan.policies.loading import find_policy, parse_policy, preset_names
from mulligan.policies.policy import Policy

# -- the loader ------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        *(
            "files",
            "network",
            "tools",
            "secrets",
            "resources",
            "budgets",
            "extends",
            "widenable",
            "on_violation",
        ),
        *(
            "allow",
            "deny",
            "ask",
            "hold",
            "because",
            "match",
            "not_match",
            "uses",
            "protect",
            "writable",
            "hidden",
        ),
        *(
            "per_action",
            "deletions",
            "memory",
            "4GiB",
            "GET a.org/**",
            "ANY */**",
            "locked",
            "analysis",
            "../x",
        ),
        *(
            "~",
            "true",
            "no",
            "-1",
            "1e999",
            "0x10",
            ".nan",
            "''",
            "[]",
            "{}",
            "*a",
            "&a x",
            "!!int 3",
            "<<",
            "2026-01-01",
        ),
    ]
)
PUNCTUATION = st.sampled_from(
    [":", ": ", "- ", "\n", "\n  ", "\n    ", "[", "]", "{", "}", ",", '"', "'", "#", "|", ">", "\t", "?"]
)
NEARLY_YAML = st.lists(st.one_of(WORDS, PUNCTUATION), max_size=40).map("".join)
VALUES = st.recursive(
    st.one_of(WORDS, st.integers().map(str), st.floats().map(str)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.dictionaries(WORDS, inner, max_size=3).map(
            lambda items: "{" + ", ".join(f"{key}: {value}" for key, value in items.items()) + "}"
        ),
    ),
    max_leaves=12,
)
SECTIONS = st.dictionaries(WORDS, VALUES, max_size=5).map(
    lambda items: "\n".join(f"{key}: {value}" for key, value in items.items())
)


@settings(max_examples=120, deadline=None)
@given(st.one_of(NEARLY_YAML, SECTIONS, st.text(max_size=200)))
@example("? ? ? x")
@example('a: "\\Uffffffff"')
@example("[" * 5000)
@example("{a: " * 5000)
@example("- " * 5000)
@example("%YAML 9.9\n--- x")
@example("a: \ud800")
@example("=: =")
@example("network: [{allow: [[GET a.org/**]]}]")
def test_no_text_breaks_the_loader(text: str) -> None:
    try:
        policy = parse_policy(text, origin="my.yaml", folder=Path("/nowhere"))
    except PolicyError as error:
        assert error.message
    else:
        assert isinstance(policy, Policy)


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_break_the_loader(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "policy.yaml")
        path.write_bytes(data)
        try:
            find_policy(path)
        except PolicyError as error:
            assert error.message


def test_the_loader_takes_no_long_time_over_the_largest_file() -> None:
    """Steps that grow by a higher power would take hours here; pytest's own limit would end them."""
    for text in (
        "[[" * 131_000,
        "a: [" + "x, " * 80_000 + "]",
        "a" * 262_000,
        "- a\n" * 65_000,
        "? " * 131_000,
    ):
        try:
            read_document(text, "my.yaml")
        except PolicyError as error:
            assert error.message


# -- the judge -------------------------------------------------------------------------------------------------

HOSTS = ("a.org", "b.a.org", "c.b.a.org", "b.org", "localhost", "x.local", "127.0.0.1", "10.0.0.1")
HOST_GLOBS = ("a.org", "b.a.org", "*.a.org", "*", "*.org", "localhost", "127.0.0.1")
SEGMENTS = ("a", "b", "ab", "admin", "Admin", "a;x=1")
PATH_GLOBS = st.lists(st.sampled_from(["**", "*", "a", "b", "a*", "*b", "admin"]), max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)
RULES = st.builds(
    lambda decision, methods, scheme, host, port, path: (decision, methods, scheme, host, port, path),
    st.sampled_from(["allow", "allow", "allow", "hold", "ask", "deny"]),
    st.sampled_from(["GET", "POST", "GET,POST", "ANY"]),
    st.sampled_from(["", "", "http://", "https://"]),
    st.sampled_from(HOST_GLOBS),
    st.sampled_from(["", "", ":8443", ":80,443", ":*"]),
    PATH_GLOBS,
)
Rules = list[tuple[str, str, str, str, str, str]]
PATHS = st.lists(
    st.sampled_from(
        [*SEGMENTS, "", ".", "..", "%61", "%2e%2e", "%2f", "%41dmin", "%25", "%00", "é", "a b", "*"]
    ),
    max_size=4,
).map(lambda parts: "/" + "/".join(parts))
SPELLINGS = st.sampled_from(
    [
        *HOSTS,
        *(host.upper() for host in HOSTS),
        *(f"{host}." for host in HOSTS),
        "127.1",
        "0x7f.0.0.1",
        "2130706433",
        "[::1]",
    ]
)


def naive_allows(rules: Rules, method: str, scheme: str, host: str, port: int, path: str) -> bool:
    """Whether some rule that allows says so of a request whose parts are read as plainly as can be."""
    host = host.lower().rstrip(".")
    path = re.sub("%([0-9A-Fa-f]{2})", lambda found: chr(int(found[1], 16)), path)
    return any(
        decision == "allow"
        and (methods == "ANY" or method in methods.split(","))
        and scheme == (rule_scheme.removesuffix("://") or "https")
        and naive_host(rule_host, host)
        and naive_port(rule_port, scheme, port)
        and re.fullmatch(naive_path(rule_path), path) is not None
        for decision, methods, rule_scheme, rule_host, rule_port, rule_path in rules
    )


def naive_host(glob: str, host: str) -> bool:
    if re.fullmatch(r"[\d.]+", host):
        return glob == host
    if glob == "*":
        return "." in host and not host.endswith(".local")
    return host.endswith(glob[1:]) if glob.startswith("*") else host == glob


def naive_port(ports: str, scheme: str, port: int) -> bool:
    if ports == "":
        return port == {"http": 80, "https": 443}[scheme]
    return ports == ":*" or str(port) in ports[1:].split(",")


def naive_path(glob: str) -> str:
    pattern = ""
    for segment in glob.split("/")[1:]:
        pattern += "(/[^/]*)*" if segment == "**" else "/" + re.escape(segment).replace(r"\*", "[^/]*")
    return pattern


def policy_of(rules: Rules) -> Policy:
    lines = [
        f"  - {decision}: '{methods} {scheme}{host}{port}{path}'"
        for decision, methods, scheme, host, port, path in rules
    ]
    return parse_policy("network:\n" + "\n".join(lines) if lines else "network: []")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(RULES, max_size=4),
    st.sampled_from(["GET", "POST", "get", "CONNECT", "HEAD", "G T"]),
    st.sampled_from(["http", "https", "HTTPS", "ftp", "wss"]),
    SPELLINGS,
    st.sampled_from([None, 80, 443, 8443, 0, 99999]),
    PATHS,
)
def test_nothing_is_allowed_that_no_rule_allows(
    rules: Rules, method: str, scheme: str, host: str, port: int | None, path: str
) -> None:
    verdict = judge_request(policy_of(rules), method, scheme, host, port, path)
    assert verdict.findings
    if verdict.decision is Decision.ALLOW:
        standard = 80 if scheme.lower() == "http" else 443
        assert naive_allows(rules, method, scheme.lower(), host, standard if port is None else port, path)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(RULES, max_size=4),
    st.sampled_from(["GET", "POST"]),
    st.sampled_from(["http", "https"]),
    st.sampled_from(HOSTS),
    st.lists(st.sampled_from(SEGMENTS), max_size=3).map(lambda parts: "/" + "/".join(parts)),
)
def test_what_a_rule_allows_and_no_rule_restricts_is_allowed(
    rules: Rules, method: str, scheme: str, host: str, path: str
) -> None:
    verdict = judge_request(policy_of(rules), method, scheme, host, None, path)
    if not any(rule[0] != "allow" for rule in rules):
        port = 80 if scheme == "http" else 443
        assert (verdict.decision is Decision.ALLOW) == naive_allows(rules, method, scheme, host, port, path)


@settings(max_examples=120, deadline=None)
@given(
    st.lists(RULES, max_size=4),
    st.sampled_from(["GET", "POST"]),
    st.sampled_from(HOSTS),
    st.lists(st.sampled_from(SEGMENTS), max_size=3).map(lambda parts: "/" + "/".join(parts)),
)
def test_one_more_rule_that_restricts_never_makes_a_decision_milder(
    rules: Rules, method: str, host: str, path: str
) -> None:
    wide = [("allow", "ANY", "", host, "", "/**"), *(rule for rule in rules if rule[0] == "allow")]
    before = judge_request(policy_of(wide), method, "https", host, None, path).decision
    after = judge_request(
        policy_of(wide + [rule for rule in rules if rule[0] != "allow"]), method, "https", host, None, path
    )
    assert before is Decision.ALLOW and after.decision >= before


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(preset_names()), st.text(max_size=40), st.text(max_size=40), st.text(max_size=60))
def test_no_request_breaks_the_judge_and_no_odd_one_is_allowed(
    preset: str, method: str, host: str, path: str
) -> None:
    verdict = judge_request(PRESETS[preset], method, "https", host, None, path)
    assert verdict.decision is Decision.DENY or method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    assert all(each.reason.isprintable() for each in verdict.findings)


PRESETS = {name: find_policy(name) for name in preset_names()}
ARGUMENTS = st.dictionaries(
    st.text(max_size=8),
    st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=8), st.lists, max_leaves=3),
)


@settings(max_examples=120, deadline=None)
@given(st.text(max_size=30), ARGUMENTS)
def test_no_call_breaks_the_judge(name: str, arguments: dict[str, object]) -> None:
    policy = parse_policy("tools: [{allow: 'search(q=*)'}, {deny: 'search(q=*secret*)'}]")
    verdict = judge_tool(policy, name, arguments)
    allowed = name == "search" and isinstance(arguments.get("q"), str | float | bool)
    assert (verdict.decision is Decision.DENY) or allowed


@pytest.mark.parametrize(
    "glob", ["GET */" + "*a" * 8, "GET a.org/**/a/**/a/**/a/**/a", "GET a.org/" + "**/" * 100]
)
def test_no_path_makes_a_match_take_long(glob: str) -> None:
    """Steps that grow by a higher power would take hours here; pytest's own limit would end them."""
    policy = parse_policy(f"network: [{{deny: '{glob}'}}]")
    for path in ("/" + "a" * 8000, "/a" * 4000):
        judge_request(policy, "GET", "https", "a.org", None, path)
