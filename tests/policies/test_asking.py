"""What a policy says of a request, a call, a statement, a package and a routine."""

from __future__ import annotations

import pytest

from mulligan.policies.asking import (
    judge_asked,
    judge_database,
    judge_package,
    judge_request,
    judge_routine,
    judge_tool,
    looks_inside,
    names_host,
)
from mulligan.policies.decision import Decision, Verdict
from mulligan.policies.loading import find_policy, parse_policy
from mulligan.policies.policy import Policy
from mulligan.policies.requests import parse_request

POLICY = parse_policy(
    """
network:
  - allow: GET pypi.org/simple/**
    because: packages are looked up there
  - allow: [GET */**, GET http://*/**]
  - allow: ANY http://127.0.0.1:8000,8001/**
  - allow: GET *.example.org:*/data/*.csv
  - ask: POST api.example.com/v1/*
  - deny: ANY *.evil.org/admin/**
    instead: call someone
  - allow: CONNECT git.example.net
  - allow: [CONNECT a.evil.org, CONNECT api.example.com]
tools:
  - allow: search_*
  - allow: send(to=*@example.org)
  - hold: send(to=*@example.com)
  - deny: send(to=boss@*)
databases:
  - allow: read *
  - ask: write sales
packages:
  - allow: ANY from pypi
  - deny: left-pad from ANY
library:
  - allow: clean_*
""",
    origin="my.yaml",
)


def asked(text: str, policy: Policy = POLICY) -> Verdict:
    """The verdict on `METHOD scheme://host:port/path`, taken apart and not made any clearer."""
    method, _, url = text.partition(" ")
    scheme, mark, rest = url.rpartition("://")
    authority, slash, path = rest.partition("/")
    host, port = authority, ""
    if not authority.endswith("]"):
        host, _, port = authority.rpartition(":") if ":" in authority else (authority, "", "")
    return judge_request(
        policy, method, scheme if mark else "https", host, int(port) if port else None, slash + path
    )


@pytest.mark.parametrize(
    "request_",
    [
        "GET https://pypi.org/simple/pandas/",
        "GET https://pypi.org/simple",
        "GET https://PyPI.ORG./simple/",
        "GET https://pypi.org:443/simple/",
        "GET https://pypi.org/%73imple/",
        "GET https://example.com/a?b=../..",
        "GET http://example.com/",
        "POST http://127.0.0.1:8001/x",
        "GET https://a.b.example.org:9000/data/x.csv",
        "GET https://bücher.example/",
    ],
)
def test_what_a_rule_says_may_be_done_is_allowed(request_: str) -> None:
    assert asked(request_).decision is Decision.ALLOW, asked(request_)


@pytest.mark.parametrize(
    "request_",
    [
        "POST https://pypi.org/simple/",
        "get https://pypi.org/simple/",
        "GET ftp://pypi.org/simple/",
        "GET https://pypi.org:8443/simple/",
        "GET https://localhost/",
        "GET https://printer.local/",
        "GET https://metadata.google.internal/",
        "GET https://127.0.0.1/",
        "GET https://127.1/",
        "GET https://2130706433/",
        "GET https://0x7f000001/",
        "GET https://0177.0.0.1/",
        "GET https://169.254.169.254/latest/",
        "GET https://[::1]/",
        "GET https://[::ffff:127.0.0.1]/",
        "GET https://[fe80::1%25eth0]/",
        "GET https://①②⑦.0.0.1/",
        "GET https://a..example.com/",
        "GET https://user@example.com/",
        "GET https://exa mple.com/",
        "GET https:///",
        "POST http://127.0.0.1:8002/x",
        "POST http://127.0.0.2:8001/x",
        "GET https://example.com/a/../b",
        "GET https://example.com/a/%2e%2e/b",
        "GET https://example.com/a/.%2e;x/b",
        "GET https://example.com/a%2fb",
        "GET https://example.com/a%5cb",
        "GET https://example.com/a\\b",
        "GET https://example.com//a",
        "GET https://example.com/%2561",
        "GET https://example.com/%",
        "GET https://example.com/%00",
        "GET https://example.com/%ff",
        "GET https://example.com/a b",
        "GET https://example.com/é",
        "GET https://example.com",
        "CONNECT git.example.net",
    ],
)
def test_what_no_rule_allows_or_nobody_can_read_one_way_is_denied(request_: str) -> None:
    verdict = asked(request_)
    assert verdict.decision is Decision.DENY and verdict.findings
    assert all(each.reason.isprintable() for each in verdict.findings)


@pytest.mark.parametrize("path", ["/admin", "/admin/", "/ADMIN/x", "/admin;a=b/x", "/adm%69n/x", "/Admin;"])
def test_what_is_denied_stays_so_in_other_spellings(path: str) -> None:
    for scheme in ("https", "http"):
        verdict = asked(f"GET {scheme}://www.evil.org{path}")
        assert verdict.decision is Decision.DENY
        assert verdict.deciding[0].rule == "network: deny ANY *.evil.org/admin/**"
        assert (verdict.deciding[0].place, verdict.deciding[0].instead) == ("my.yaml:9", "call someone")


def test_the_strictest_decides_and_every_rule_that_matches_is_heard() -> None:
    verdict = asked("POST https://api.example.com/v1/x")
    assert (verdict.decision, [each.place for each in verdict.findings]) == (Decision.ASK, ["my.yaml:8"])
    verdict = asked("GET https://www.evil.org/admin/x")
    assert [each.decision for each in verdict.findings] == [Decision.ALLOW, Decision.DENY]


