"""A file that extends another can forbid more, and allow more only where the other says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mulligan.policies.asking import judge_asked
from mulligan.policies.decision import Decision
from mulligan.policies.errors import PolicyError
from mulligan.policies.loading import parse_policy
from mulligan.policies.policy import Policy
from mulligan.policies.requests import parse_request

Extend = Callable[..., Policy]

OUTER = """
files:
  writable: ["out/**"]
  protect: [a]
  per_action: {deletions: 10}
network:
  - allow: GET *.example.org/**
  - ask: POST api.example.org/**
resources: {memory: 1GiB, wall: 60}
budgets: {deletions: 100}
secrets: {TOKEN: environment:TOKEN}
on_violation: ask
"""


@pytest.fixture
def extend(tmp_path: Path) -> Extend:
    def extend(inner: str, outer: str = OUTER) -> Policy:
        (tmp_path / "outer.yaml").write_text(outer)
        return parse_policy("extends: outer.yaml\n" + inner, origin="inner.yaml", folder=tmp_path)

    return extend


def decided(policy: Policy, request: str) -> Decision:
    return judge_asked(policy, parse_request(request)).decision


def test_what_is_not_said_is_as_outside(extend: Extend) -> None:
    policy = extend("")
    assert policy.files.protect == ("a",) and policy.writable == (("out/**",),)
    assert policy.resources.memory == 1 << 30 and policy.on_violation == "ask"
    assert decided(policy, "GET https://www.example.org/") is Decision.ALLOW


def test_it_can_be_narrowed(extend: Extend) -> None:
    policy = extend("""
files: {protect: [b], writable: ["out/mine/**"], per_action: {deletions: 5, files: 3}}
network: [{allow: GET www.example.org/a/**}, {deny: POST api.example.org/x}]
resources: {memory: 512MiB}
on_violation: revert
""")
    assert policy.files.protect == ("a", "b")
    assert set(policy.writable) == {("out/mine/**",), ("out/**",)}
    assert (policy.files.per_action.deletions, policy.files.per_action.files) == (5, 3)
    assert (policy.resources.memory, policy.resources.wall) == (512 << 20, 60)
    assert policy.on_violation == "revert"
    assert decided(policy, "GET https://www.example.org/a/b") is Decision.ALLOW
    assert decided(policy, "GET https://www.example.org/b") is Decision.DENY
    assert decided(policy, "POST https://api.example.org/y") is Decision.DENY


@pytest.mark.parametrize(
    ("inner", "place"),
    [
        ("network: [{allow: GET example.com/**}]", "2:19"),
        ("network: [{allow: ANY www.example.org/**}]", "2:19"),
        ("network: [{allow: GET http://www.example.org/**}]", "2:19"),
        ("network: [{allow: GET www.example.org:8443/**}]", "2:19"),
        ("network: [{allow: POST api.example.org/**}]", "2:19"),
        ("network: [{allow: CONNECT www.example.org}]", "2:19"),
        ("network: [{allow: GET */**}]", "2:19"),
        ("network: [{allow: GET www.example.org/**, uses: [TOKEN]}]", "2:19"),
        ("network:\n  - allow: [GET www.example.org/**, GET example.com/**]", "3:37"),
        ("tools: [{allow: x}]", "2:17"),
        ("resources: {memory: 2GiB}", "2:21"),
        ("files: {per_action: {deletions: 11}}", "2:33"),
        ("budgets: {deletions: 101}", "2:22"),
        ("secrets: {OTHER: environment:OTHER}", "2:18"),
        ("secrets: {TOKEN: environment:PATH}", "2:18"),
        ("on_violation: report", "2:15"),
        ("widenable: [network]", "2:13"),
    ],
)
def test_what_would_be_wider_is_refused_at_its_place(extend: Extend, inner: str, place: str) -> None:
    with pytest.raises(PolicyError) as caught:
        extend(inner)
    assert caught.value.message.startswith(f"inner.yaml:{place}:") and caught.value.hint


def test_a_section_that_the_outer_file_calls_widenable_can_be_widened(extend: Extend) -> None:
    outer = OUTER + "widenable: [network, resources, files, on_violation]\n"
    policy = extend(
        "network: [{allow: GET example.com/**}]\nresources: {memory: 2GiB}\non_violation: report\n"
        "files: {writable: ['**']}\n",
        outer,
    )
    assert decided(policy, "GET https://example.com/") is Decision.ALLOW
    assert decided(policy, "GET https://www.example.org/") is Decision.ALLOW
    assert policy.resources.memory == 2 << 30 and policy.on_violation == "report"
    assert policy.files.protect == ("a",)  # what is protected can be added to, and not taken out
    with pytest.raises(PolicyError):
        extend("budgets: {deletions: 101}", outer)


def test_a_file_in_between_cannot_hand_on_more_than_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "org.yaml").write_text("network: [{allow: GET *.example.org/**}]\nwidenable: [tools]\n")
    (tmp_path / "team.yaml").write_text("extends: org.yaml\nnetwork: [{allow: GET www.example.org/**}]\n")
    with pytest.raises(PolicyError, match="more than"):
        parse_policy("extends: team.yaml\nnetwork: [{allow: GET x.example.org/**}]", folder=tmp_path)
    policy = parse_policy("extends: team.yaml\ntools: [{allow: x}]", folder=tmp_path)
    assert policy.tools and decided(policy, "GET https://x.example.org/") is Decision.DENY


def test_of_several_that_it_extends_all_must_allow(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "network: [{allow: GET */**}]\nresources: {wall: 10, memory: 1GiB}\nwidenable: [network, tools]\n"
        "on_violation: report\n"
    )
    (tmp_path / "b.yaml").write_text(
        "network: [{allow: ANY a.org/**}]\nresources: {wall: 20, memory: 512MiB}\nwidenable: [network]\n"
        "files: {writable: [x]}\n"
    )
    policy = parse_policy("extends: [a.yaml, b.yaml]\nnetwork: [{allow: GET c.org/**}]", folder=tmp_path)
    assert decided(policy, "GET https://a.org/") is Decision.ALLOW
    assert decided(policy, "GET https://b.org/") is decided(policy, "POST https://a.org/") is Decision.DENY
    assert decided(policy, "GET https://c.org/") is Decision.ALLOW
    assert (policy.resources.wall, policy.resources.memory) == (10, 512 << 20)
    assert policy.on_violation == "revert" and policy.writable == (("x",),)
    with pytest.raises(PolicyError):
        parse_policy("extends: [a.yaml, b.yaml]\ntools: [{allow: x}]", folder=tmp_path)
