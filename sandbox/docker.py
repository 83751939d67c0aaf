"""The Docker engine: one container a session, hardened by the engine's own means.

No init, no auto-removal (a container that failed is asked why), no volumes, and a log that cannot grow. Every
container carries who owns it, so that a session whose process was killed leaves nothing for long: `reap` removes what
belongs to the dead, and only that.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, NotFound
from docker.types import LogConfig, Mount, Ulimit

from mulligan.sandbox import bounds, interior, owner
from mulligan.sandbox.errors import NoIsolation, SandboxError
from mulligan.sandbox.image import vetting
from mulligan.sandbox.isolation import Isolation, Report

SESSION = "mulligan.session"
PROC_MASKED = (
    *("acpi", "asound", "interrupts", "kcore", "kallsyms", "keys", "latency_stats", "pressure"),
    *("sched_debug", "scsi", "timer_list", "timer_stats"),
)
SYS_MASKED = ("/sys/firmware", "/sys/devices/virtual/powercap")
PROC_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
CPU_SHARES = (
    512  # half of what the engine gives other containers: where processors are short, they come first
)
ANSWERING = 60  # seconds that one request to the engine may take
LOOKING = 3  # seconds that one look at a container may take: whoever asks wants to know now

#: containers of this process that could not be removed, because the engine was gone; they are before the next start
_left: set[str] = set()


class DockerSandbox:
    def __init__(self, client: docker.DockerClient, container: str, report: Report) -> None:
        self._client = client  # this sandbox's own, closed when it stops
        self._container = container
        self._report = report
        self._lock = threading.Lock()
        self._epitaph = ""

    @property
    def report(self) -> Report:
        return self._report

    def running(self) -> bool:
        """True also of one that a slow engine says nothing about, False when the engine is gone."""
        if self._epitaph:
            return False
        try:
            with self._looking() as api:
                return bool(api.inspect_container(self._container)["State"]["Running"])
        except (requests.Timeout, TimeoutError):
            return True
        except (DockerException, OSError):
            return False

    def stop(self) -> None:
        """Where the engine is gone, the next `start` or `reap` removes what it left."""
        with self._lock:
            if self._epitaph:
                return
            last = self.diagnosis().replace("it is running", "it was stopped", 1)
            with closing(self._client), suppress(OSError), _noted(self._container):
                _knock()
                _remove(self._client.api, self._container)
            self._epitaph = last

    def diagnosis(self) -> str:
        """What the engine knows of it; after `stop`, what it knew then."""
        if self._epitaph:
            return self._epitaph
        try:
            with self._looking() as api:
                state = api.inspect_container(self._container)["State"]
                said = interior.tail(api.logs(self._container, tail=60))
        except (DockerException, OSError) as error:
            return f"the engine knows nothing of it: {interior.tail(str(error).encode(), 400)}"
        return f"{_ending(state)}; it last said:\n{said}" if said else f"{_ending(state)}; it said nothing"

    @contextmanager
    def _looking(self) -> Iterator[docker.APIClient]:
        """A connection for one look, which does not wait as long as the sandbox's own client may."""
        _knock(LOOKING)
        with closing(docker.from_env(version=self._client.api.api_version, timeout=LOOKING)) as client:
            yield client.api


class DockerEngine:
    name = "docker"

    def __init__(self, cache: Path | None = None) -> None:
        """`cache` is a folder of the user's for small files; what is in it can be lost."""
        self._cache = cache

    def start(self, isolation: Isolation) -> DockerSandbox:
        if not isolation.uid or not isolation.gid:
            raise ValueError("a sandbox never runs as root: give the isolation another uid and gid")
        with _answering(), ExitStack() as stack:
            client = connect()
            stack.callback(client.close)
            _remove_left(client.api)
            cache = self._cache or Path.home() / ".cache" / "mulligan"
            image = vetting.find(client, isolation.image, cache / "images")
            accounts = _account_files(isolation, cache / "accounts")
            version = client.api.version()["Version"]
            report = Report(engine=self.name, version=version, image=image.name, bounds=bounds.of_docker())
            container = _run(client, isolation, image, accounts)
            stack.pop_all()
        return DockerSandbox(client, container, report)

    def reap(self) -> int:
        with _answering(), closing(connect()) as client:
            _remove_left(client.api)
            found = client.api.containers(all=True, filters={"label": SESSION})
            orphans = [container["Id"] for container in found if not owner.lives(container["Labels"])]
            for orphan in orphans:
                _remove(client.api, orphan)
        return len(orphans)


def connect() -> docker.DockerClient:
    """A client of an engine that answers. NoIsolation says why there is none."""
    try:
        _knock()
        client = docker.from_env(timeout=ANSWERING)
    except PermissionError as error:
        raise NoIsolation(
            "this user may not use the Docker engine",
            hint="Run: sudo usermod -aG docker $USER, and log in again; or use isolation='bubblewrap'",
        ) from error
    except (OSError, DockerException) as error:
        raise _silent() from error
    try:
        client.ping()
    except (DockerException, requests.RequestException) as error:
        client.close()
        raise _silent() from error
    return client


