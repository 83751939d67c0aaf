"""Risky actions are stopped, or confined and undone exactly, and the page says of each which."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.guarantees.confinement import Confinement, mechanisms, table
from tests.guarantees.risky_actions import RISKY

import mulligan

PAGE = Path(__file__).parents[2] / "docs" / "confinement.md"


@pytest.mark.timeout(400)  # seconds on a quiet machine; it may be a busy one
def test_each_is_stopped_or_undone_exactly(isolation: str, tmp_path: Path) -> None:
    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        assert list(Confinement(session).objections()) == []


def test_there_are_a_hundred_and_more_in_python_and_bash_and_no_two_are_the_same() -> None:
    assert len({risky.source for risky in RISKY}) == len({risky.name for risky in RISKY}) == len(RISKY) >= 100
    assert {risky.language for risky in RISKY} == {"Python", "bash"}


def test_the_tables_of_the_page_are_those_of_the_actions_and_of_the_attacks() -> None:
    assert "\n".join(table()) in PAGE.read_text()
    assert "\n".join(mechanisms()) in PAGE.read_text()
