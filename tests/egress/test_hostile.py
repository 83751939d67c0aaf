"""Requests that nobody should send, addresses that nobody should reach, and those who take their time."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import socket
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.egress.client import answer, hangs_up
from tests.egress.servers import Names, Rules

from mulligan.sandbox.egress.bounds import Bounds
from mulligan.sandbox.egress.judgement import Asked, Judgement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.egress.client import Client
    from tests.egress.conftest import Opened
    from tests.egress.servers import Server

#: what a second request would be, were it smuggled behind the first
SECOND = b"GET http://site.test/smuggled HTTP/1.1\r\nHost: site.test\r\n\r\n"


def _post(headers: bytes, body: bytes = b"", line: bytes = b"POST http://site.test:%d/ HTTP/1.1") -> bytes:
    return line + b"\r\nHost: site.test:%d\r\n" + headers + b"\r\n" + body


#: addresses that a resolver would understand, and that no rule knows so
ODD = ("2130706433", "0x7f.1", "0177.0.0.1", "127.1", "0", "0xA9FEA9FE")

SMUGGLED = {
    "length and coding": _post(b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + SECOND),
    "coding and length": _post(b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", b"0\r\n\r\n" + SECOND),
    "two lengths": _post(b"Content-Length: 0\r\nContent-Length: 5\r\n", b"abcde"),
    "the same length twice": _post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"abcde"),
    "a list of lengths": _post(b"Content-Length: 5, 6\r\n", b"abcdef"),
    "a signed length": _post(b"Content-Length: +5\r\n", b"abcde"),
    "a hexadecimal length": _post(b"Content-Length: 0x5\r\n", b"abcde"),
    "an endless length": _post(b"Content-Length: " + b"9" * 30 + b"\r\n"),
    "a coding with a tab": _post(b"Transfer-Encoding:\tchunked, identity\r\n", b"0\r\n\r\n"),
    "two codings": _post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"0\r\n\r\n"),
    "an unknown coding": _post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
    "a coding behind a vertical tab": _post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"),
    "a space before the colon": _post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
    "a folded line": _post(b"X: a\r\n Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "a folded first line": _post(b" Content-Length: 5\r\n", b"abcde"),
    "a bare line feed": _post(b"X: a\nContent-Length: 5\r\n", b"abcde"),
    "bare line feeds only": b"GET http://site.test/ HTTP/1.1\nHost: site.test\n\n",
    "a bare carriage return": _post(b"X: a\rContent-Length: 5\r\n", b"abcde"),
    "a NUL": _post(b"X: a\0b\r\n"),
    "two hosts": _post(b"Host: other.test\r\n"),
    "no host": b"GET http://site.test/ HTTP/1.1\r\n\r\n",
    "another host": b"GET http://site.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n",
    "another port": b"GET http://site.test/ HTTP/1.1\r\nHost: site.test:81\r\n\r\n",
    "a host with a user": b"GET http://site.test/ HTTP/1.1\r\nHost: a@site.test\r\n\r\n",
    "a user": b"GET http://site.test@other.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n",
    "a backslash in the authority": b"GET http://other.test\\@site.test/ HTTP/1.1\r\nHost: site.test\r\n\r\n",
    "a fragment": b"GET http://site.test/#@other.test HTTP/1.1\r\nHost: site.test\r\n\r\n",
    "no absolute target": b"GET / HTTP/1.1\r\nHost: site.test\r\n\r\n",
    "another scheme": b"GET ftp://site.test/ HTTP/1.1\r\nHost: site.test\r\n\r\n",
    "https without a tunnel": b"GET https://site.test/ HTTP/1.1\r\nHost: site.test\r\n\r\n",
    "a file": b"GET file:///etc/passwd HTTP/1.1\r\nHost: site.test\r\n\r\n",
    "a space in the target": b"GET http://site.test/ x HTTP/1.1\r\nHost: site.test\r\n\r\n",
    "a small method": b"get http://site.test/ HTTP/1.1\r\nHost: site.test\r\n\r\n",
    "a method with a sign": b"GET! http://site.test/ HTTP/1.1\r\nHost: site.test\r\n\r\n",
    "another method in a header": _post(b"X-HTTP-Method-Override: DELETE\r\n"),
    "an old version": b"GET http://site.test/\r\n\r\n",
    "another version": b"GET http://site.test/ HTTP/2.0\r\nHost: site.test\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an empty line first": b"\r\nGET http://site.test/ HTTP/1.1\r\nHost: site.test\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a header without a name": _post(b": x\r\n"),
    "a header without a colon": _post(b"X\r\n"),
    "a header beyond ASCII": _post("Tränsfer-Encoding: chunked\r\n".encode()),
    "a tunnel with a body": b"CONNECT site.test:443 HTTP/1.1\r\nHost: site.test:443\r\nContent-Length: 3\r\n\r\nabc",
    "a tunnel without a port": b"CONNECT site.test HTTP/1.1\r\nHost: site.test\r\n\r\n",
    "a tunnel to another host": b"CONNECT site.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\n",
    "a tunnel that begins too early": b"CONNECT site.test:443 HTTP/1.1\r\nHost: site.test:443\r\n\r\n\x16\x03\x01",
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_what_could_be_read_in_two_ways_is_refused_and_the_connection_ends(
    opened: Opened, server: Server, name: str
) -> None:
    client, raw = opened(), SMUGGLED[name].replace(b":%d", b":%d" % server.port)
    with client.connect() as sock:
        sock.sendall(raw + SECOND)
        told = answer(sock)
        assert told.status in (400, 413, 421, 431, 501, 505), told
        rest = sock.makefile("rb").read() if told.status != 421 else b""
        assert b"smuggled" not in rest
    assert not any("smuggled" in each for each in server.seen)
    assert client.rules.log == [] or "length" in name


def test_broken_chunks_end_the_request_and_never_begin_another(opened: Opened, server: Server) -> None:
    client, host = opened(), f"site.test:{server.port}"
    for chunks in (
        b"5\r\nabcdeX\r\n0\r\n\r\n",
        b"-1\r\n",
        b"0x5\r\nabcde\r\n",
        b"5 ;\r\nab",
        b"G\r\n",
        b"1" * 25 + b"\r\n",
    ):
        head = f"POST http://{host}/ HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        with client.connect() as sock:
            sock.sendall(head + chunks + SECOND)
            sock.shutdown(socket.SHUT_WR)
            rest = sock.makefile("rb").read()
        assert rest.count(b"HTTP/1.1 ") == 1 and rest.startswith((b"HTTP/1.1 400", b"HTTP/1.1 408")), rest
    assert not any("smuggled" in each for each in server.seen)


def test_the_body_of_a_denied_request_is_never_read_as_a_request(opened: Opened, server: Server) -> None:
    client, host = opened(Rules(allow=["GET *"])), f"site.test:{server.port}"
    body = SECOND.replace(b"site.test", host.encode())
    with client.connect() as sock:
        sock.sendall(
            f"POST http://{host}/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        sock.sendall(body)
        said = sock.makefile("rb").read()
    assert said.count(b"HTTP/1.1 ") == 1 and said.startswith(b"HTTP/1.1 403")
    assert server.seen == []


@pytest.mark.parametrize(
    "host",
    [
        *(
            "127.0.0.1",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "127.1",
            "127.0.0.1.",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ),
        *("[64:ff9b::7f00:1]", "[2002:7f00:1::]", "0", "169.254.169.254", "0xA9FEA9FE", "[fd00:ec2::254]"),
        *(
            "localhost",
            "10.0.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "[fe80::1]",
            "[::]",
        ),
    ],
)
def test_no_spelling_of_a_private_address_is_dialled(opened: Opened, server: Server, host: str) -> None:
    client = opened(Rules(private=False), Names(localhost=["127.0.0.1"]))
    told = client.ask(f"http://{host}:{server.port}/")
    odd = host in ODD
    assert (told.status, told.json.get("rule")) == ((400, None) if odd else (403, "network.addresses"))
    sock, said = opened(Rules(private=False, inside=[]), Names(localhost=["::1"])).tunnel(
        f"{host}:{server.port}"
    )
    sock.close()
    assert said.status == (400 if odd else 403)
    assert server.seen == [] and client.rules.log == []


@pytest.mark.parametrize(
    "answers", [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["::ffff:10.0.0.1"], ["fe80::1%1"]]
)
def test_a_name_that_leads_to_a_private_address_is_not_dialled(
    opened: Opened, server: Server, answers: list[str]
) -> None:
    client = opened(Rules(private=False), Names(evil_test=answers))
    told = client.ask(f"http://evil.test:{server.port}/")
    assert told.status == 403
    assert not any(
        address in told.body.decode() for address in answers
    )  # what a network looks like is not told
    assert server.seen == []


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "224.0.0.1", "0.0.0.0", "fe80::1"])
def test_a_private_name_may_still_not_lead_to_where_credentials_lie(opened: Opened, address: str) -> None:
    client = opened(Rules(private=True), Names(site_test=[address]))
    assert client.ask("http://site.test/").json["rule"] == "network.addresses"


def test_a_name_that_changes_its_address_is_dialled_where_it_was_checked(
    opened: Opened, server: Server
) -> None:
    """DNS rebinding: the second look-up would give a private address, and there is no second one."""

    class Rebinding(Names):
        def __call__(self, host: str, port: int) -> list[str]:
            self.asked.append(host)
            return ["127.0.0.1"] if len(self.asked) == 1 else ["169.254.169.254"]

    client = opened(names=Rebinding())
    host = f"site.test:{server.port}"
    with client.connect() as sock:
        for _ in range(2):
            sock.sendall(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert answer(sock).status == 200
    assert client.names.asked == ["site.test"]
    # a new connection looks it up anew, and what changes something has one of its own
    assert client.ask(f"http://{host}/", "POST").json["rule"] == "network.addresses"


def test_a_path_is_judged_by_every_reading_and_sent_as_it_was(opened: Opened, server: Server) -> None:
    client, base = opened(Rules(allow=["GET http://site.test:*/public/*"])), f"http://site.test:{server.port}"
    for path in (
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public/..%2fadmin",
        "/public/..;/admin",
        "/public/%00",
    ):
        assert client.ask(base + path).status in (400, 403)
    assert server.seen == []
    assert client.ask(base + "/public/a%20b%2Fc;v=1").status == 200
    assert server.seen == ["GET /public/a%20b%2Fc;v=1"]


def test_heads_are_bounded(opened: Opened, server: Server) -> None:
    client, host = opened(bounds=Bounds(head=4096, headers=10)), f"site.test:{server.port}"
    line = f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n"
    assert client.say((line + f"X: {'x' * 5000}\r\n\r\n").encode()).status == 431
    assert client.say((line + "X: x\r\n" * 20 + "\r\n").encode()).status == 431
    assert client.say(b"GET http://" + b"x" * 5000).status == 431
    assert server.seen == []


def test_bodies_are_bounded(opened: Opened, server: Server) -> None:
    client, base = opened(bounds=Bounds(upload=1000, download=1000)), f"http://site.test:{server.port}"
    assert client.ask(f"{base}/", "POST", b"x" * 1001).status == 413
    chunks = b"".join(b"1;" + b"e" * 400 + b"\r\nx\r\n" for _ in range(5)) + b"0\r\n\r\n"
    head = f"POST {base}/ HTTP/1.1\r\nHost: site.test:{server.port}\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert client.say(head.encode() + chunks).status == 413
    for kind in ("bytes", "chunks"):
        with contextlib.suppress(Exception):  # cut off, so that nobody takes it for whole
            assert len(client.ask(f"{base}/{kind}/100000").body) <= 1000
    assert all(each.received <= 1000 or each.error for each in client.rules.answers)


def test_requests_are_bounded_in_number(opened: Opened, server: Server) -> None:
    client, url = opened(bounds=Bounds(burst=3, rate=0.0)), f"http://site.test:{server.port}/"
    assert [client.ask(url).status for _ in range(5)] == [200, 200, 200, 429, 429]
    assert len(server.seen) == 3


SLOW = {
    "nothing": b"",
    "half a head": b"GET http://site.test/ HTTP/1.1\r\nHo",
    "half a body": b"POST http://site.test:%d/ HTTP/1.1\r\nHost: site.test:%d\r\nContent-Length: 9\r\n\r\nx",
}


@pytest.mark.parametrize("first", SLOW)
def test_whoever_takes_too_long_is_hung_up_on(opened: Opened, server: Server, first: str) -> None:
    client = opened(bounds=Bounds(head_time=0.2, quiet=0.2, idle=0.2))
    with client.connect() as sock:
        sock.sendall(SLOW[first].replace(b"%d", b"%d" % server.port))
        said = sock.makefile("rb").read()  # ends, for the proxy ends it
    assert said == b"" or said.startswith((b"HTTP/1.1 400", b"HTTP/1.1 408"))


def test_a_trickle_does_not_lengthen_the_time_for_a_head(opened: Opened) -> None:
    client, stop = opened(bounds=Bounds(head_time=0.5, idle=0.5)), threading.Event()
    with client.connect() as sock:

        def trickle() -> None:
            with contextlib.suppress(OSError):
                while not stop.wait(0.05):
                    sock.sendall(b"x")

        thread = threading.Thread(target=trickle)
        thread.start()
        assert hangs_up(sock)
        stop.set()
        thread.join()


def test_a_server_that_says_nothing_is_given_up(opened: Opened, server: Server) -> None:
    client = opened(bounds=Bounds(quiet=0.3))
    assert client.ask(f"http://site.test:{server.port}/slow").status == 502


def test_three_hundred_connections_leave_the_proxy_at_work(opened: Opened, server: Server) -> None:
    client = opened(bounds=Bounds(connections=50, idle=1.0))
    held = [client.connect() for _ in range(300)]  # which say nothing
    assert threading.active_count() < 50 + 30
    for sock in held:
        sock.close()
    assert client.ask(f"http://site.test:{server.port}/").status == 200


def _bare(method: str, port: int, path: str) -> bytes:
    return f"{method} http://site.test:{port}{path} HTTP/1.1\r\nHost: site.test:{port}\r\n\r\n".encode()


def test_whoever_was_hung_up_on_while_a_name_was_looked_up_sends_nothing_later(
    opened: Opened, server: Server
) -> None:
    client, looking, go = opened(), threading.Event(), threading.Event()

    def slowly(host: str, port: int) -> list[str]:
        looking.set()
        assert go.wait(60)
        return ["127.0.0.1"]

    client.egress._parts.resolve = slowly
    with client.connect() as sock:
        sock.sendall(_bare("POST", server.port, "/late"))
        assert looking.wait(60)
        client.egress.hang_up()
        assert hangs_up(sock)
    go.set()
    for thread in threading.enumerate():
        if thread.name == "mulligan-request":
            thread.join(60)
    assert server.seen == [] and client.rules.log == []


def test_whoever_waits_to_be_taken_is_hung_up_on_too(opened: Opened, server: Server) -> None:
    client = opened(bounds=Bounds(connections=1))
    with client.connect() as held, client.connect() as waiting:
        held.sendall(_bare("GET", server.port, "/slow"))
        waiting.sendall(_bare("POST", server.port, "/late"))
        while not server.seen:
            threading.Event().wait(0.01)
        client.egress.hang_up()
        assert hangs_up(held) and hangs_up(waiting)
    assert client.ask(f"http://site.test:{server.port}/").status == 200
    assert server.seen == ["GET /slow", "GET /"]


def test_a_connection_to_a_private_address_is_kept_for_what_may_lead_there_alone(
    opened: Opened, server: Server
) -> None:
    class Near(Rules):
        def judge(self, asked: Asked) -> Judgement:
            return replace(super().judge(asked), private=asked.path == "/near")

    client = opened(Near())
    with client.connect() as sock:
        for path, status in (("/near", 200), ("/far", 403)):
            sock.sendall(_bare("GET", server.port, path))
            assert answer(sock).status == status
    assert server.seen == ["GET /near"]


def test_the_proxy_goes_on_when_there_was_no_descriptor_left(opened: Opened, server: Server) -> None:
    client = opened()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 1 + max(int(name) for name in os.listdir("/proc/self/fd"))
    with socket.socket() as sock, contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        with contextlib.suppress(OSError):
            while True:
                stack.callback(os.close, os.dup(0))
        sock.connect(("127.0.0.1", client.port))
        assert not select.select([sock], [], [], 0.3)[0]
    assert client.ask(f"http://site.test:{server.port}/").status == 200


RESPONSES = {
    "length and coding": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "a bare line feed": b"HTTP/1.1 200 OK\nX: a\n\n",
    "a split header": b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b=c\r\nContent-Length: 0\r\n\r\n",
    "a folded header": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "no HTTP": b"220 mail.example ESMTP\r\n\r\n",
    "an endless head": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
    "another protocol": b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    "interim answers without end": b"HTTP/1.1 103 Early\r\n\r\n" * 1000,
    "nothing": b"",
}


@contextlib.contextmanager
def _answering(raw: bytes) -> Iterator[int]:
    """The port of a server that answers each connection so, whatever it is asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = listener.accept()
                    with sock, contextlib.suppress(OSError):
                        sock.recv(65536)
                        sock.sendall(raw)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("name", RESPONSES)
