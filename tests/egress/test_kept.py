"""Connections to a server are used again by requests that only ask, and by those that may be where they lead."""

from __future__ import annotations

import threading
from contextlib import suppress
from queue import Queue

from tests.egress.client import Client
from tests.egress.conftest import Opened
from tests.egress.servers import Handler, Names, Rules, Server, serving

from mulligan.sandbox.egress.bounds import Bounds
from mulligan.sandbox.egress.judgement import Asked, Judgement


def _asked(client: Client, server: Server, method: str = "GET", path: str = "/", *headers: str) -> bytes:
    """On a connection that the proxy ends: by then it has kept what it keeps."""
    host = f"site.test:{server.port}"
    lines = [f"{method} http://{host}{path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
    with client.connect() as sock:
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        found = b""
        while piece := sock.recv(1 << 16):
            found += piece
    assert found.startswith(b"HTTP/1.1 200 "), found[:200]
    return found


def test_reads_of_several_connections_share_one_to_the_server(opened: Opened, server: Server) -> None:
    client = opened()
    for _ in range(5):
        _asked(client, server)
    assert len(set(server.ports)) == 1
    assert client.names.asked == ["site.test"]
    assert len(client.rules.log) == 5  # each is judged and recorded all the same


def test_what_changes_something_has_a_connection_of_its_own(opened: Opened, server: Server) -> None:
    client = opened()
    _asked(client, server)
    _asked(client, server, "POST")
    assert len(set(server.ports)) == 2


def test_a_connection_that_spoke_for_somebody_speaks_for_nobody_else(opened: Opened, server: Server) -> None:
    client = opened()
    _asked(client, server, "GET", "/", "Authorization: Negotiate abc")
    _asked(client, server)
    assert len(set(server.ports)) == 2


def test_one_that_may_lead_to_this_host_serves_no_request_that_may_not(
    opened: Opened, server: Server
) -> None:
    class _Private(Rules):
        def judge(self, asked: Asked) -> Judgement:
            return Judgement(allowed=True, rule="r", reason="", private=asked.path == "/spelt")

    client = opened(_Private(), Names(site_test=["127.0.0.1"]))
    _asked(client, server, path="/spelt")
    host = f"site.test:{server.port}"
    assert client.ask(f"http://{host}/other").json["rule"] == "network.addresses"


def test_one_that_has_half_a_body_is_not_kept(opened: Opened) -> None:
    given_up, came = threading.Event(), Queue[bytes]()

    class _Late(Handler):
        """Answers before it has read the body, and reads on when it was given up."""

        def do_POST(self) -> None:
            self._answer(b"ok")
            given_up.wait()
            found, piece = b"", b"x"
            while piece and b"GET " not in found:
                piece = self.connection.recv(1 << 20)
                found = found[-10:] + piece
            came.put(found)

    with serving(handler=_Late) as server:
        client = opened(bounds=Bounds(quiet=0.5))
        host = f"site.test:{server.port}"
        head = f"POST http://{host}/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: {1 << 30}\r\n\r\n"
        with client.connect() as sock, suppress(OSError):
            sock.sendall(head.encode())
            while True:
                sock.sendall(b"x" * (1 << 20))
        given_up.set()
        _asked(client, server)
        assert b"GET " not in came.get(timeout=60)


def test_nothing_is_kept_when_a_session_goes_back(opened: Opened, server: Server) -> None:
    client = opened()
    _asked(client, server)
    client.egress.hang_up()
    _asked(client, server)
    assert len(set(server.ports)) == 2


def test_a_large_body_is_whole_and_counted(opened: Opened, server: Server) -> None:
    client, size = opened(), 5_000_000
    found = _asked(client, server, path=f"/bytes/{size}")
    assert found.endswith(b"\r\n\r\n" + b"x" * size)
    assert client.rules.answers[-1].received == size
