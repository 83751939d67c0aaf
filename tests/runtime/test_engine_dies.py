"""The Docker engine goes away while a session is open: the session says so, keeps everything, and goes on later.

The engine that the tests share must live, so the session reaches it through a relay of ours, which is what dies;
its container is killed as the engine's end would kill it.
"""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

import mulligan
from mulligan.runtime.errors import SessionBroken

ENGINE = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"


@pytest.mark.filterwarnings(
    # the Docker SDK drops the socket of a connection that was refused without closing it
    "ignore:unclosed:ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
@pytest.mark.docker
def test_a_session_whose_engine_dies_keeps_everything_and_goes_on_when_it_is_back(
    relay: Callable[[], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    first = relay()
    with mulligan.open(folder, isolation="docker", state=tmp_path / "state") as session:
        session.run("x = 41; open('kept.txt', 'w').write('kept')")
        first.kill()
        first.wait()
        _kill_container(session.id)

        with pytest.raises(SessionBroken, match="cannot be started again"):
            session.run("x += 1")
        assert (session.workspace / "kept.txt").read_text() == "kept"
        assert [change.path for change in session.commit().applied] == [b"kept.txt"]
        assert (folder / "kept.txt").read_text() == "kept"

        relay()
        step = session.run("x + 1")
        assert step.outcome.result is not None
        assert step.outcome.result.data["text/plain"] == "42"
        assert session.timeline.cursor == step.id
    gc.collect()  # those sockets, while their warnings are ignored


def _kill_container(session: str) -> None:
    client = docker.DockerClient(base_url=ENGINE)
    for container in client.containers.list(filters={"label": f"mulligan.session={session}"}):
        container.kill()
        container.wait()
    client.close()
