"""A policy file is either understood completely or refused with the place and the likely remedy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from mulligan.policies.errors import PolicyError
from mulligan.policies.loading import find_policy, load_policy, parse_policy, preset_names
from mulligan.policies.policy import Files, PerAction, Policy, Resources


@pytest.mark.parametrize("text", ["", "# nothing but a remark\n", "---\n", "{}"])
def test_an_empty_file_is_the_default_policy(text: str) -> None:
    assert parse_policy(text) == Policy()


def test_values_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(
        "resources:\n  memory: 1.5GiB\n  disk: 1000\n  cpus: 1\n  wall: 2.5\nactions: {max_source_bytes: 1 kB}\n"
    )
    policy = load_policy(path)
    assert policy.resources.memory == 3 << 29
    assert (policy.resources.disk, policy.resources.cpus, policy.resources.wall) == (1000, 1.0, 2.5)
    assert policy.actions.max_source_bytes == 1000
    assert policy.resources.pids == Resources().pids


def test_words_stay_words_and_no_word_is_a_truth_value() -> None:
    policy = parse_policy("files: {protect: [no, on, 12:30, 0o17, 1e3], hidden: [yes]}")
    assert policy.files.protect == ("no", "on", "12:30", "0o17", "1e3")
    assert policy.files.hidden == ("yes",)


def test_every_section_is_read() -> None:
    policy = parse_policy("""
files:
  writable: ["out/**"]
  per_action: {bytes: 1 MB, files: 10, deletions: 0}
network:
  - allow: GET pypi.org/**
    because: packages
    uses: [TOKEN]
tools:
  - ask: [send_*, "delete(path=tmp/*)"]
databases:
  - allow: read sales
secrets: {TOKEN: environment:TOKEN}
packages:
  - allow: ANY from pypi
library:
  - allow: clean_*
on_violation: report
budgets: {messages: 3, deletions: 100, bytes_out: 50 MB}
widenable: [network]
""")
    assert policy.files == Files(
        writable=("out/**",), per_action=PerAction(bytes=10**6, files=10, deletions=0)
    )
    assert policy.network[0].text == "allow GET pypi.org/**" and policy.network[0].because == "packages"
    assert policy.tools[0].lines == ("send_*", "delete(path=tmp/*)")
    assert (policy.budgets.messages, policy.budgets.deletions, policy.budgets.bytes_out) == (
        3,
        100,
        50 * 10**6,
    )
    assert policy.on_violation == "report" and policy.widenable == ("network",)


def test_rules_and_keys_know_where_they_stand() -> None:
    policy = parse_policy(
        "files:\n  protect:\n    - a\n    - b\nnetwork:\n  - deny: GET a.org/**\n", origin="my.yaml"
    )
    assert policy.network[0].place == "my.yaml:6"
    assert policy.place("files", "protect", "b") == "my.yaml:4"
    assert policy.place("files", "hidden") == ""


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy("resources:\n  memmory: 1\n  pidz: 2\nnetwork:\n  - allow: GET x\n", origin="my.yaml")
    lines = caught.value.message.splitlines()
    assert [line.split(" ")[0] for line in lines] == ["my.yaml:2:3:", "my.yaml:3:3:", "my.yaml:5:12:"]
    assert "'resources.memory'" in lines[0] and "'resources.pids'" in lines[1] and "x/**" in lines[2]


def test_very_many_mistakes_are_counted() -> None:
    text = "resources:\n" + "".join(f"  wrong{number}: 1\n" for number in range(500))
    with pytest.raises(PolicyError) as caught:
        parse_policy(text)
    assert len(caught.value.message.splitlines()) == 21 and "480 more" in caught.value.message


@pytest.mark.parametrize("content", [b"\n\xff", b"#" * ((1 << 18) + 1), b"\x00"])
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "policy.yaml"
    path.write_bytes(content)
    with pytest.raises(PolicyError, match="policy"):
        load_policy(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"none\.yaml: No such file"):
        load_policy(tmp_path / "none.yaml")


def test_aliases_that_unfold_to_gigabytes_are_refused() -> None:
    text = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    text += "".join(
        f"{name}: &{name} [{', '.join(['*' + above] * 9)}]\n"
        for above, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(PolicyError, match="an anchor, &a"):
        parse_policy(text)


def test_a_policy_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Policy().resources.memory = 1


# -- what a file extends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", preset_names())
def test_each_preset_is_a_policy(name: str) -> None:
    assert find_policy(name).resources.memory


def test_the_presets_are_those_that_are_promised() -> None:
    assert set(preset_names()) == {"locked", "analysis", "coding", "web-read", "open"}


def test_a_file_may_extend_a_preset_and_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "org.yaml").write_text("files: {protect: [a]}\nresources: {memory: 1GiB}\n")
    (tmp_path / "mine.yaml").write_text("extends: [analysis, org.yaml]\nfiles: {protect: [b]}\n")
    before = os.getcwd()
    policy = find_policy(tmp_path / "mine.yaml")
    assert os.getcwd() == before
    assert {"a", "b", ".git/config"} <= set(policy.files.protect)
    assert policy.resources.memory == 1 << 30
    assert policy.widenable == ()  # org.yaml lets nothing be widened
    assert policy.place("files", "protect", "a").endswith("org.yaml:1")


def test_a_circle_of_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(PolicyError, match=r"without end: a\.yaml → b\.yaml → a\.yaml"):
        find_policy(tmp_path / "a.yaml")


def test_a_mistake_in_what_is_extended_is_named_there(tmp_path: Path) -> None:
    (tmp_path / "org.yaml").write_text("filez: {}\n")
    (tmp_path / "mine.yaml").write_text("extends: org.yaml\n")
    with pytest.raises(PolicyError, match=r"org\.yaml:1:1: unknown key 'filez'"):
        find_policy(tmp_path / "mine.yaml")


def test_a_name_that_is_nearly_a_preset_is_told_so() -> None:
    with pytest.raises(PolicyError) as caught:
        find_policy("analisys")
    assert "'analysis'" in caught.value.hint and "locked" in caught.value.hint
