"""What docs/tools.md and docs/mcp.md show is run as it stands there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from mulligan.policies.examples import examples_of
from mulligan.policies.loading import parse_policy

DOCS = Path(__file__).parents[2] / "docs"
SHOP = Path(__file__).parent / "mcp_server.py"


def _blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("page", "least"), [("tools.md", 3), ("mcp.md", 1)])
def test_the_guide_runs(page: str, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    known: dict[str, object] = {"__name__": "guide", "PYTHON": sys.executable, "SHOP": str(SHOP)}
    blocks = _blocks(page, "python")
    assert len(blocks) >= least
    for block in blocks:
        exec(compile(block, page, "exec"), known)


def test_the_policies_of_the_guide_load_and_their_examples_hold() -> None:
    for text in _blocks("tools.md", "yaml"):
        parse_policy(text, origin="guide")
        assert all(example.holds for example in examples_of(text, "guide"))
