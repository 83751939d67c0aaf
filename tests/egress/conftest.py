"""A proxy of each test's own, servers behind it, and a plain connection to it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from tests.egress.client import Client
from tests.egress.servers import Names, Rules, Server, TestAuthority, serving

from mulligan.sandbox.egress.bounds import Bounds
from mulligan.sandbox.egress.proxy import Egress

Opened = Callable[..., Client]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as found:
        yield found


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TestAuthority:
    return TestAuthority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def secure_server(authority: TestAuthority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Speaks TLS, as site.test; whoever opens a proxy in this test believes it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.pem))
    with serving(authority.context("site.test", "127.0.0.1")) as found:
        yield found


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Opens proxies and closes them: `opened(rules, names, bounds)` is a client of one."""
    with ExitStack() as stack:

        def open_one(
            rules: Rules | None = None, names: Names | None = None, bounds: Bounds | None = None
        ) -> Client:
            rules = rules or Rules()
            names = names or Names(site_test=["127.0.0.1"], other_test=["127.0.0.1"])
            egress = Egress(rules, rules, bounds=bounds, resolve=names)
            listener = socket.create_server(("127.0.0.1", 0))
            port = listener.getsockname()[1]
            stack.callback(egress.close)
            egress.serve(listener)
            trust = ssl.create_default_context(cadata=egress.trust.decode())
            return Client(egress, rules, names, port, trust)

        yield open_one
