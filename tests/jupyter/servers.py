"""Jupyter's own servers on loopback, and a client that speaks their REST and websockets as a browser does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry
from websocket import WebSocket, create_connection

PATIENCE = 60
TOKEN = "of-this-test"
HEADERS = {"Authorization": f"token {TOKEN}"}
SERVER = ["jupyter_server", f"--IdentityProvider.token={TOKEN}", "--ServerApp.allow_root=True"]
GATEWAY = [
    "kernel_gateway",
    f"--KernelGatewayApp.auth_token={TOKEN}",
    "--JupyterWebsocketPersonality.list_kernels=True",
]
#: a server may say where it is a moment before it listens there
_KNOCK = Retry(total=None, connect=20, backoff_factor=0.1, backoff_max=1)
_AVAILABLE = re.compile(r"https?://127\.0\.0\.1:(\d+)")


@dataclass
class Served:
    """A server's process; `lines` is its log."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    port: int = 0
    known: threading.Event = field(default_factory=threading.Event)

    def follow(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if not self.port and (found := _AVAILABLE.search(line)):
                self.port = int(found[1])
                self.known.set()
        self.known.set()

    def ask(self, method: str, path: str, content: dict[str, Any] | None = None) -> requests.Response:
        url = f"http://127.0.0.1:{self.port}/api/{path}"
        with requests.Session() as session:
            session.mount("http://", HTTPAdapter(max_retries=_KNOCK))
            return session.request(method, url, json=content, headers=HEADERS, timeout=PATIENCE)

    @contextmanager
    def channels(self, kernel: str) -> Iterator[Channels]:
        url = f"ws://127.0.0.1:{self.port}/api/kernels/{kernel}/channels"
        connection = create_connection(url, header=HEADERS, timeout=PATIENCE)
        try:
            yield Channels(connection)
        finally:
            connection.close()


@dataclass
class Channels:
    """All channels of one kernel over one websocket."""

    connection: WebSocket

    def send(self, kind: str, content: dict[str, Any], channel: str = "shell") -> str:
        id = uuid.uuid4().hex
        header = {"msg_id": id, "msg_type": kind, "username": "", "session": "browser", "version": "5.4"}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        self.connection.send(json.dumps({**message, "channel": channel, "buffers": []}))
        return id

    def until(self, id: str, kind: str) -> tuple[dict[str, Any], str]:
        """The content of the next such message that answers `id`, and what was shown in between, as text."""
        shown = ""
        while True:
            message = json.loads(self.connection.recv())
            if message["parent_header"].get("msg_id") != id:
                continue
            content = message["content"]
            if message["msg_type"] == "stream":
                shown += content["text"]
            if message["msg_type"] in ("display_data", "execute_result"):
                shown += content["data"]["text/plain"]
            if message["msg_type"] == kind:
                return content, shown

    def run(self, code: str) -> str:
        """What it shows, once all is there: of the reply and the last output either may come first."""
        id = self.send("execute_request", {"code": code, "silent": False, "allow_stdin": False})
        shown, waited_for = "", {"execute_reply", "idle"}
        while waited_for:
            message = json.loads(self.connection.recv())
            if message["parent_header"].get("msg_id") != id:
                continue
            content, kind = message["content"], message["msg_type"]
            waited_for -= {kind, content.get("execution_state", "")}
            shown += content.get("text", "") if kind == "stream" else ""
            if kind in ("display_data", "execute_result"):
                shown += content["data"]["text/plain"]
        return shown


@contextmanager
def serve(words: list[str], folder: Path) -> Iterator[Served]:
    """A server that was started in `folder`, on a port that was free."""
    command = [sys.executable, "-P", "-m", *words, *_FREE[words[0]]]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        served = Served(process)
        follower = threading.Thread(target=served.follow)
        follower.start()
        try:
            assert served.known.wait(PATIENCE) and served.port, "".join(served.lines)
            yield served
        finally:
            process.terminate()
            follower.join(PATIENCE)


#: both take the next port where one is taken
_FREE = {
    "jupyter_server": ["--ServerApp.ip=127.0.0.1", "--ServerApp.port=28888", "--ServerApp.port_retries=200"],
    "kernel_gateway": ["--KernelGatewayApp.port=29888", "--KernelGatewayApp.port_retries=200"],
}
