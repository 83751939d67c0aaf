"""A policy file is either understood completely or refused with the place and the likely remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from mulligan.policies.errors import PolicyError
from mulligan.policies.loading import load_policy, parse_policy
from mulligan.policies.policy import Policy, Resources


def test_an_empty_file_is_the_default_policy() -> None:
    assert parse_policy("") == Policy()


def test_values_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(
        '[resources]\nmemory = "1.5GiB"\ndisk = 1000\ncpus = 1\nwall = 2.5\n[actions]\nmax_source_bytes = "1 kB"\n'
    )
    policy = load_policy(path)
    assert policy.resources.memory == 3 << 29
    assert (policy.resources.disk, policy.resources.cpus, policy.resources.wall) == (1000, 1.0, 2.5)
    assert policy.actions.max_source_bytes == 1000
    assert policy.resources.pids == Resources().pids


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('[resources]\n\nmemmory = "1GiB"', "line 3: unknown key 'resources.memmory'", "resources.memory"),
        ("[resorces]\npids = 99", "line 1: unknown key 'resorces'", "resources"),
        ("memory = 1", "line 1: unknown key 'memory'", "resources.memory"),
        ("[resources]\nzzz = 1", "line 2: unknown key 'resources.zzz'", "known here: resources.memory"),
        ('[resources]\nmemory = "lots"', "line 2: resources.memory: 'lots' is not a size", ""),
        ("[resources]\nmemory = -1", "line 2: resources.memory", ""),
        ("[resources]\nmemory = true", "line 2: resources.memory", ""),
        ("[resources]\ncpus = inf", "line 2: resources.cpus", ""),
        ('[resources]\npids = "100"', "line 2: resources.pids", ""),
        ("[resources]\nwall = 0", "line 2: resources.wall", ""),
        ("[resources", "not TOML", ""),
    ],
)
def test_a_mistake_is_named_with_its_line_and_the_right_key(text: str, message: str, hint: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text, origin="my.toml")
    assert caught.value.message.startswith("my.toml")
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy("[resources]\nmemmory = 1\npidz = 2")
    assert len(caught.value.message.splitlines()) == 2


@pytest.mark.parametrize("content", [b"\n\xff", b"#" * ((1 << 20) + 1)])
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(content)
    with pytest.raises(PolicyError, match="policy"):
        load_policy(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"none\.toml: No such file"):
        load_policy(tmp_path / "none.toml")


def test_a_policy_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Policy().resources.memory = 1
