"""An answer for good is one line more in the policy's file. What stood there stays; what cannot be is not written."""

from __future__ import annotations

from pathlib import Path

import pytest

from mulligan.policies.errors import PolicyError
from mulligan.policies.loading import load_policy
from mulligan.policies.policy import Policy
from mulligan.runtime.standing import Standing

LINE = "POST example.org/**"
RULE = "network: [{ask: POST example.org/**}]\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (RULE, f'{RULE}approvals:\n  always:\n    - "{LINE}"\n'),
        (RULE.rstrip("\n"), f'{RULE}approvals:\n  always:\n    - "{LINE}"\n'),
        (
            f"approvals:  # mine\n    timeout: 5\n{RULE}",
            f'approvals:  # mine\n    always:\n      - "{LINE}"\n    timeout: 5\n{RULE}',
        ),
        (
            f"approvals:\n  always:\n  - GET a.org/  # one\n  # and\n  timeout: 5\n{RULE}",
            f'approvals:\n  always:\n  - GET a.org/  # one\n  - "{LINE}"\n  # and\n  timeout: 5\n{RULE}',
        ),
        (f'{RULE}approvals: {{always: "{LINE}"}}\n', None),
        (f"{RULE}approvals:\n  always:\n    - {LINE}\n", f"{RULE}approvals:\n  always:\n    - {LINE}\n"),
    ],
)
def test_a_line_is_put_in_and_the_rest_stays(tmp_path: Path, before: str, after: str | None) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(before)
    file.chmod(0o640)
    standing = Standing.of(file)
    assert standing is not None
    if after is None:
        with pytest.raises(PolicyError):
            standing.write(LINE)
    else:
        assert standing.would_take(LINE)
        standing.write(LINE)
        assert load_policy(file).approvals.always[-1] == LINE
    assert file.read_text() == (before if after is None else after)
    assert file.stat().st_mode & 0o777 == 0o640 and [each.name for each in tmp_path.iterdir()] == [
        "policy.yaml"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "approvals: {timeout: 5}\n",
        f"{RULE}approvals: {{}}\n",
        f"{RULE}approvals:\n",
        "approvals:\u2028  always:\u2028    - GET a.org/\u2028",
        "approvals: {always: [GET a.org/]}\n",
        "extends: outer.yaml\n",
        "resources: {memory: -1}\n",
        "approvals:\n  always: [\n    GET a.org/]\n",
    ],
    ids=[
        "one line",
        "nothing in it",
        "nothing after it",
        "other ends of lines",
        "a list in one line",
        "an outer file that does not let it",
        "a broken file",
        "an odd list",
    ],
)
def test_where_it_cannot_be_put_in_it_is_not_offered_and_the_file_stays(tmp_path: Path, text: str) -> None:
    (tmp_path / "outer.yaml").write_text(f"{RULE}widenable: [network]\n")
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    standing = Standing(file)
    assert not standing.would_take(LINE)
    with pytest.raises(PolicyError):
        standing.write(LINE)
    assert file.read_text() == text


def test_a_link_to_the_file_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text(RULE)
    (tmp_path / "link.yaml").symlink_to("real.yaml")
    Standing(tmp_path / "link.yaml").write(LINE)
    assert (tmp_path / "link.yaml").is_symlink() and load_policy(tmp_path / "real.yaml").approvals.always == (
        LINE,
    )


def test_a_policy_that_is_no_file_of_the_users_has_nowhere_to_write() -> None:
    assert [Standing.of(each) for each in (None, Policy(), "analysis")] == [None] * 3
