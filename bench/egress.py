"""What the proxy costs beside a direct connection to the same server on loopback: one small answer, one large one, and
many connections at once; plain, through a tunnel by host, and with TLS that is looked into. Server, proxy and client
are three processes. The judge is a policy's, and each request is recorded in a ledger, as in a session."""

from __future__ import annotations

import multiprocessing
import os
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.measure import Aim, Comparison, Turn, alternate, machine, seconds, versions

#: whom each kind of connection is to; the policy has nothing but the host for the second
HOSTS = {"plain": "plain.test", "tunnel by host": "carried.test", "TLS looked into": "looked.test"}
DIRECT, PROXY = "direct", "proxy"
#: the aims: ms that are added at the median, and how many times as long a large answer may take
ADDED, LONGER = 2.0, 1.5


def measure(quick: bool, isolations: Sequence[str] = ()) -> dict[str, Any]:
    """Everything in one run; plain data, ready for JSON. No isolation takes part: it is the proxy that is measured."""
    facts, size, many = machine(), (4 if quick else 100) * 10**6, 20 if quick else 200
    found: list[Comparison] = []
    aims: list[Aim] = []
    with tempfile.TemporaryDirectory(prefix="mulligan-bench-") as place, _opened(Path(place)) as client:
        for kind in HOSTS:
            small, large, burst = (
                _compared(client, f"{kind}, {what}", partial(work, kind, amount), 3 if quick else rounds)
                for what, work, amount, rounds in (
                    ("GET of 2 bytes", _once, 2, 200),
                    (f"GET of {size // 10**6} MB", _once, size, 5),
                    (f"{many} connections at once", _at_once, many, 5),
                )
            )
            found += [small, large, burst]
            added = (small.median(PROXY) - small.median(DIRECT)) * 1000
            aims += [
                Aim(f"{small.work}, ms added", PROXY, added, ADDED),
                Aim(f"{large.work}, times the direct one", PROXY, large.ratio(PROXY), LONGER),
            ]
    return {
        "benchmark": "egress",
        "quick": quick,
        "machine": facts,
        "versions": versions("mulligan", "h11", "cryptography"),
        "measures": [each.figures(who) for each in found for who in each.seconds],
        "aims": [aim.figures() for aim in aims],
        "left_out": {},
    }


Ask = Callable[[str, str, int], None]


def _compared(client: _Client, title: str, work: Callable[[Ask], None], rounds: int) -> Comparison:
    def turn(ask: Ask) -> Turn:
        return lambda n: {title: seconds(lambda: work(ask))}

    turns: Mapping[str, Turn] = {DIRECT: turn(client.directly), PROXY: turn(client.through)}
    return alternate(title, turns, rounds, peer=DIRECT)[0]


def _once(kind: str, size: int, ask: Ask) -> None:
    ask(kind, f"/{size}", size)


def _at_once(kind: str, many: int, ask: Ask) -> None:
    with ThreadPoolExecutor(many) as threads:
        for done in [threads.submit(ask, kind, "/2", 2) for _ in range(many)]:
            done.result()


class _Client:
    """Each request is on a connection of its own. Raises where an answer is not what was asked for."""

    def __init__(self, ports: Mapping[str, int], proxy: int, trust: bytes) -> None:
        self._ports, self._proxy = ports, proxy
        self._context = ssl.create_default_context(cadata=trust.decode())

    def directly(self, kind: str, path: str, size: int) -> None:
        made = HTTPConnection("127.0.0.1", self._ports[kind], timeout=60)
        if kind != "plain":
            raw = socket.create_connection(("127.0.0.1", self._ports[kind]), timeout=60)
            made.sock = self._context.wrap_socket(raw, server_hostname=HOSTS[kind])
        _read(made, path, size)

    def through(self, kind: str, path: str, size: int) -> None:
        host, port = HOSTS[kind], self._ports[kind]
        if kind == "plain":
            return _read(
                HTTPConnection("127.0.0.1", self._proxy, timeout=60), f"http://{host}:{port}{path}", size
            )
        made = HTTPSConnection("127.0.0.1", self._proxy, timeout=60, context=self._context)
        made.set_tunnel(host, port)
        _read(made, path, size)


def _read(connection: HTTPConnection, target: str, size: int) -> None:
    try:
        connection.request("GET", target)
        answer, found = connection.getresponse(), 0
        while piece := answer.read(1 << 18):
            found += len(piece)
    finally:
        connection.close()
    if (answer.status, found) != (200, size):
        raise RuntimeError(f"{target}: {answer.status}, {found} bytes")


@contextmanager
def _opened(place: Path) -> Iterator[_Client]:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    server = spawn.Process(target=_serve, args=(theirs,), daemon=True)
    server.start()
    ports, certificate = ours.recv()
    (place / "ca.pem").write_bytes(certificate)
    proxy = spawn.Process(target=_carry, args=(theirs, str(place), ports), daemon=True)
    proxy.start()
    try:
        yield _Client(ports, *ours.recv())
    finally:
        for process in (proxy, server):
            process.terminate()
            process.join()


def _serve(pipe: Connection) -> None:
    from mulligan.sandbox.egress.authority import Authority

    authority, ports = Authority(), {}
    for kind, host in HOSTS.items():
        server = _Server(("127.0.0.1", 0), _Answers)
        if kind != "plain":
            context = authority.context(host)
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ports[kind] = server.server_port
    pipe.send((ports, authority.certificate))
    threading.Event().wait()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512


class _Answers(BaseHTTPRequestHandler):
    """/N is N bytes."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        left = int(self.path[1:])
        self.send_response(200)
        self.send_header("Content-Length", str(left))
        self.end_headers()
        while left:
            left -= self.wfile.write(bytes(min(left, 1 << 18)))

    def log_message(self, format: str, *args: Any) -> None: ...


def _carry(pipe: Connection, place: str, ports: Mapping[str, int]) -> None:
    os.environ["SSL_CERT_FILE"] = f"{place}/ca.pem"
    from mulligan.policies.loading import parse_policy
    from mulligan.runtime.effects import Effects
    from mulligan.runtime.granting import PolicyJudge
    from mulligan.runtime.ledger import Ledger
    from mulligan.sandbox.egress.proxy import Egress

    policy = parse_policy(f"""
network:
  - allow: GET http://plain.test:{ports["plain"]}/**
  - allow: GET looked.test:{ports["TLS looked into"]}/**
  - allow: CONNECT carried.test:{ports["tunnel by host"]}
  - allow: GET carried.test:{ports["tunnel by host"]}/**
""")
    with Ledger.open(Path(place) / "ledger.db") as ledger:
        egress = Egress(PolicyJudge(policy), Effects(ledger), resolve=lambda host, port: ["127.0.0.1"])
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        pipe.send((listener.getsockname()[1], egress.trust))
        egress.serve(listener)
        threading.Event().wait()
