"""The Docker engine stops answering, or goes: its sandbox says so in time, and ends without a complaint.

The engine that the tests share must live, so a relay of ours stands before it, which can be stopped and killed.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from mulligan.sandbox.docker import DockerEngine, DockerSandbox
from mulligan.sandbox.errors import NoIsolation
from mulligan.sandbox.isolation import GUEST, Isolation, Mount

pytestmark = pytest.mark.docker

ENGINE = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"


@pytest.fixture
def described(tmp_path: Path) -> Isolation:
    tmp_path.chmod(0o755)
    (tmp_path / "start.py").write_text("import signal; signal.pause()")
    guest = Mount(source=tmp_path, target=GUEST)
    return Isolation(session=f"gone-{os.getpid()}", mounts=(guest,), uid=270_001, gid=270_001)


def containers(described: Isolation) -> list[str]:
    client = docker.DockerClient(base_url=ENGINE)
    try:
        found = client.api.containers(all=True, filters={"label": f"mulligan.session={described.session}"})
        return [container["Id"] for container in found]
    finally:
        client.close()


def test_where_the_engine_hangs_a_look_still_ends_within_seconds(
    relay: Callable[[], subprocess.Popen[bytes]], described: Isolation
) -> None:
    process = relay()
    sandbox = DockerEngine().start(described)
    process.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    assert sandbox.running(), "nobody has said that it ended"
    assert "knows nothing" in sandbox.diagnosis()
    assert time.monotonic() - started < 30, "far less than the SDK's own patience"
    process.send_signal(signal.SIGCONT)
    sandbox.stop()
    assert containers(described) == []


def test_where_the_engine_is_gone_stop_is_silent_and_what_stayed_goes_when_it_is_back(
    relay: Callable[[], subprocess.Popen[bytes]], described: Isolation
) -> None:
    process = relay()
    sandbox = DockerEngine().start(described)
    process.kill()
    process.wait()
    assert not sandbox.running()
    sandbox.stop()
    sandbox.stop()
    assert "knows nothing" in sandbox.diagnosis()
    for ask in (DockerEngine().reap, lambda: DockerEngine().start(described)):
        with pytest.raises(NoIsolation, match="no Docker engine answers"):
            ask()
    del sandbox
    gc.collect()  # a connection that was left open would be an error now

    relay()
    successor: DockerSandbox = DockerEngine().start(described)
    (only,) = containers(described)
    assert only == successor._container
    successor.stop()
    assert containers(described) == []
