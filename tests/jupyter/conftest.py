"""Real kernels by a real kernelspec, and a client that says what it heard."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from mulligan.runtime.cli import main

PATIENCE = 60


@dataclass
class Heard:
    """What came of one cell, in order."""

    reply: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def status(self) -> str:
        return str(self.reply["status"])

    @property
    def kinds(self) -> list[str]:
        return [message["msg_type"] for message in self.messages]

    def contents(self, kind: str) -> list[dict[str, Any]]:
        return [message["content"] for message in self.messages if message["msg_type"] == kind]

    @property
    def stdout(self) -> str:
        return "".join(each["text"] for each in self.contents("stream") if each["name"] == "stdout")

    @property
    def text(self) -> str:
        """What was displayed, as plain text."""
        shown = self.contents("display_data") + self.contents("execute_result")
        return "\n".join(each["data"]["text/plain"] for each in shown)

    @property
    def html(self) -> str:
        return "\n".join(each["data"].get("text/html", "") for each in self.contents("display_data"))


class Notebook:
    """A client with its kernel."""

    def __init__(self, manager: KernelManager) -> None:
        self.manager = manager
        self.client: BlockingKernelClient = manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE)

    def run(self, code: str, **options: Any) -> Heard:
        heard = Heard()
        reply = self.client.execute_interactive(
            code, output_hook=heard.messages.append, timeout=PATIENCE, **options
        )
        heard.reply = reply["content"]
        return heard

    def value(self, expression: str) -> str:
        heard = self.run(expression)
        assert heard.status == "ok", heard
        return heard.text


@pytest.fixture
def install(isolation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Writes a kernelspec for this isolation, as a user would, where only this test finds it; its name."""
    prefix = tmp_path / "prefix"
    monkeypatch.setenv("JUPYTER_PATH", str(prefix / "share" / "jupyter"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))

    def install_one(*options: str) -> str:
        state = ["--state", str(tmp_path / "state"), "--isolation", isolation]
        assert main(["kernelspec", "install", "--prefix", str(prefix), *state, *options]) == 0
        return "mulligan"

    return install_one


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "a.txt").write_text("one")
    return folder


@pytest.fixture
def start(install: Callable[..., str], folder: Path, tmp_path: Path) -> Iterator[Callable[..., Notebook]]:
    """Starts kernels in `folder`, and shuts them down."""
    started: list[Notebook] = []

    def start_one(*options: str, **arguments: Any) -> Notebook:
        manager = KernelManager(kernel_name=install(*options), **arguments)
        try:
            manager.start_kernel(cwd=str(folder))
        except BaseException:
            manager.context.destroy()
            raise
        started.append(Notebook(manager))
        return started[-1]

    yield start_one
    for notebook in started:
        notebook.client.stop_channels()
        if notebook.manager.has_kernel:
            notebook.manager.shutdown_kernel()
        notebook.manager.context.destroy()
    shutil.rmtree(tmp_path / "state", ignore_errors=True)


@pytest.fixture
def notebook(start: Callable[..., Notebook]) -> Notebook:
    return start()
