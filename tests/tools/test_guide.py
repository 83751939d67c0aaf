"""What docs/tools.md shows is run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mulligan.policies.examples import examples_of
from mulligan.policies.loading import parse_policy

PAGE = (Path(__file__).parents[2] / "docs" / "tools.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    known: dict[str, object] = {"__name__": "guide"}
    blocks = _blocks("python")
    assert len(blocks) >= 2
    for block in blocks:
        exec(compile(block, "docs/tools.md", "exec"), known)


def test_the_policies_of_the_guide_load_and_their_examples_hold() -> None:
    for text in _blocks("yaml"):
        parse_policy(text, origin="guide")
        assert all(example.holds for example in examples_of(text, "guide"))
