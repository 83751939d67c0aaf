"""Every policy that docs/policies.md shows is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mulligan.policies.examples import examples_of
from mulligan.policies.loading import parse_policy

PAGE = Path(__file__).parents[2] / "docs" / "policies.md"
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)


def test_there_is_something_to_load() -> None:
    assert len(BLOCKS) >= 12


@pytest.mark.parametrize("text", BLOCKS, ids=lambda text: text.split("\n")[0])
def test_a_policy_of_the_guide_loads_and_its_examples_hold(text: str) -> None:
    parse_policy(text, origin="guide")
    assert all(example.holds for example in examples_of(text, "guide"))
