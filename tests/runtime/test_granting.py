"""A policy file opens a session's network, and bounds it: real servers, real sandboxes, rules as people write them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.egress.servers import Names, Server, TestAuthority, serving

import mulligan
from mulligan.policies.errors import PolicyError
from mulligan.policies.loading import parse_policy
from mulligan.runtime.granting import PolicyJudge
from mulligan.runtime.grants import grant_network, ungranted
from mulligan.sandbox.egress.judgement import Asked
from mulligan.sandbox.egress.paths import readings

ASK = """
import json, urllib.error, urllib.request
def ask(url, method="GET"):
    body = b"x" if method == "POST" else None
    try:
        return urllib.request.urlopen(urllib.request.Request(url, body, method=method)).status
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["rule"]
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as found:
        yield found


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TestAuthority:
    return TestAuthority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> Names:
    names = Names(site_test=["127.0.0.1"], api_test=["127.0.0.1"])
    monkeypatch.setattr("mulligan.sandbox.egress.dialing.resolve", names)
    return names


def _policy(folder: Path, port: int) -> Path:
    file = folder / "rules.yaml"
    file.write_text(f"""network:
  - allow: GET http://site.test:{port}/**
  - deny: POST http://site.test:{port}/**
    because: nothing is published from here
    instead: write it to report.md
  - ask: PUT http://site.test:{port}/**
  - allow: GET http://*.test:{port}/**
""")
    return file


def test_a_policy_file_opens_the_network_that_it_names_and_no_other(
    isolation: str, tmp_path: Path, server: Server, resolved: Names
) -> None:
    file, base = _policy(tmp_path, server.port), f"http://site.test:{server.port}"
    server.seen.clear()
    with mulligan.open(policy=file, isolation=isolation, state=tmp_path / "state") as session:
        step = session.run(ASK + f"print(ask('{base}/ok'), ask('{base}/sp%20ace')); ask('{base}/', 'POST')")
        assert step.outcome.stdout == "200 200\n", step.outcome.text
        line = (
            f"[network: denied POST {base}/ by rule deny POST {base}/** (rules.yaml:3): "
            "nothing is published from here; instead: write it to report.md]"
        )
        assert line in step.outcome.text
        assert [each.denied for each in step.effects] == [False, False, True]
        assert "ask PUT" in (text := session.run(f"ask('{base}/', 'PUT')").outcome.text)
        assert "rules.yaml:6" in text and "nobody is there to be asked, so it is denied" in text
        assert "mulligan.open(..., approve=...)" in text
        # allowed by a star, so it may not lie in a private network
        text = session.run(f"print(ask('http://api.test:{server.port}/'))").outcome.text
        assert "(403, 'network.addresses')" in text.replace('"', "'")
        text = session.run("print(ask('http://10.1.2.3/'))").outcome.text
        assert "no rule allows it" in text and f"what is allowed is GET {base}/**" in text
        assert session.ungranted == ("network on approval (1 rule): nobody is there to be asked",)
    assert server.seen == ["GET /ok", "GET /sp%20ace"]


def test_tls_is_looked_into_unless_a_tunnel_is_allowed(
    isolation: str, tmp_path: Path, authority: TestAuthority, resolved: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.pem))
    with serving(authority.context("site.test")) as looked, serving(authority.context("api.test")) as carried:
        policy = parse_policy(f"""
network:
  - allow: GET site.test:{looked.port}/ok
  - allow: CONNECT api.test:{carried.port}
""")
        with mulligan.open(policy=policy, isolation=isolation, state=tmp_path / "state") as session:
            base = f"https://site.test:{looked.port}"
            step = session.run(ASK + f"print(ask('{base}/ok'), ask('{base}/ok', 'POST'), ask('{base}/no'))")
            assert step.outcome.stdout == "200 (403, 'network') (403, 'network')\n", step.outcome.text
            # nobody looks into this one, so it is not known what went through
            tunnel = session.run(f"""
import socket
with socket.create_connection(("127.0.0.1", 3128)) as sock:
    sock.sendall(b"CONNECT api.test:{carried.port} HTTP/1.1\\r\\nHost: api.test:{carried.port}\\r\\n\\r\\n")
    print(sock.recv(100).split()[1])
    sock.sendall(b"POST / HTTP/1.1\\r\\nHost: api.test:{carried.port}\\r\\nContent-Length: 0\\r\\n\\r\\n")
    print(sock.recv(100).split()[1])
""")
            assert tunnel.outcome.stdout == "b'200'\nb'403'\n", tunnel.outcome.text
        assert looked.seen == ["GET /ok"] and carried.seen == []


@pytest.mark.parametrize("text", ["", "network: []", "network: [{deny: ANY */**}]"])
def test_rules_that_let_nothing_leave_open_no_network(text: str) -> None:
    assert grant_network(parse_policy(text)) is None


def test_a_session_whose_rules_let_nothing_leave_has_no_proxy_and_no_variables(
    isolation: str, tmp_path: Path
) -> None:
    policy = parse_policy("network: [{deny: ANY */**}]")
    with mulligan.open(policy=policy, isolation=isolation, state=tmp_path) as session:
        found = session.run(
            "import os; print([name for name in os.environ if 'proxy' in name.lower() or 'ssl' in name.lower()])\n"
            "print(len(open('/proc/net/tcp').readlines()))"
        )
        assert found.outcome.stdout == "[]\n1\n" and "network" not in " ".join(session.ungranted)


