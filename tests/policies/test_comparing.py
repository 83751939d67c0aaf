"""What one policy lets be done and another does not: what is said to differ was judged, what is unknown is told."""

from __future__ import annotations

import pytest

from mulligan.policies.comparing import compare
from mulligan.policies.loading import find_policy, parse_policy, preset_names
from mulligan.policies.policy import Policy


@pytest.mark.parametrize(
    ("a", "b", "more"),
    [
        (
            "network: []",
            "network: [{allow: GET a.org/**}]",
            ["network: GET https://a.org/some-name: allow instead"],
        ),
        ("network: [{ask: GET a.org/**}]", "network: [{allow: GET a.org/**}]", ["allow instead of ask"]),
        (
            "network: [{allow: GET a.org/**}, {deny: GET a.org/x/*}]",
            "network: [{allow: GET a.org/**}]",
            ["GET https://a.org/x/some-name: allow instead of deny"],
        ),
        (
            "tools: []",
            "tools: [{ask: send(to=*@a.org)}]",
            ["tools: send(to=some-name@a.org): ask instead of deny"],
        ),
        ("databases: [{allow: read s}]", "databases: [{allow: write s}]", ["databases: delete s: allow"]),
        ("packages: []", "packages: [{allow: ANY from pypi}]", ["packages: some-name from pypi: allow"]),
        ("library: []", "library: [{allow: clean_*}]", ["library: clean_some-name: allow"]),
        ("files: {protect: [data/**]}", "files: {}", ["files: change data/some-name: allow instead of deny"]),
        ("files: {hidden: ['*.pem']}", "files: {}", ["files: read some-name.pem: allow instead of deny"]),
        ("files: {writable: []}", "files: {writable: [out/**]}", ["files: change out/some-name: allow"]),
        ("resources: {wall: 10}", "resources: {wall: 20}", ["resources.wall: 20.0 instead of 10.0"]),
        ("budgets: {deletions: 3}", "budgets: {}", ["budgets.deletions: no limit instead of 3"]),
        ("on_violation: revert", "on_violation: report", ["on_violation: report instead of revert"]),
        ("secrets: {}", "secrets: {K: 'environment:K'}", ["secrets: K from environment:K"]),
        ("widenable: []", "widenable: [tools]", ["widenable: tools"]),
    ],
)
def test_what_is_wider_is_found_and_is_narrower_the_other_way_round(a: str, b: str, more: list[str]) -> None:
    there, back = compare(parse_policy(a), parse_policy(b)), compare(parse_policy(b), parse_policy(a))
    assert [each for each in more if not any(each in said for said in there.more)] == [], there
    assert there.more == back.less and there.less == back.more
    if "databases" not in a:
        assert there.less == ()


@pytest.mark.parametrize("name", preset_names())
def test_a_policy_differs_from_itself_in_nothing(name: str) -> None:
    found = compare(find_policy(name), find_policy(name))
    assert (found.more, found.less, found.undecided) == ((), (), ())


def test_globs_that_nothing_tells_apart_are_undecided() -> None:
    one, other = (parse_policy(f"files: {{protect: ['{glob}']}}") for glob in ("[ab].csv", "[a-b].csv"))
    found = compare(one, other)
    assert not found.more and not found.less
    assert found.undecided == ("files: whether some path beyond those that were tried is judged differently",)


def test_a_grant_that_another_policy_has_in_pieces_is_undecided_and_not_a_difference() -> None:
    pieces = parse_policy("network: [{allow: 'GET a.org/**'}, {allow: 'POST a.org/**'}]")
    whole = parse_policy("network: [{allow: 'GET,POST a.org/**'}]")
    found = compare(pieces, whole)
    assert (found.more, found.less) == ((), ())
    assert found.undecided == ("network: allow GET,POST a.org/**, of the second (policy:1)",)


def test_the_default_policy_is_compared_as_well() -> None:
    assert any("allow instead of deny" in each for each in compare(find_policy("locked"), Policy()).more)
