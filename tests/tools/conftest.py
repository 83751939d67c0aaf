"""A session a module and isolation, with the tools that the module has under `TOOLS`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import mulligan
from mulligan import Session


@pytest.fixture(scope="module")
def opened(
    request: pytest.FixtureRequest, isolation: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Session]:
    state = tmp_path_factory.mktemp("state")
    with mulligan.open(isolation=isolation, state=state, tools=request.module.TOOLS) as session:
        yield session


@pytest.fixture
def session(opened: Session) -> Session:
    opened.reset()
    return opened


@pytest.fixture
def printed(session: Session) -> Callable[[str], Any]:
    """What an action prints, which must complete."""

    def run(source: str) -> str:
        outcome = session.run(source).outcome
        assert outcome.kind == "completed", outcome.error
        return outcome.output.stdout.rstrip("\n")

    return run
