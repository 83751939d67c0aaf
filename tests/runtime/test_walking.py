"""One pass over a folder: each thing in it once, nothing outside, and no folder that is silently taken for empty."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mulligan.runtime.walking import DEEPEST, folders
from mulligan.sandbox.attributes import Names


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "c").mkdir()
    for name in ("a/1", "a/b/2", "c/3", os.fsdecode(b"4\n\xff")):
        (tmp_path / name).write_text(name, errors="surrogateescape")
    (tmp_path / "link").symlink_to("/etc")
    return tmp_path


def descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


def never(path: bytes, error: OSError) -> None:
    raise AssertionError(f"{path!r}: {error}")


def test_each_folder_comes_once_after_the_one_that_holds_it_and_is_entered_before_it_is_listed(
    top: Path,
) -> None:
    entered: list[bytes] = []
    held, found = descriptors(), {}
    at = os.open(top, os.O_RDONLY)
    for path, inside, names in folders(at, never, entering=lambda path, at: entered.append(path)):
        assert entered[-1] == path and os.path.samestat(os.fstat(inside), os.stat(top / os.fsdecode(path)))
        found[path] = {os.fsdecode(name) for name, _ in names}
    os.close(at)
    assert found.keys() == {b"", b"a", b"a/b", b"c"} and next(iter(found)) == b""
    assert list(found).index(b"a") < list(found).index(b"a/b")
    assert set.union(*found.values()) == {str(path.relative_to(top)) for path in top.rglob("*")}
    assert descriptors() == held


def test_a_pass_that_is_given_up_holds_nothing_open(top: Path) -> None:
    held, at = descriptors(), os.open(top, os.O_RDONLY)
    walking = folders(at, never)
    next(walking), next(walking)
    walking.close()
    os.close(at)
    assert descriptors() == held


def test_a_folder_that_becomes_a_link_or_is_too_deep_is_refused_and_not_followed(top: Path) -> None:
    (top / "outside").mkdir()
    (top / "outside" / "secret").touch()
    inner = top / "a"
    deep = inner / Path(*"n" * (DEEPEST + 1))
    deep.mkdir(parents=True)
    refused: dict[bytes, OSError] = {}
    at = os.open(inner, os.O_RDONLY)
    seen: set[bytes] = set()
    for path, _, names in folders(at, refused.__setitem__):
        seen |= {name for name, _ in names}
        if path == b"":
            (inner / "b" / "2").unlink()
            (inner / "b").rmdir()
            (inner / "b").symlink_to(top / "outside")
    os.close(at)
    assert isinstance(refused.pop(b"b"), NotADirectoryError) and b"b/secret" not in seen
    assert [path.count(b"/") for path in refused] == [DEEPEST]


@pytest.mark.parametrize("has_call", [True, False], ids=["by the kernel's call", "by way of /proc"])
def test_the_names_of_attributes_are_told_without_following_a_link(top: Path, has_call: bool) -> None:
    names = Names()
    names._has_call = names._has_call and has_call
    os.setxattr(top / "a" / "1", "user.one", b"1")
    (top / "there").symlink_to("a/1")
    for n in range(40):
        os.setxattr(top / "c" / "3", f"user.{'long' * 8}{n}", b"")
    at = os.open(top, os.O_RDONLY)
    try:
        assert names(at, b"a/1") == [b"user.one"]
        assert names(at, b"there") == names(at, b"link") == names(at, b"gone") == []
        assert len(names(at, b"c/3")) == 40  # more than the room that is made for them
    finally:
        os.close(at)
