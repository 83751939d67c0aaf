"""A person is asked about a tunnel as a whole, and then nobody looks into it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.egress.servers import Names, TestAuthority, serving

import mulligan
from mulligan.policies.asking import looks_inside
from mulligan.policies.loading import parse_policy

ASK = """
import urllib.error, urllib.request
def ask():
    try:
        return urllib.request.urlopen(URL).status
    except urllib.error.URLError as error:
        return str(error.reason)
"""


@pytest.mark.parametrize(
    ("rules", "inside"),
    [
        ("[{ask: CONNECT a.org}]", False),
        ("[{ask: CONNECT a.org}, {ask: CONNECT *.org}]", False),
        ("[{ask: CONNECT a.org}, {deny: POST a.org/**}]", True),
        ("[{ask: CONNECT a.org}, {ask: GET a.org/**}]", True),
        ("[{allow: CONNECT a.org}, {ask: GET a.org/**}]", True),
        ("[{ask: GET a.org/**}]", True),
    ],
)
def test_a_tunnel_that_is_asked_about_is_looked_into_where_a_rule_is_about_its_inside(
    rules: str, inside: bool
) -> None:
    assert looks_inside(parse_policy(f"network: {rules}"), "a.org", 443) is inside


def test_nothing_goes_through_a_tunnel_before_a_person_has_allowed_it(
    any_isolation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, asked, says = TestAuthority(tmp_path), [], ["once", "no"]
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.pem))
    monkeypatch.setattr("mulligan.sandbox.egress.dialing.resolve", Names(site_test=["127.0.0.1"]))

    async def approve(question: mulligan.Question) -> mulligan.Answer:
        asked.append((question.what, question.opens, question.scope, list(server.seen)))
        return mulligan.Answer(says.pop(0))  # type: ignore[arg-type]

    with serving(authority.context("site.test")) as server:
        end = f"CONNECT site.test:{server.port}"
        (tmp_path / "rules.yaml").write_text(f"network: [ask: '{end}']\n")
        with mulligan.open(
            policy=tmp_path / "rules.yaml", isolation=any_isolation, state=tmp_path / "state", approve=approve
        ) as session:
            first = session.run(f"URL = 'https://site.test:{server.port}/x'\n{ASK}\nprint(ask())")
            second = session.run("print(ask())")
    assert first.outcome.stdout == "200\n", first.outcome.text
    assert [each.reversibility for each in first.effects] == ["unknown"]
    assert "403" in second.outcome.stdout and "a person said no" in second.outcome.text
    assert [(what, opens, scope) for what, opens, scope, _ in asked] == [
        (f"CONNECT https://site.test:{server.port}", True, end)
    ] * 2
    assert asked[0][3] == [] and server.seen == ["GET /x"]
