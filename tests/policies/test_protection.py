"""Which paths a glob protects, which globs are refused, and what is judged of a change."""

from __future__ import annotations

import pytest

from mulligan.policies.decision import Decision
from mulligan.policies.errors import PolicyError
from mulligan.policies.judge import Touched, judge_changes
from mulligan.policies.loading import parse_policy
from mulligan.policies.policy import Files
from mulligan.policies.protection import Protection


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("data/raw/**", b"data/raw/a.csv"),
        ("data/raw/**", b"data/raw/deep/in/it"),
        ("data/raw/**", b"data/raw"),
        ("data/raw", b"data/raw/a.csv"),
        ("*.csv", b"a.csv"),
        ("*.csv", b"data/raw/a.csv"),
        ("*.csv", b"a.csv/in a folder of that name"),
        ("*.csv", b"a\nb/c\nd.csv"),
        ("*.csv", b"\xff/\xfe.csv"),
        ("/notes.md", b"notes.md"),
        ("raw/", b"data/raw/a.csv"),
        ("**/raw/*.csv", b"data/raw/a.csv"),
        ("été", "été".encode()),
    ],
)
def test_it_protects(glob: str, path: bytes) -> None:
    assert Protection([glob]).glob_of(path) == glob


@pytest.mark.parametrize(
    ("glob", "path"),
    [
        ("data/raw/**", b"data"),
        ("data/raw/**", b"other/data/raw/a.csv"),
        ("*.csv", b"a.csv.txt"),
        ("/notes.md", b"inner/notes.md"),
        ("data/*.csv", b"data/raw/a.csv"),
        ("**", b""),
    ],
)
def test_it_does_not_protect(glob: str, path: bytes) -> None:
    assert Protection([glob]).glob_of(path) is None


@pytest.mark.parametrize(
    "glob",
    [
        "",
        "  ",
        "#note",
        "!data",
        "[",
        "[z-a]",
        "\\",
        "/",
        "//",
        "a//b",
        "../x",
        "a/./b",
        "/workspace/data",
        "~/x",
        "a\nb",
        "a\x1bb",
        "*a*b*",
        "**/a/**/b/**",
        "x" * 2000,
    ],
)
def test_a_glob_that_is_broken_or_protects_nothing_is_refused_with_a_hint(glob: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Protection([glob])
    assert caught.value.hint


@pytest.mark.parametrize("glob", ["*a*b", "**/a/**/*a*b"])
def test_no_name_makes_a_match_take_long(glob: str) -> None:
    """Steps that grow by a higher power would take hours here; pytest's own limit would end them."""
    for path in (b"a" * 255, b"a/" * 1000, (b"a" * 254 + b"/") * 16):
        Protection([glob]).glob_of(path)


def test_a_change_of_a_protected_path_is_denied_by_path_and_glob() -> None:
    verdict = judge_changes(Protection(["*.key"]), [Touched(b"a.txt", "added"), Touched(b"b.key", "removed")])
    assert verdict.decision is Decision.DENY
    assert [(each.rule, each.reason) for each in verdict.findings] == [
        ("protect", "'b.key' was removed, and '*.key' is protected")
    ]
    assert verdict.findings[0].instead


def test_changes_beside_it_are_allowed() -> None:
    assert judge_changes(Protection(["*.key"]), [Touched(b"a.txt", "added")]).decision is Decision.ALLOW


def test_what_could_not_be_looked_into_is_denied() -> None:
    assert judge_changes(Protection(["*.key"]), [], [b"deep"]).decision is Decision.DENY


def test_many_and_long_and_hostile_names_make_few_short_lines() -> None:
    touched = [Touched(b"\x1b[31m\n" * 100 + b"%d.key" % number, "added") for number in range(1000)]
    findings = judge_changes(Protection(["*.key"]), touched).findings
    assert len(findings) == 11 and "990 more" in findings[-1].reason
    assert all(len(each.reason) < 400 and each.reason.isprintable() for each in findings)


def test_a_policy_file_names_them() -> None:
    policy = parse_policy('files:\n  protect: ["data/raw/**", "*.key"]')
    assert policy.files == Files(protect=("data/raw/**", "*.key"))


def test_a_broken_glob_in_a_policy_file_is_said_with_its_line() -> None:
    with pytest.raises(PolicyError, match=r"rules\.yaml:2:13: the glob '!x'"):
        parse_policy('files:\n  protect: ["!x"]', origin="rules.yaml")
