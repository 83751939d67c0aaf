"""What people use today for the same work: a plain ipykernel through jupyter_client, and `docker run`."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

PATIENCE = 60.0


class PlainKernel:
    """An ipykernel as jupyter_client starts it, driven by the client's own `execute_interactive`."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self._manager, self._client = manager, client

    @property
    def pid(self) -> int:
        return int(self._manager.provisioner.pid)

    def interrupt(self) -> None:
        self._manager.interrupt_kernel()

    def run(self, source: str, on_output: Callable[[], None] = lambda: None) -> str:
        """Run an action until its reply and its last output are in; what it printed or gave back."""
        said: list[str] = []

        def collect(message: dict[str, Any]) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                said.append(content["text"])
                on_output()
            elif message["msg_type"] == "execute_result":
                said.append(content["data"]["text/plain"])

        self._client.execute_interactive(source, output_hook=collect, allow_stdin=False, timeout=PATIENCE)
        return "".join(said)


@contextmanager
def plain_kernel(home: Path) -> Iterator[PlainKernel]:
    """Start one over ipc sockets, as ours are, which is a little quicker than its default of TCP. IPython's own
    files (its history, say) go to `home`."""
    manager = KernelManager()
    manager.transport = "ipc"
    manager.ip = str(home / "kernel")
    home.mkdir(exist_ok=True)
    manager.start_kernel(env={**os.environ, "IPYTHONDIR": str(home)})
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=PATIENCE)
        yield PlainKernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def docker_run(image: str) -> float:
    """Seconds of a container's whole life that prints one number."""
    started = time.perf_counter()
    done = subprocess.run(
        ["docker", "run", "--rm", image, "python3", "-c", "print(1)"],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    took = time.perf_counter() - started
    check(done.stdout, "1")
    return took


def check(said: str, wanted: str) -> None:
    """A contender that does other work than the rest is no contender."""
    if said.strip() != wanted:
        raise RuntimeError(f"a contender answered {said[:200]!r} where {wanted!r} was due")
