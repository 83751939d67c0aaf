"""Which paths are left out: the globs are those of `protect`, and a slash at the end means folders."""

from __future__ import annotations

import pytest

from mulligan.policies.errors import PolicyError
from mulligan.policies.exclusion import NOTHING, Exclusion


@pytest.mark.parametrize(
    ("glob", "path", "folder", "out"),
    [
        ("build/", b"build", True, True),
        ("build/", b"build", False, False),
        ("build/", b"build/a", False, True),
        ("*.log", b"deep/in/a.log", False, True),
        ("/data", b"inner/data", True, False),
        ("data/raw/**", b"data/raw/\xff\n", False, True),
        ("data/raw/**", b"data", True, False),
    ],
)
def test_a_path_is_left_out_or_not(glob: str, path: bytes, folder: bool, out: bool) -> None:
    assert (Exclusion([glob]).glob_of(path, folder=folder) == glob) is out
    assert NOTHING.glob_of(path, folder=folder) is None


def test_a_broken_glob_is_refused_and_so_is_text_in_place_of_a_list() -> None:
    with pytest.raises(PolicyError, match="takes something out again"):
        Exclusion(["!keep"])
    with pytest.raises(PolicyError, match="a list of globs") as caught:
        Exclusion("*.log")
    assert "exclude=['*.log']" in caught.value.hint
