"""One session a module and isolation, reset before each test that takes it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import mulligan
from mulligan import Session
from mulligan.runtime.diffs.parsing import Parsing


@pytest.fixture(scope="module")
def opened(isolation: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with mulligan.open(isolation=isolation, state=tmp_path_factory.mktemp("state")) as session:
        yield session


@pytest.fixture
def session(opened: Session) -> Session:
    opened.reset()
    return opened


@pytest.fixture(scope="module")
def parsing() -> Iterator[Parsing]:
    with Parsing() as parsing:
        yield parsing
