"""A request is judged, recorded, carried and answered; one that is denied says why and goes nowhere."""

from __future__ import annotations

import http.client
import threading
from typing import TYPE_CHECKING

from tests.egress.client import answer
from tests.egress.servers import Names, Rules

from mulligan.sandbox.egress.bounds import Bounds

if TYPE_CHECKING:
    from tests.egress.client import Client
    from tests.egress.conftest import Opened
    from tests.egress.servers import Server

    from mulligan.sandbox.egress.judgement import Asked, Judgement


def test_a_request_arrives_and_its_answer_comes_back(opened: Opened, server: Server) -> None:
    client = opened()
    told = client.ask(f"http://site.test:{server.port}/a/b?q=1&r=2", X_Mine="yes")
    assert told.status == 200
    assert told.json["path"] == "/a/b?q=1&r=2"
    assert ["X-Mine", "yes"] in [[name.title(), value] for name, value in told.json["headers"]]
    assert client.rules.log == [f"GET http://site.test:{server.port}/a/b"]
    assert client.names.asked == ["site.test"]


def test_a_body_arrives_whole_by_length_and_in_chunks(opened: Opened, server: Server) -> None:
    client, body = opened(), b"0123456789" * 100_000
    url = f"http://site.test:{server.port}/"
    assert client.ask(url, "POST", body).json["body"].encode() == body
    chunks = (
        b"".join(b"%x;x=y\r\n" % len(piece) + piece + b"\r\n" for piece in (body[:7], body[7:]))
        + b"0\r\n\r\n"
    )
    head = f"PUT {url} HTTP/1.1\r\nHost: site.test:{server.port}\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert client.say(head.encode() + chunks).json["body"].encode() == body
    assert [each.sent for each in client.rules.answers] == [len(body), len(body)]


def test_answers_of_every_shape_are_carried(opened: Opened, server: Server) -> None:
    client, base = opened(), f"http://site.test:{server.port}"
    assert client.ask(f"{base}/bytes/1000000").body == b"x" * 1_000_000
    assert client.ask(f"{base}/chunks/1000000").body == b"x" * 1_000_000
    assert client.ask(f"{base}/status/204").body == b""
    assert client.ask(f"{base}/status/304").status == 304
    assert client.ask(f"{base}/status/500").status == 500
    head = client.ask(f"{base}/bytes/77", "HEAD")
    assert (head.headers["content-length"], head.body) == ("77", b"")
    assert [each.received for each in client.rules.answers] == [1_000_000, 1_000_000, 0, 0, 3, 0]


def test_many_requests_share_a_connection(opened: Opened, server: Server) -> None:
    client = opened()
    with client.connect() as sock:
        for number in range(5):
            request = f"GET http://site.test:{server.port}/{number} HTTP/1.1\r\nHost: site.test:{server.port}\r\n\r\n"
            sock.sendall(request.encode())
            assert answer(sock).json["path"] == f"/{number}"
    assert client.names.asked == ["site.test"]


def test_requests_that_are_sent_ahead_are_answered_in_order(opened: Opened, server: Server) -> None:
    client = opened()
    host = f"site.test:{server.port}"
    with client.connect() as sock:
        sock.sendall(
            "".join(f"GET http://{host}/{n} HTTP/1.1\r\nHost: {host}\r\n\r\n" for n in range(3)).encode()
        )
        reader = sock.makefile("rb")
        found = []
        for _ in range(3):
            while (line := reader.readline()) != b"\r\n":
                length = int(line.partition(b":")[2]) if line.lower().startswith(b"content-length") else 0
                found += [length] if length else []
            reader.read(found[-1])
    assert server.seen == ["GET /0", "GET /1", "GET /2"]


def test_a_denial_names_rule_reason_and_alternative_and_resolves_nothing(
    opened: Opened, server: Server
) -> None:
    client = opened(Rules(allow=["GET http://site.test:*"]))
    told = client.ask(f"http://site.test:{server.port}/x", "POST", b"data")
    assert told.status == 403
    assert told.headers["content-type"] == "application/json"
    assert told.json == {
        "error": "denied",
        "request": f"POST http://site.test:{server.port}/x",
        "rule": "none",
        "reason": "no rule allows it",
        "instead": "ask for a rule",
    }
    assert client.names.asked == [] and client.rules.log == [] and server.seen == []
    assert [str(asked) for asked, _ in client.rules.denials] == [f"POST http://site.test:{server.port}/x"]


