"""One session a module, and scripted servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import mulligan
from mulligan import Session
from mulligan.runtime.agent.served import Served

from .server import Say, Server

Answer = Say | str | Callable[[dict[str, Any]], str]


@pytest.fixture(scope="module")
def opened(any_isolation: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with mulligan.open(isolation=any_isolation, state=tmp_path_factory.mktemp("state")) as session:
        yield session


@pytest.fixture
def session(opened: Session) -> Session:
    opened.reset()
    return opened


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts a server that gives these answers."""
    with ExitStack() as stack:

        def start(*answers: Answer) -> Server:
            return stack.enter_context(Server(answers))

        yield start


def model(server: Server, **options: Any) -> Served:
    return Served("openai/scripted", api_base=server.base, sees=options.pop("sees", False), **options)