def _knock(patience: float = ANSWERING) -> None:
    """Try the engine's socket first: the SDK leaves one open where nobody answers, and hides the reason. OSError
    where nobody does."""
    where = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if where.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as knocking:
            knocking.settimeout(patience)
            knocking.connect(where.removeprefix("unix://"))


@contextmanager
def _answering() -> Iterator[None]:
    """An engine that stops answering meanwhile is none."""
    try:
        yield
    except requests.RequestException as error:
        raise _silent() from error


def _silent() -> NoIsolation:
    return NoIsolation(
        "no Docker engine answers",
        hint="Run: sudo systemctl start docker, or `make engine`; or use isolation='bubblewrap'",
    )


def _run(
    client: docker.DockerClient, isolation: Isolation, image: vetting.Image, accounts: list[Mount]
) -> str:
    """The id of a new container that was started."""
    try:
        made = _create(client, isolation, image, accounts)
    except APIError as error:
        raise _failed(error) from error
    try:
        client.api.start(made)
    except BaseException as error:
        _left.add(made)
        with suppress(DockerException, OSError):
            _remove(client.api, made)
        if isinstance(error, APIError):
            raise _failed(error) from error
        raise
    return made


def _failed(error: APIError) -> SandboxError:
    said = interior.tail(str(error.explanation).encode(), 400)
    return SandboxError(f"the engine started no container: {said}")


def _create(
    client: docker.DockerClient, isolation: Isolation, image: vetting.Image, accounts: list[Mount]
) -> str:
    """The id of a new container, not started."""
    limits = isolation.limits
    binds = [
        Mount(mount.target, str(mount.source), type="bind", read_only=not mount.writable)
        for mount in isolation.mounts
    ]
    # A volume that the image declares would be one more writable place: an empty folder stands there instead.
    empty = {"/dev/mqueue", *image.volumes} - {mount.target for mount in isolation.mounts}
    confinement = client.api.create_host_config(
        network_mode="none",
        ipc_mode="private",
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mounts=[*binds, *accounts],
        tmpfs=dict.fromkeys(sorted(empty), "ro,size=4k,mode=0555"),
        mem_limit=limits.memory,
        memswap_limit=limits.memory,
        nano_cpus=int(limits.cpus * 1e9),
        cpu_shares=CPU_SHARES,
        pids_limit=limits.all_pids,
        oom_score_adj=500,
        ulimits=[
            Ulimit(name="fsize", soft=limits.file_size, hard=limits.file_size),
            Ulimit(name="nofile", soft=limits.open_files, hard=limits.open_files),
            Ulimit(name="core", soft=0, hard=0),
        ],
        log_config=LogConfig(type="json-file", config={"max-size": "1m", "max-file": "1"}),
    )
    confinement["MaskedPaths"] = [*SYS_MASKED, *(f"/proc/{name}" for name in PROC_MASKED)]
    confinement["ReadonlyPaths"] = [f"/proc/{name}" for name in PROC_READ_ONLY]
    python, *arguments = interior.command(image.python)
    made = client.api.create_container(
        image.id,
        entrypoint=[python],
        command=arguments,
        user=f"{isolation.uid}:{isolation.gid}",
        hostname=interior.HOSTNAME,
        working_dir="/",
        environment=interior.environment(isolation, image.path, image.variables),
        labels={SESSION: isolation.session, **owner.labels()},
        healthcheck={"test": ["NONE"]},
        host_config=confinement,
    )
    return str(made["Id"])


def _account_files(isolation: Isolation, cache: Path) -> list[Mount]:
    """Files to bind: the same for every session of one uid, so they are written once and never again."""
    folder = cache / f"{isolation.uid}-{isolation.gid}"
    folder.mkdir(parents=True, exist_ok=True)
    mounts = []
    for path, text in interior.accounts(isolation).items():
        file = folder / Path(path).name
        if not file.exists() or file.read_text() != text:
            new = file.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
            new.write_text(text)
            new.chmod(0o644)
            new.replace(file)
        mounts.append(Mount(path, str(file), type="bind", read_only=True))
    return mounts


def _remove_left(api: docker.APIClient) -> None:
    """Before anything new: a container that outlived its engine's absence would write beside its successor."""
    for container in tuple(_left):
        _remove(api, container)


@contextmanager
def _noted(container: str) -> Iterator[None]:
    """What could not be removed is, before the next start. Not before it has failed: starts do not wait for stops."""
    try:
        yield
    except BaseException:
        _left.add(container)
        raise


def _remove(api: docker.APIClient, container: str) -> None:
    """Kill and remove; returns when it is gone, whoever removed it."""
    try:
        api.remove_container(container, force=True, v=True)
    except NotFound:
        pass
    except APIError as error:
        if error.status_code != 409:  # somebody else is removing it
            raise
        with suppress(NotFound):
            api.wait(container, condition="removed")
    _left.discard(container)


def _ending(state: Mapping[str, Any]) -> str:
    if state["Running"]:
        return "it is running"
    if state.get("OOMKilled"):
        return "it was killed because it used more memory than the session may"
    code = int(state["ExitCode"])
    return f"it was killed by signal {code - 128}" if code > 128 else f"it ended with exit status {code}"