def test_after_a_denial_the_connection_goes_on(opened: Opened, server: Server) -> None:
    client = opened(Rules(allow=["GET *"]))
    host = f"site.test:{server.port}"
    with client.connect() as sock:
        for method, status in (("DELETE", 403), ("GET", 200), ("HEAD", 403), ("GET", 200)):
            sock.sendall(f"{method} http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert answer(sock, method).status == status


def test_a_redirect_is_a_request_of_its_own(opened: Opened, server: Server) -> None:
    client = opened(Rules(allow=["GET http://site.test:*"]))
    there = f"http://other.test:{server.port}/secret"
    told = client.ask(f"http://site.test:{server.port}/to?{there}")
    assert (told.status, told.headers["location"]) == (302, there)
    assert client.ask(there).status == 403
    assert server.seen == [f"GET /to?{there}"]


def test_what_is_of_one_hop_is_not_passed_on(opened: Opened, server: Server) -> None:
    told = opened().ask(
        f"http://site.test:{server.port}/",
        Connection="keep-alive, X-Hop",
        X_Hop="secret",
        Proxy_Authorization="Basic c2VjcmV0",
        TE="trailers",
        Upgrade="h2c",
    )
    names = {name.lower() for name, _ in told.json["headers"]}
    assert names == {"host"}


def test_whoever_waits_for_leave_to_send_gets_it(opened: Opened, server: Server) -> None:
    client, host = opened(Rules(allow=["PUT *"])), f"site.test:{server.port}"
    with client.connect() as sock:
        sock.sendall(f"PUT http://{host}/ HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\n"
                     "Content-Length: 4\r\n\r\n".encode())  # fmt: skip
        assert sock.recv(1000).startswith(b"HTTP/1.1 100")
        sock.sendall(b"body")
        assert answer(sock).json["body"] == "body"
    denied = client.ask(f"http://{host}/", "POST", Expect="100-continue")
    assert denied.status == 403


def test_nothing_leaves_that_could_not_be_recorded(opened: Opened, server: Server) -> None:
    class Full(Rules):
        def leaving(self, asked: object, judgement: object) -> int:
            raise OSError("the disk is full")

    client = opened(Full())
    assert client.ask(f"http://site.test:{server.port}/").status == 503
    assert server.seen == []


def test_a_name_that_no_rule_spells_out_is_on_record_before_it_is_looked_up(
    opened: Opened, server: Server
) -> None:
    names = Names()
    seen: list[list[str]] = []

    class Journal(Rules):
        def looking_up(self, asked: Asked, judgement: Judgement) -> None:
            super().looking_up(asked, judgement)
            seen.append(list(names.asked))

    client = opened(Journal(private=False, inside=()), names)
    assert client.ask("http://c2VjcmV0.site.test/").status == 502
    assert _tunnelled(client, "x.site.test:443") == 502
    assert client.ask("http://192.0.2.1:1/").status in (403, 502)  # no name
    assert client.rules.look_ups == names.asked == ["c2vjcmv0.site.test", "x.site.test"]
    assert seen == [[], ["c2vjcmv0.site.test"]]
    client = opened(Rules(), Names(site_test=["127.0.0.1"]))  # whom a rule names
    assert client.ask(f"http://site.test:{server.port}/").status == 200
    assert client.rules.look_ups == []


def test_a_name_is_not_looked_up_where_that_cannot_be_recorded(opened: Opened) -> None:
    class Full(Rules):
        def looking_up(self, asked: object, judgement: object) -> None:
            raise OSError("the disk is full")

    client = opened(Full(private=False))
    assert client.ask("http://site.test/").status == 503
    assert client.names.asked == []


def test_a_tunnel_that_is_looked_into_counts_as_a_request(opened: Opened) -> None:
    client = opened(bounds=Bounds(burst=3, rate=0.0))
    assert [_tunnelled(client, "site.test:443") for _ in range(5)] == [200, 200, 200, 429, 429]


def _tunnelled(client: Client, authority: str) -> int:
    sock, said = client.tunnel(authority)
    sock.close()
    return said.status


def test_a_judge_that_fails_denies(opened: Opened, server: Server) -> None:
    class Broken(Rules):
        def judge(self, asked: object) -> None:  # type: ignore[override]
            raise RuntimeError

        def needs_inside(self, host: str, port: int) -> bool:
            raise RuntimeError

    client = opened(Broken())
    assert client.ask(f"http://site.test:{server.port}/").status == 403
    client.inside("site.test:443").close()  # looked into, so each request would be judged
    assert server.seen == [] and client.names.asked == []


def test_a_host_that_is_not_there_is_said(opened: Opened) -> None:
    client = opened(names=Names(gone_test=["127.0.0.1"], none_test=[]))
    assert client.ask("http://gone.test:1/").json["error"] == "failed"
    assert client.ask("http://none.test:1/").status == 502
    assert "cannot be resolved" in client.ask("http://unknown.test:1/").json["reason"]


def test_a_kept_connection_that_died_is_made_again_for_a_read(opened: Opened, server: Server) -> None:
    client, host = opened(), f"site.test:{server.port}"
    with client.connect() as sock:
        for path in ("/bytes/1", "/bytes/2"):
            sock.sendall(f"GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert answer(sock).status == 200
            _hang_up_all(server)
    assert server.seen == ["GET /bytes/1", "GET /bytes/2"]


def _hang_up_all(server: Server) -> None:
    """Ask it directly for something that makes it close: its other connections stay, so they are shut from here."""
    probe = http.client.HTTPConnection("127.0.0.1", server.port)
    probe.request("GET", "/bytes/1", headers={"Connection": "close"})
    probe.getresponse().read()
    probe.close()
    server.seen.pop()


def test_hanging_up_cuts_what_is_under_way(opened: Opened, server: Server) -> None:
    client, host = opened(), f"site.test:{server.port}"
    with client.connect() as sock:
        sock.sendall(f"GET http://{host}/slow HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        waiting = threading.Thread(target=lambda: sock.recv(1))
        waiting.start()
        while "GET /slow" not in server.seen:
            waiting.join(0.01)
        client.egress.hang_up()
        waiting.join(10)
        assert not waiting.is_alive()
    assert client.ask(f"http://{host}/").status == 200
