"""The Docker engine goes away while a session is open: the session says so, keeps everything, and goes on later.

The engine that the tests share must live, so the session reaches it through a relay of ours, which is what dies;
its container is killed as the engine's end would kill it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mulligan
from mulligan.runtime.errors import SessionBroken

RELAY = """
import os, socket, sys, threading
where, engine = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX)
listener.bind(where)
listener.listen(16)
print("ready", flush=True)
def carry(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError:
        pass
while True:
    client, _ = listener.accept()
    server = socket.socket(socket.AF_UNIX)
    server.connect(engine)
    for pair in ((client, server), (server, client)):
        threading.Thread(target=carry, args=pair, daemon=True).start()
"""


@contextlib.contextmanager
def relay(where: Path, engine: str) -> Iterator[subprocess.Popen[bytes]]:
    """Until the block ends or the process is killed, `where` leads to the engine."""
    where.unlink(missing_ok=True)
    with subprocess.Popen(
        [sys.executable, "-c", RELAY, str(where), engine], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.filterwarnings(
    # the Docker SDK drops the socket of a connection that was refused without closing it
    "ignore:unclosed:ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
@pytest.mark.docker
def test_a_session_whose_engine_dies_keeps_everything_and_goes_on_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    where = Path("/tmp") / f"mulligan-relay-{os.getpid()}.sock"  # a unix socket's path is short
    monkeypatch.setenv("DOCKER_HOST", f"unix://{where}")
    folder = tmp_path / "data"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(relay(where, engine))
        session = stack.enter_context(mulligan.open(folder, isolation="docker", state=tmp_path / "state"))
        session.run("x = 41; open('kept.txt', 'w').write('kept')")
        first.kill()
        first.wait()
        _kill_container(session.id, engine)

        with pytest.raises(SessionBroken, match="cannot be started again"):
            session.run("x += 1")
        assert (session.workspace / "kept.txt").read_text() == "kept"
        assert [change.path for change in session.commit().applied] == [b"kept.txt"]
        assert (folder / "kept.txt").read_text() == "kept"

        stack.enter_context(relay(where, engine))
        step = session.run("x + 1")
        assert step.outcome.result is not None
        assert step.outcome.result.data["text/plain"] == "42"
        assert session.timeline.cursor == step.id
    gc.collect()  # those sockets, while their warnings are ignored


def _kill_container(session: str, engine: str) -> None:
    import docker

    client = docker.DockerClient(base_url=f"unix://{engine}")
    for container in client.containers.list(filters={"label": f"mulligan.session={session}"}):
        container.kill()
        container.wait()
    client.close()
