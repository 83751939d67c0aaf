"""What people use today for the same work: a plain ipykernel through jupyter_client, and `docker run`."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jupyter_client import write_connection_file
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

PATIENCE = 60.0


class PlainKernel:
    """An ipykernel as others start it, driven by jupyter_client's own `execute_interactive`."""

    def __init__(self, client: BlockingKernelClient, pid: int, interrupt: Callable[[], None]) -> None:
        self._client, self.pid, self.interrupt = client, pid, interrupt

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
        yield PlainKernel(client, int(manager.provisioner.pid), manager.interrupt_kernel)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


@contextmanager
def plain_kernel_in(image: str, folder: Path) -> Iterator[PlainKernel]:
    """One in a container of `image`, which has the same Python and the same libraries as a session there."""
    folder.mkdir()
    _, told = write_connection_file(
        str(folder / "kernel.json"), transport="ipc", ip="/bench/kernel", key=b"bench"
    )
    command = ["python3", "-m", "ipykernel_launcher", "-f", "/bench/kernel.json"]
    started = ["--detach", "--rm", "--network", "none", "--volume", f"{folder}:/bench", image, *command]
    container = _docker("run", *started)
    client = BlockingKernelClient()
    client.load_connection_info({**told, "ip": str(folder / "kernel")})
    try:
        _await(folder / f"kernel-{told['hb_port']}")
        client.start_channels()
        client.wait_for_ready(timeout=PATIENCE)
        pid = int(_docker("inspect", "--format", "{{.State.Pid}}", container))
        yield PlainKernel(client, pid, lambda: os.kill(pid, signal.SIGINT))
    finally:
        client.stop_channels()
        _docker("rm", "--force", container)


def _await(socket: Path) -> None:
    """A client that connects sooner hears no heartbeat, and takes the kernel for dead."""
    deadline = time.monotonic() + PATIENCE
    while not socket.exists():
        if time.monotonic() > deadline:
            raise RuntimeError(f"no kernel came to {socket}")
        time.sleep(0.05)


def _docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], check=True, capture_output=True, text=True, timeout=PATIENCE)
    return done.stdout.strip()


def docker_run(image: str) -> float:
    """Seconds of a container's whole life that prints one number."""
    started = time.perf_counter()
    said = _docker("run", "--rm", image, "python3", "-c", "print(1)")
    took = time.perf_counter() - started
    check(said, "1")
    return took


def check(said: str, wanted: str) -> None:
    """A contender that does other work than the rest is no contender."""
    if said.strip() != wanted:
        raise RuntimeError(f"a contender answered {said[:200]!r} where {wanted!r} was due")