def test_an_answer_that_could_be_read_in_two_ways_is_not_passed_on(opened: Opened, name: str) -> None:
    with _answering(RESPONSES[name]) as port:
        told = opened().ask(f"http://site.test:{port}/")
    assert told.status == 502 and told.json["error"] == "failed"


def test_an_answer_that_ends_too_early_is_not_taken_for_whole(opened: Opened) -> None:
    for raw in (b"Content-Length: 10\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc"):
        with _answering(b"HTTP/1.1 200 OK\r\n" + raw) as port:
            client: Client = opened()
            with pytest.raises(Exception, match=r"IncompleteRead|bytes"):
                client.ask(f"http://site.test:{port}/")
        assert client.rules.answers[-1].error


def test_an_answer_without_a_length_is_carried_to_its_end(opened: Opened) -> None:
    with _answering(b"HTTP/1.0 200 OK\r\n\r\nall of it") as port:
        assert opened().ask(f"http://site.test:{port}/").body == b"all of it"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=300))
def test_no_bytes_make_the_proxy_fail_or_let_anything_out(fuzzed: Client, raw: bytes) -> None:
    with fuzzed.connect() as sock:
        sock.sendall(raw)
        sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            sock.makefile("rb").read()
    assert fuzzed.rules.log == [] and fuzzed.names.asked == []


_LINES = st.sampled_from(
    [
        *(
            b"GET http://site.test/ HTTP/1.1",
            b"POST http://site.test/ HTTP/1.1",
            b"CONNECT site.test:1 HTTP/1.1",
        ),
        *(
            b"Host: site.test",
            b"Host: other.test",
            b"Content-Length: 3",
            b"Transfer-Encoding: chunked",
            b" folded",
        ),
        *(
            b"",
            b"3",
            b"abc",
            b"0",
            b"Connection: close",
            b"Upgrade: websocket",
            b"GET / HTTP/1.1",
            b"X: \x01",
            b"\xff",
        ),
    ]
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(_LINES, max_size=12), end=st.sampled_from([b"\r\n", b"\r\n", b"\n"]))
def test_no_mixture_of_lines_lets_anything_out(fuzzed: Client, lines: list[bytes], end: bytes) -> None:
    test_no_bytes_make_the_proxy_fail_or_let_anything_out.hypothesis.inner_test(fuzzed, end.join(lines) + end)  # type: ignore[attr-defined]


@pytest.fixture
def fuzzed(opened: Opened) -> Client:
    """Of a proxy whose rules allow nothing."""
    return opened(Rules(allow=[]))
