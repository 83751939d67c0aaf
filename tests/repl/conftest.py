"""One REPL a module: starting one costs a second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.repl.terminal import Terminal


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "a.txt").write_text("one\n")
    return folder


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def opened(any_isolation: str, folder: Path, state: Path) -> Iterator[Terminal]:
    with Terminal(folder, state, "--isolation", any_isolation) as terminal:
        terminal.until("Ctrl-D leaves")
        terminal.prompt()
        yield terminal


@pytest.fixture
def repl(opened: Terminal) -> Terminal:
    """At an empty line, at the beginning of the timeline."""
    opened.send("\x03")
    opened.run(":goto 0")
    return opened