def test_a_rule_that_asks_grants_no_more_than_it_says() -> None:
    assert asked("POST http://api.example.com/v1/x").decision is Decision.DENY
    assert asked("POST https://api.example.com/V1/x").decision is Decision.DENY


def test_a_denial_says_what_is_allowed() -> None:
    (finding,) = asked("DELETE https://pypi.org/simple/").findings
    assert finding.reason == "DELETE https://pypi.org/simple/: no rule allows it"
    assert "GET pypi.org/simple/**" in finding.instead


def test_a_tunnel_is_carried_only_where_no_rule_is_about_what_is_in_it() -> None:
    assert judge_request(POLICY, "CONNECT", "", "git.example.net", 443, "").decision is Decision.ALLOW
    assert not looks_inside(POLICY, "git.example.net", 443)
    for host, port in (
        ("git.example.net", 22),
        ("a.evil.org", 443),
        ("api.example.com", 443),
        ("pypi.org", 443),
    ):
        assert judge_request(POLICY, "CONNECT", "", host, port, "").decision > Decision.ALLOW
        assert looks_inside(POLICY, host, port)


def test_only_a_host_that_is_spelt_out_may_be_private() -> None:
    assert names_host(POLICY, parse_request("GET http://127.0.0.1:8000/x"))
    assert names_host(POLICY, parse_request("GET https://pypi.org/simple/"))
    assert not names_host(POLICY, parse_request("GET https://pypi.org/other/"))
    assert not names_host(POLICY, parse_request("GET https://example.com/"))


@pytest.mark.parametrize(
    ("name", "arguments", "decision"),
    [
        ("search_docs", {"anything": [1, {}]}, Decision.ALLOW),
        ("research_docs", {}, Decision.DENY),
        ("send", {"to": "a@example.org", "text": "x"}, Decision.ALLOW),
        ("send", {"to": "a@example.com"}, Decision.HOLD),
        ("send", {"to": "a@example.org.evil.net"}, Decision.DENY),
        ("send", {"to": "boss@example.org"}, Decision.DENY),
        ("send", {"to": "BOSS@example.org"}, Decision.DENY),
        ("send", {"to": ["a@example.org"]}, Decision.DENY),
        ("send", {"to": None}, Decision.DENY),
        ("send", {}, Decision.DENY),
        ("SEND", {"to": "a@example.org"}, Decision.DENY),
    ],
)
def test_calls_are_judged_by_name_and_arguments(
    name: str, arguments: dict[str, object], decision: Decision
) -> None:
    assert judge_tool(POLICY, name, arguments).decision is decision


@pytest.mark.parametrize(
    ("kind", "name", "decision"),
    [
        ("read", "sales", Decision.ALLOW),
        ("read", "people", Decision.ALLOW),
        ("update", "sales", Decision.ASK),
        ("update", "people", Decision.DENY),
        ("define", "sales", Decision.DENY),
        ("drop", "sales", Decision.DENY),
    ],
)
def test_statements_are_judged_by_kind_and_database(kind: str, name: str, decision: Decision) -> None:
    assert judge_database(POLICY, name, kind).decision is decision


@pytest.mark.parametrize(
    ("name", "source", "decision"),
    [
        ("Pandas", "pypi", Decision.ALLOW),
        ("pandas", "evil.example", Decision.DENY),
        ("Left_Pad", "pypi", Decision.DENY),
        ("left.pad", "PyPI", Decision.DENY),
    ],
)
def test_packages_are_judged_by_name_and_source(name: str, source: str, decision: Decision) -> None:
    assert judge_package(POLICY, name, source).decision is decision


def test_routines_are_judged_by_name() -> None:
    assert judge_routine(POLICY, "clean_sales").decision is Decision.ALLOW
    assert judge_routine(POLICY, "delete_sales").decision is Decision.DENY


def test_the_default_policy_allows_nothing_of_it() -> None:
    nothing = Policy()
    for verdict in (
        judge_asked(nothing, parse_request("GET https://example.org/")),
        judge_tool(nothing, "x", {}),
        judge_database(nothing, "x", "read"),
        judge_package(nothing, "x", "pypi"),
        judge_routine(nothing, "x"),
    ):
        assert verdict.decision is Decision.DENY
        assert verdict.findings[0].reason and verdict.findings[0].instead


def test_what_is_asked_cannot_forge_a_line_of_a_reason() -> None:
    verdict = judge_tool(POLICY, "x\x1b[31m\n" * 1000, {})
    assert all(each.reason.isprintable() and len(each.reason) < 400 for each in verdict.findings)


@pytest.mark.parametrize(
    ("preset", "request_", "decision"),
    [
        ("locked", "GET https://pypi.org/simple/x/", Decision.DENY),
        ("analysis", "GET https://pypi.org/simple/x/", Decision.ALLOW),
        ("analysis", "GET https://example.org/", Decision.DENY),
        ("coding", "GET https://github.com/a/b/info/refs", Decision.ALLOW),
        ("coding", "POST https://github.com/a/b.git/git-upload-pack", Decision.ALLOW),
        ("coding", "POST https://github.com/a/b.git/git-receive-pack", Decision.DENY),
        ("web-read", "GET https://example.org/", Decision.ALLOW),
        ("web-read", "POST https://example.org/", Decision.DENY),
        ("open", "GET https://example.org/", Decision.ALLOW),
        ("open", "POST https://example.org/", Decision.ASK),
        ("open", "POST https://localhost/", Decision.DENY),
    ],
)
def test_the_presets_mean_what_they_say(preset: str, request_: str, decision: Decision) -> None:
    assert asked(request_, find_policy(preset)).decision is decision
