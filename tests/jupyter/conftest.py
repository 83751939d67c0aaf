"""Real kernels by a real kernelspec, and a client that says what it heard.

`notebook` is one kernel for all tests of a module that take it: each finds it at step 0. `start` starts one more.
"""

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
HERE = Path(__file__).parent
#: how a sandbox is confined matters little to what these show: in Docker they are soaks, but where it is all there is
ONCE = {"test_programs.py", "test_console.py", "test_gateway.py", "test_rich.py", "test_other_kernels.py"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mine = [each for each in items if each.path.parent == HERE and each.path.name in ONCE]
    if any("[bubblewrap" in each.name for each in mine):
        for item in mine:
            if "[docker" in item.name:
                item.add_marker(pytest.mark.soak)


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

    def at_the_beginning(self) -> Notebook:
        """Its state is that of step 0, and nothing is left to be read that was said before."""
        assert self.run("%goto 0").status == "ok"
        client = self.client
        for channel in (client.shell_channel, client.iopub_channel, client.control_channel):
            while channel.msg_ready():
                channel.get_msg(timeout=PATIENCE)
        return self

    def close(self) -> None:
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel()
        self.manager.context.destroy()


class Place:
    """Folders of a user's, in which Jupyter finds kernelspecs and this test alone does."""

    def __init__(self, root: Path, isolation: str) -> None:
        self.root, self.isolation = root, isolation
        self.prefix, self.state, self.folder = root / "prefix", root / "state", root / "work"
        self.folder.mkdir()
        (self.folder / "a.txt").write_text("one")

    def enter(self, patch: pytest.MonkeyPatch) -> None:
        patch.setenv("JUPYTER_PATH", str(self.prefix / "share" / "jupyter"))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(self.root / "runtime"))
        patch.setenv("JUPYTER_CONFIG_DIR", str(self.root / "config"))
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")  # what jupyter_core would warn about
        patch.setenv("IPYTHONDIR", str(self.root / "ipython"))

    def install(self, *options: str) -> str:
        """Writes a kernelspec for this isolation, as a user would; its name."""
        words = ["--prefix", str(self.prefix), "--state", str(self.state), "--isolation", self.isolation]
        assert main(["kernelspec", "install", "--name", "mulligan", *words, *options]) == 0
        return "mulligan"

    def start(self, *options: str, **arguments: Any) -> Notebook:
        """A kernel in `folder`."""
        manager = KernelManager(kernel_name=self.install(*options), **arguments)
        try:
            manager.start_kernel(cwd=str(self.folder))
        except BaseException:
            manager.context.destroy()
            raise
        return Notebook(manager)

    def sessions(self) -> list[Path]:
        """The sessions whose files are there."""
        return sorted(each.parent for each in self.state.glob("sessions/*/files"))


@pytest.fixture(scope="module")
def options() -> list[str]:
    """Of the kernel that a module shares."""
    return []


@pytest.fixture(scope="module")
def kept(
    isolation: str, options: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Place, Notebook]]:
    place = Place(tmp_path_factory.mktemp("kept"), isolation)
    with pytest.MonkeyPatch.context() as patch:
        place.enter(patch)
        notebook = place.start(*options)
        yield place, notebook
        notebook.close()
    shutil.rmtree(place.state, ignore_errors=True)


@pytest.fixture
def notebook(kept: tuple[Place, Notebook]) -> Notebook:
    return kept[1].at_the_beginning()


@pytest.fixture
def kept_folder(kept: tuple[Place, Notebook]) -> Path:
    """The user's own, of which `notebook` has a copy."""
    return kept[0].folder


@pytest.fixture
def place(isolation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    place = Place(tmp_path, isolation)
    place.enter(monkeypatch)
    yield place
    shutil.rmtree(place.state, ignore_errors=True)


@pytest.fixture
def start(place: Place) -> Iterator[Callable[..., Notebook]]:
    """Starts kernels of this test's own, and shuts them down."""
    started: list[Notebook] = []

    def start_one(*options: str, **arguments: Any) -> Notebook:
        started.append(place.start(*options, **arguments))
        return started[-1]

    yield start_one
    for notebook in started:
        notebook.close()
