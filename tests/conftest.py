"""Which isolations the tests run in, and the promise that none is left out unseen.

A test that takes `isolation` runs once in each. `MULLIGAN_ISOLATIONS` names them ("docker,bubblewrap"); without
it both are required in CI, and elsewhere Docker is left out when no engine answers, which the summary then says.
A required engine that does not answer ends the run before its first test.

Tests run beside each other (`make test`: pytest-xdist, a file a worker), but for those that are marked `alone`: these
load the whole machine, as a fork bomb does, and others would fail at their deadlines.
"""

from __future__ import annotations

import fcntl
import functools
import gc
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

ISOLATIONS = ("docker", "bubblewrap")


@functools.cache
def engine_failure() -> str:
    """Why no Docker engine can be had, or "" where one answers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the SDK drops a socket that could not connect
        try:
            docker.from_env(timeout=10).close()
            return ""
        except docker.errors.DockerException as error:
            return str(error)
        finally:
            gc.collect()


@functools.cache
def isolations() -> tuple[str, ...]:
    named = os.environ.get("MULLIGAN_ISOLATIONS", "")
    chosen = tuple(name.strip() for name in named.split(",") if name.strip())
    if unknown := set(chosen) - set(ISOLATIONS):
        raise pytest.UsageError(f"MULLIGAN_ISOLATIONS: no such isolation: {', '.join(sorted(unknown))}")
    if chosen:
        return chosen
    if os.environ.get("CI") == "true" or not engine_failure():
        return ISOLATIONS
    return ("bubblewrap",)


def pytest_configure() -> None:
    # Begun in the background or by nohup, this process ignores these, and so would all that the tests start.
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
    isolations()  # a name that is wrong is said before anything is collected


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "isolation" in metafunc.fixturenames:
        marks = {"docker": [pytest.mark.docker]}
        names = [pytest.param(name, marks=marks.get(name, [])) for name in isolations()]
        metafunc.parametrize("isolation", names, scope="session")


@pytest.fixture(scope="session")
def any_isolation() -> str:
    """One that can be had, for what is the same in all: what the host does with files that are there already."""
    return isolations()[-1]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "docker" in isolations():
        return
    left_out = [item for item in items if item.get_closest_marker("docker")]
    items[:] = [item for item in items if not item.get_closest_marker("docker")]
    config.hook.pytest_deselected(items=left_out)


def pytest_collection_finish(session: pytest.Session) -> None:
    needed = any(item.get_closest_marker("docker") for item in session.items)
    if needed and engine_failure() and not session.config.option.collectonly:
        raise pytest.UsageError(
            f"Docker is required here and does not answer: {engine_failure()}\n"
            "  `make engine` installs and starts one; MULLIGAN_ISOLATIONS=bubblewrap tests without it"
        )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Around a test, before its clock starts: one that is marked `alone` waits until no other runs, and they for it."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    kind = fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH
    with _opened(Path(__file__)) as gate, _opened(Path(__file__).parent) as place:
        fcntl.flock(gate, fcntl.LOCK_EX)  # in turn, or one that wants to be alone would wait for ever
        fcntl.flock(place, kind)
        fcntl.flock(gate, fcntl.LOCK_UN)
        return (yield)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def pytest_report_header() -> str:
    return f"isolations: {', '.join(isolations())}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if missing := [name for name in ISOLATIONS if name not in isolations()]:
        terminalreporter.section("NOT TESTED", sep="!", red=True, bold=True)
        terminalreporter.line(f"Nothing here says that Mulligan works in: {', '.join(missing)}", red=True)
        if "docker" in missing and engine_failure():
            terminalreporter.line(f"{engine_failure()}  (`make engine` installs and starts Docker)")


RELAY = """
import socket, sys, threading
where, engine = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX)
listener.bind(where)
listener.listen(16)
print("ready", flush=True)
def carry(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass
while True:
    client, _ = listener.accept()
    server = socket.socket(socket.AF_UNIX)
    server.connect(engine)
    for pair in ((client, server), (server, client)):
        threading.Thread(target=carry, args=pair, daemon=True).start()
"""


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts a relay of ours to the engine, which the tests share and which must live; it can be stopped and killed,
    and started again. Until the test ends DOCKER_HOST leads to it."""
    engine = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    where = Path("/tmp") / f"mulligan-relay-{os.getpid()}.sock"  # a unix socket's path is short
    monkeypatch.setenv("DOCKER_HOST", f"unix://{where}")
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        where.unlink(missing_ok=True)
        command = [sys.executable, "-c", RELAY, str(where), engine]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        stdout = started[-1].stdout
        assert stdout is not None
        with stdout:
            assert stdout.readline() == b"ready\n"
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
    where.unlink(missing_ok=True)