@pytest.mark.parametrize(
    "bound", ["tools: [{allow: send}]\nbudgets: {messages: 3}", "packages: [{hold: pandas from pypi}]"]
)
def test_a_bound_on_what_leaves_that_nothing_holds_opens_no_session(bound: str) -> None:
    with pytest.raises(PolicyError, match="which no session enforces yet"):
        mulligan.open(policy=parse_policy(f"network: [{{allow: GET pypi.org/**}}]\n{bound}"))


@pytest.mark.parametrize("missing", ["h11", "cryptography"])
def test_without_its_libraries_no_session_opens_and_it_says_what_to_install(
    missing: str, tmp_path: Path
) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("network: [{allow: GET pypi.org/**}]")
    code = f"import sys; sys.modules[{missing!r}] = None; import mulligan\n"
    code += f"mulligan.open(policy={str(file)!r}, isolation='bubblewrap', state={str(tmp_path / 'state')!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "NetworkMissing" in done.stderr and "pip install 'mulligan[network]'" in done.stderr
    assert list((tmp_path / "state").rglob("ledger.db")) == []


def test_sessions_of_a_pool_have_the_pools_network_and_no_other(
    isolation: str, tmp_path: Path, server: Server, resolved: Names
) -> None:
    policy = parse_policy(f"network: [{{allow: GET http://site.test:{server.port}/**}}]")
    wider = parse_policy(f"network: [{{allow: ANY http://site.test:{server.port}/**}}]")
    url = f"http://site.test:{server.port}/pooled"
    with mulligan.Pool(1, policy=policy, isolation=isolation, state=tmp_path) as pool:
        pool.fill(60)
        with pytest.raises(PolicyError, match="other network rules"):
            pool.open(policy=wider)
        with pool.open() as session:
            step = session.run(ASK + f"print(ask({url!r}), ask({url!r}, 'POST'))")
            assert step.outcome.stdout == "200 (403, 'network')\n", step.outcome.text
            assert [each.denied for each in step.effects] == [False, True]


JUDGE = PolicyJudge(
    parse_policy("""
network:
  - allow: GET a.example/data/**
  - allow: GET a.example/café.csv
  - allow: [GET wss://a.example/live, GET http://plain.example/**]
  - allow: GET http://[fd00:0::1]:8000/**
  - allow: [GET http://*/open/**, POST http://db.example/**]
  - deny: ANY a.example/data/secret/**
  - allow: CONNECT git.example
""")
)


def _allows(method: str, scheme: str, host: str, port: int, path: str) -> bool:
    """As the proxy asks: about every way in which the path may be read."""
    asked = Asked(method, scheme, host, port, path)
    return all(JUDGE.judge(asked.read_as(each)).allowed for each in (readings(path) if path else ("",)))


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        (("GET", "https", "a.example", 443, "/data/x"), True),
        (("GET", "https", "a.example", 443, "/data/caf%C3%A9%20x"), True),
        (("GET", "https", "a.example", 443, "/caf%C3%A9.csv"), True),
        (("GET", "https", "a.example", 443, "/data/%73ecret/x"), False),
        (("GET", "https", "a.example", 443, "/data/secret;v=1/x"), False),
        (("GET", "https", "a.example", 443, "/data/secret%2Fx"), False),
        (("GET", "https", "a.example", 443, "/data/secret%3Fx"), False),
        (("GET", "https", "a.example", 443, "/data/%2573ecret/x"), False),
        (("GET", "https", "a.example", 443, "/data/..%2fother"), False),
        (("GET", "https", "a.example", 8443, "/data/x"), False),
        (("GET", "http", "a.example", 80, "/data/x"), False),
        (("GET", "wss", "a.example", 443, "/live"), True),
        (("GET", "https", "a.example", 443, "/live"), False),
        (("GET", "ws", "a.example", 80, "/live"), False),
        (("GET", "http", "plain.example", 80, "/"), True),
        (("GET", "http", "plain.example", 8080, "/"), False),
        (("GET", "http", "fd00::1", 8000, "/"), True),
        (("GET", "http", "fd00::2", 8000, "/"), False),
        (("CONNECT", "https", "git.example", 443, ""), True),
        (("CONNECT", "https", "git.example", 22, ""), False),
        (("CONNECT", "https", "a.example", 443, ""), False),
    ],
)
def test_the_proxy_and_the_policy_spell_alike(asked: tuple[str, str, str, int, str], allowed: bool) -> None:
    assert _allows(*asked) is allowed


def test_only_a_line_that_spells_a_host_out_lets_it_be_private() -> None:
    def private(method: str, host: str, port: int = 80) -> bool:
        return JUDGE.judge(Asked(method, "http", host, port, "/open/x")).private

    assert private("GET", "plain.example") and private("GET", "fd00::1", 8000)
    assert private("POST", "db.example") and not private("GET", "db.example")  # a star allows that
    assert not private("GET", "other.example")


def test_what_waits_for_approval_is_said() -> None:
    policy = parse_policy("network: [{allow: GET a.org/**}, {ask: POST a.org/**}, {hold: PUT a.org/**}]")
    asked = "network on approval (1 rule): nobody is there to be asked"
    assert ungranted(policy) == () and ungranted(policy, asks=False) == (asked,)
