"""Whatever is asked of a proxy that a policy judges, no server hears of it that the policy does not name."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.egress.servers import Names, Rules, Server, serving

from mulligan.policies.loading import parse_policy
from mulligan.runtime.granting import PolicyJudge
from mulligan.sandbox.egress.proxy import Egress

#: names that all lead to this machine, as those of an attacker might; the policy spells out the first alone
NAMES = ("site.test", "evil.test", "site.test.evil.test", "localhost", "xn--site-test.test")


@dataclass
class Joined:
    proxy: int
    named: Server
    other: Server


@pytest.fixture(scope="module")
def joined() -> Iterator[Joined]:
    with serving() as named, serving() as other, socket.create_server(("127.0.0.1", 0)) as listener:
        policy = parse_policy(f"""
network:
  - allow: GET http://site.test:{named.port}/open/**
  - allow: [GET http://*:*/**, POST */**, GET ws://*:*/**]
  - deny: ANY site.test:*/open/shut/**
""")
        table = Names(**{name.replace(".", "_"): ["127.0.0.1"] for name in NAMES})
        egress = Egress(PolicyJudge(policy), Rules(), resolve=table)
        egress.serve(listener.dup())
        yield Joined(listener.getsockname()[1], named, other)
        egress.close()


HOSTS = st.one_of(
    st.sampled_from(
        [
            *NAMES,
            *("SITE.test.", "127.0.0.1", "0x7f.1", "2130706433", "127.1", "[::1]", "[::ffff:127.0.0.1]", "0"),
            *(
                "site.test@evil.test",
                "evil.test@site.test",
                "user:p@site.test",
                "s\u0456te.test",
                "169.254.169.254",
            ),
        ]
    ),
    st.text(alphabet="site.tvl@:[]%0x7f1", max_size=12),
)
PATHS = st.lists(
    st.sampled_from(
        [
            *("open", "shut", "OPEN", "%6fpen", "%73hut", "..", "%2e%2e", "%2e.", ".", "", "a", ";x", "..;"),
            *(
                "%2f",
                "\\",
                "%5c",
                "%252e%252e",
                "?",
                "%3f",
                "#",
                "%23",
                "%00",
                "%",
                "a b",
                "\u00e9",
                "%c3%a9",
            ),
        ]
    ),
    max_size=6,
).map(lambda parts: "/" + "/".join(parts))
METHODS = st.sampled_from(["GET", "POST", "HEAD", "PUT", "get", "CONNECT", "TRACE", "XGET"])


@given(
    METHODS,
    HOSTS,
    st.booleans(),
    PATHS,
    st.sampled_from(["", "Upgrade: websocket\r\nConnection: upgrade\r\n"]),
)
@example("GET", "site.test", True, "/open/a", "")
@example("CONNECT", "site.test", True, "/open/a", "")
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_no_request_reaches_a_server_that_the_policy_does_not_name(
    joined: Joined, method: str, host: str, right: bool, path: str, more: str
) -> None:
    joined.named.seen.clear()
    port = (joined.named if right else joined.other).port
    head = f"Host: {host}:{port}\r\n{more}\r\n"
    if method == "CONNECT":
        tunnel = f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"
        said = _say(joined.proxy, tunnel, f"GET {path} HTTP/1.1\r\n{head}")
    else:
        said = _say(joined.proxy, f"{method} http://{host}:{port}{path} HTTP/1.1\r\n{head}")
    assert joined.other.seen == []
    for seen in joined.named.seen:
        assert method in ("GET", "CONNECT") and host.lower().removesuffix(".") == "site.test"
        assert unquote(seen).startswith(("GET /open/", "GET /open?")) or unquote(seen) == "GET /open"
        assert "/open/shut" not in unquote(seen).partition("?")[0]
    if (host, right, path, more) == ("site.test", True, "/open/a", "") and method in ("GET", "CONNECT"):
        assert said.startswith(b"HTTP/1.1 200") and joined.named.seen == [
            "GET /open/a"
        ]  # it is no closed door


def _say(port: int, *parts: str) -> bytes:
    """What is answered to the last of the parts; each is sent when the one before was answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock, suppress(OSError):
        for part in parts[:-1]:
            sock.sendall(part.encode())
            if not sock.recv(4096).startswith(b"HTTP/1.1 200"):
                return b""
        sock.sendall(parts[-1].encode())
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(4096), b""))
    return b""
