"""Speaks to a proxy as a program would, and as none should."""

from __future__ import annotations

import json
import socket
import ssl
from dataclasses import dataclass, field
from http.client import HTTPResponse
from typing import Any

from tests.egress.servers import Names, Rules

from mulligan.sandbox.egress.proxy import Egress


@dataclass
class Answer:
    status: int
    reason: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    egress: Egress
    rules: Rules
    names: Names
    port: int
    trust: ssl.SSLContext
    sockets: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        self.sockets.append(sock)
        return sock

    def say(self, raw: bytes, method: str = "GET") -> Answer:
        """Send these bytes on a connection of their own; the first answer."""
        with self.connect() as sock:
            sock.sendall(raw)
            return answer(sock, method)

    def ask(self, url: str, method: str = "GET", body: bytes = b"", **headers: str) -> Answer:
        host = url.partition("://")[2].partition("/")[0]
        lines = [f"{method} {url} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        lines += [f"Content-Length: {len(body)}"] if body else []
        return self.say("\r\n".join([*lines, "", ""]).encode() + body, method)

    def tunnel(self, authority: str) -> tuple[socket.socket, Answer]:
        sock = self.connect()
        sock.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        return sock, answer(sock, "CONNECT")

    def inside(self, authority: str, name: str | None = None) -> ssl.SSLSocket:
        """TLS in a tunnel, with whom the session's bundle believes."""
        sock, said = self.tunnel(authority)
        assert said.status == 200, said
        return self.trust.wrap_socket(sock, server_hostname=name or authority.rpartition(":")[0])


def answer(sock: socket.socket, method: str = "GET") -> Answer:
    read = HTTPResponse(sock, method=method)
    read.begin()
    body = b"" if method == "CONNECT" and read.status == 200 else read.read()
    return Answer(read.status, read.reason, dict(read.getheaders()), body)


def hangs_up(sock: socket.socket) -> bool:
    """Whether the other side ends the connection without a word."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True
