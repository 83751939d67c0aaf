"""Asking a policy in words: what is answered names the rule, where it stands, why, and what instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from mulligan.policies.decision import Decision
from mulligan.policies.errors import PolicyError
from mulligan.policies.explaining import explain
from mulligan.policies.loading import parse_policy

FILE = """\
extends: web-read
files:
  protect: ["data/raw/**"]
network:
  - allow: GET example.org/**
    because: prices are read there
    match: GET https://example.org/prices
  - deny: GET example.org/admin/**
    because: nobody needs the administration
    instead: read /prices
tools:
  - ask: send_invoice(to=*@example.org)
"""

POLICY = parse_policy(FILE, origin="p.yaml")


@pytest.mark.parametrize(
    ("question", "allowed", "said"),
    [
        ("GET https://example.org/prices", True, ["allow", "p.yaml:5", "prices are read there"]),
        (
            "GET https://example.org/admin/x",
            False,
            ["deny", "p.yaml:8", "nobody needs the administration", "read /prices", "p.yaml:5"],
        ),
        ("POST https://example.org/", False, ["no rule allows it", "what is allowed is"]),
        ("example.org", False, ["p.yaml:5", "p.yaml:8"]),
        ("localhost", False, ["no rule allows any request to it"]),
        (
            "https://example.org/prices",
            False,
            ["GET https://example.org/prices", "POST https://example.org/prices"],
        ),
        ("delete data/raw/a.csv", False, ["deny", "p.yaml:3", "'data/raw/**' is protected", "copy it"]),
        ("delete data/b.csv", True, ["allow", "'**' is writable"]),
        ("read data/raw/a.csv", True, ["may be read"]),
        ("read .env", False, ["'.env' is hidden", "analysis:5"]),
        ("tool send_invoice(to=a@example.org)", False, ["ask", "p.yaml:12"]),
        ("tool launch", False, ["deny", "no rule allows it"]),
        ("install numpy", True, ["allow", "analysis:17"]),
        ("install numpy from evil.example", False, ["deny"]),
        ("database read sales", False, ["deny", "do without"]),
        ("routine clean_sales", False, ["deny"]),
    ],
)
def test_an_answer_names_rule_place_reason_and_alternative(
    question: str, allowed: bool, said: list[str]
) -> None:
    answers = explain(POLICY, question)
    told = " ".join(
        f"{answer.asked} {each.decision} {each.place} {each.rule} {each.reason} {each.instead}"
        for answer in answers
        for each in answer.verdict.findings
    )
    assert [each for each in said if each not in told] == [], told
    assert all(answer.allowed for answer in answers) is allowed


@pytest.mark.parametrize(
    "question",
    [
        "",
        " ",
        "do something nice",
        "GET http://0x7f.1/",
        "get https://example.org/",
        "0x7f.1",
        "delete ../a",
        "delete /etc/passwd",
        "delete a//b",
        "tool *",
        "tool launch(to)",
        "install * from pypi",
        "database write sales",
        "routine *",
        "GET \x1b[2J",
        "read a\nb",
    ],
)
def test_what_is_no_question_is_told_what_one_looks_like(question: str) -> None:
    with pytest.raises(PolicyError) as caught:
        explain(POLICY, question)
    assert "write such as 'POST https://example.org/form'" in caught.value.hint


def test_a_host_may_be_reached_only_where_every_layer_grants_something(tmp_path: Path) -> None:
    (tmp_path / "outer.yaml").write_text("network: [{allow: GET a.example/**}, {deny: GET b.example/**}]\n")
    inner = parse_policy("extends: ./outer.yaml\nnetwork: [{ask: GET a.example/x}]\n", folder=tmp_path)
    (a,), (b,) = explain(inner, "a.example"), explain(inner, "b.example")
    assert a.depends and not a.allowed
    assert not b.depends and b.verdict.decision is Decision.DENY


def test_where_violations_are_reported_what_breaks_a_bound_is_kept_and_what_is_protected_is_not() -> None:
    files = "files: {writable: [out/**], read_only: [out/fixed], protect: [out/raw]}\n"
    strict, mild = parse_policy(files), parse_policy(files + "on_violation: report\n")
    for question, kept in (("write a", True), ("write out/fixed", True), ("write out/raw", False)):
        (answer,) = explain(strict, question)
        assert not answer.allowed
        (answer,) = explain(mild, question)
        assert answer.allowed is kept
        assert (
            any("it is kept, and the step says so" in each.reason for each in answer.verdict.findings) is kept
        )
