"""HTTPS: looked into where a rule needs it, carried by host alone where none does; WebSockets by rule."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest
from tests.egress.client import answer, hangs_up
from tests.egress.servers import Rules
from websockets.sync.client import connect as open_websocket
from websockets.sync.server import ServerConnection
from websockets.sync.server import serve as serve_websockets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.egress.conftest import Opened
    from tests.egress.servers import Server, TestAuthority


def _ask(sock: socket.socket, host: str, line: str = "GET /x", body: bytes = b"") -> None:
    sock.sendall(f"{line} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


def test_inside_a_tunnel_each_request_is_judged(opened: Opened, secure_server: Server) -> None:
    client, host = opened(Rules(allow=["GET https://site.test:*/x"])), f"site.test:{secure_server.port}"
    with client.inside(host) as sock:
        for line, status in (("GET /x", 200), ("POST /x", 403), ("GET /y", 403), ("GET /x", 200)):
            _ask(sock, host, line)
            assert answer(sock).status == status
    assert secure_server.seen == ["GET /x", "GET /x"]
    assert client.rules.log == [f"GET https://{host}/x"] * 2


def test_of_a_host_that_no_rule_names_nothing_is_resolved(opened: Opened, secure_server: Server) -> None:
    for inside in ([], ["*"]):
        client, host = opened(Rules(allow=[], inside=inside)), f"site.test:{secure_server.port}"
        if inside:
            with client.inside(host) as sock:
                _ask(sock, host)
                assert answer(sock).json["error"] == "denied"
        else:
            tunnel, said = client.tunnel(host)
            tunnel.close()
            assert said.status == 403
            assert said.reason == "Forbidden by rule none: no rule allows it; instead: ask for a rule"
        assert client.names.asked == [] and len(client.rules.denials) == 1


def test_a_tunnel_by_host_alone_is_not_looked_into(
    opened: Opened, secure_server: Server, authority: TestAuthority
) -> None:
    client, host = opened(Rules(allow=["CONNECT *"], inside=[])), f"site.test:{secure_server.port}"
    sock, said = client.tunnel(host)
    assert said.status == 200
    real = ssl.create_default_context(cafile=str(authority.pem))  # the server's own certificate comes through
    with real.wrap_socket(sock, server_hostname="site.test") as inner:
        _ask(inner, host, "POST /x", b"body")
        assert answer(inner).json["body"] == "body"
    assert client.rules.log == [f"CONNECT https://{host}"]


def test_the_bundle_holds_the_roots_too(
    opened: Opened, secure_server: Server, authority: TestAuthority
) -> None:
    client, host = opened(Rules(inside=[])), f"site.test:{secure_server.port}"
    with client.inside(host) as sock:
        _ask(sock, host)
        assert answer(sock).status == 200


def test_a_server_that_cannot_be_verified_is_not_asked(
    opened: Opened, secure_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = f"other.test:{secure_server.port}"  # its certificate is for site.test
    with opened().inside(host) as sock:
        _ask(sock, host)
        told = answer(sock)
    assert told.status == 502 and "other.test" in told.json["reason"]
    monkeypatch.delenv("SSL_CERT_FILE")  # nobody vouches for it now
    host = f"site.test:{secure_server.port}"
    with opened().inside(host) as sock:
        _ask(sock, host)
        assert answer(sock).status == 502
    assert secure_server.seen == []


@pytest.mark.parametrize("inside", [["*"], []])
def test_another_name_in_the_handshake_than_in_the_tunnel_is_refused(
    opened: Opened, secure_server: Server, inside: list[str]
) -> None:
    client = opened(Rules(inside=inside))
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        client.inside(f"site.test:{secure_server.port}", "other.test")
    assert secure_server.seen == [] and client.rules.log == []


@pytest.mark.parametrize("named", ["other.test", "site.test:1", "site.test@other.test", ""])
def test_another_host_in_the_request_than_in_the_tunnel_is_refused(
    opened: Opened, secure_server: Server, named: str
) -> None:
    client, host = opened(), f"site.test:{secure_server.port}"
    with client.inside(host) as sock:
        _ask(sock, named)
        assert answer(sock).status in (400, 421)
    assert secure_server.seen == []


def test_the_whole_url_inside_a_tunnel_is_refused(opened: Opened, secure_server: Server) -> None:
    host = f"site.test:{secure_server.port}"
    with opened().inside(host) as sock:
        _ask(sock, host, "GET http://other.test/")
        assert answer(sock).status == 400


def test_a_tunnel_within_a_tunnel_is_refused(opened: Opened, secure_server: Server) -> None:
    host = f"site.test:{secure_server.port}"
    with opened().inside(host) as sock:
        sock.sendall(f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert answer(sock).status == 400


@pytest.mark.parametrize("inside", [["*"], []])
def test_plain_http_in_a_tunnel_is_judged_as_plain_http(
    opened: Opened, server: Server, inside: list[str]
) -> None:
    client, host = (
        opened(Rules(allow=["CONNECT *", "GET http://site.test:*/x"], inside=inside)),
        f"site.test:{server.port}",
    )
    sock, _ = client.tunnel(host)
    with sock:
        _ask(sock, host, "GET /x")
        assert answer(sock).status == 200
        _ask(sock, host, "POST /x")
        assert answer(sock).status == 403


@pytest.mark.parametrize("inside", [["*"], []])
def test_another_protocol_in_a_tunnel_is_refused(opened: Opened, server: Server, inside: list[str]) -> None:
    client = opened(Rules(inside=inside))
    sock, _ = client.tunnel(f"site.test:{server.port}")
    with sock:
        sock.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        assert answer(sock).status == 400
    assert server.seen == [] and client.rules.log == []


def test_a_hello_in_pieces_is_read_and_one_that_hides_its_name_is_refused(
    opened: Opened, secure_server: Server
) -> None:
    client, host = opened(Rules(inside=[])), f"site.test:{secure_server.port}"
    hello = _hello(client.trust, "site.test")
    sock, _ = client.tunnel(host)
    with sock:
        for at in range(0, len(hello), 100):
            sock.sendall(hello[at : at + 100])
        assert sock.recv(1) == b"\x16"
    for broken in (
        _with_ech(hello),
        _hello(client.trust, None),
        hello[:5] + b"\x02" + hello[6:],
        b"\x16\x03\x01\0\0",
    ):
        sock, _ = client.tunnel(host)
        with sock:
            sock.sendall(broken)
            assert hangs_up(sock)
    assert len(client.rules.log) == 1


def _hello(context: ssl.SSLContext, name: str | None) -> bytes:
    if name is None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
    out = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name).do_handshake()
    return out.read()


def _with_ech(hello: bytes) -> bytes:
    """The same with an extension more, in which an encrypted ClientHello would lie."""
    body = hello[5:]
    at = 4 + 34
    at += 1 + body[at]
    at += 2 + int.from_bytes(body[at : at + 2], "big")
    at += 1 + body[at]
    extensions = body[at + 2 :] + b"\xfe\x0d\0\x04\0\0\0\0"
    inner = body[4:at] + len(extensions).to_bytes(2, "big") + extensions
    body = b"\x01" + len(inner).to_bytes(3, "big") + inner
    return hello[:3] + len(body).to_bytes(2, "big") + body


def _say_again(sock: ServerConnection) -> None:
    for said in sock:
        sock.send(said)


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a WebSocket server that says everything again."""
    with serve_websockets(_say_again, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join()


def test_a_websocket_is_a_request_of_its_own_scheme(opened: Opened, echo: int) -> None:
    client = opened(Rules(allow=["GET ws://site.test:*/talk"]))
    with open_websocket(f"ws://site.test:{echo}/talk", proxy=client.url) as sock:
        for text in ("one", "x" * 200_000):
            sock.send(text)
            assert sock.recv() == text
    assert client.ask(f"http://site.test:{echo}/talk").status == 403
    assert client.rules.log == [f"GET ws://site.test:{echo}/talk"]


def test_a_websocket_that_no_rule_allows_is_denied(opened: Opened, echo: int) -> None:
    client = opened(Rules(allow=["GET http://*"]))
    told = client.ask(
        f"http://site.test:{echo}/",
        Upgrade="websocket",
        Connection="Upgrade",
        Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==",
        Sec_WebSocket_Version="13",
    )
    assert told.status == 403
    assert str(client.rules.denials[0][0]).startswith("GET ws://")


def test_a_certificate_is_made_once_a_host_and_the_key_is_in_no_file(
    opened: Opened, secure_server: Server
) -> None:
    client, host = opened(), f"site.test:{secure_server.port}"
    serials = []
    for _ in range(2):
        with client.inside(host) as sock:
            found = sock.getpeercert()
            assert found is not None and found["subjectAltName"] == (("DNS", "site.test"),)
            serials.append(found["serialNumber"])
    assert serials[0] == serials[1]
    assert b"PRIVATE KEY" not in client.egress.trust
    with client.inside(f"127.0.0.1:{secure_server.port}") as sock:
        _ask(sock, f"127.0.0.1:{secure_server.port}")
        assert answer(sock).status == 200
