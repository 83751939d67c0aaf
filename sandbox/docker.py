"""The Docker engine: one container a session, hardened by the engine's own means.

No init, no auto-removal (a container that failed is asked why), no volumes, and a log that cannot grow. Every
container carries who owns it, so that a session whose process was killed leaves nothing for long: `reap` removes what
belongs to the dead, and only that.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, NotFound
from docker.types import LogConfig, Mount, Ulimit

from mulligan.sandbox import interior
from mulligan.sandbox.errors import NoIsolation, SandboxError
from mulligan.sandbox.image import vetting
from mulligan.sandbox.isolation import Bound, Enforcement, Isolation, Report

SESSION, OWNER, OWNER_START, OWNER_PLACE = (
    "mulligan.session",
    "mulligan.owner",
    "mulligan.owner_start",
    "mulligan.owner_place",
)
PROC_MASKED = (
    *("acpi", "asound", "interrupts", "kcore", "kallsyms", "keys", "latency_stats", "pressure"),
    *("sched_debug", "scsi", "timer_list", "timer_stats"),
)
SYS_MASKED = ("/sys/firmware", "/sys/devices/virtual/powercap")
PROC_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
ANSWERING = 60  # seconds that one request to the engine may take


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
        if self._epitaph:
            return False
        try:
            return bool(self._state()["Running"])
        except (DockerException, requests.RequestException):
            return False

    def stop(self) -> None:
        with self._lock:
            if self._epitaph:
                return
            last = self.diagnosis().replace("it is running", "it was stopped", 1)
            _remove(self._client.api, self._container)
            self._epitaph = last
            self._client.close()

    def diagnosis(self) -> str:
        """What the engine knows of it; after `stop`, what it knew then."""
        if self._epitaph:
            return self._epitaph
        try:
            state = self._state()
            said = interior.tail(self._client.api.logs(self._container, tail=60))
        except (DockerException, requests.RequestException) as error:
            return f"the engine knows nothing of it: {interior.tail(str(error).encode(), 400)}"
        return f"{_ending(state)}; it last said:\n{said}" if said else f"{_ending(state)}; it said nothing"

    def _state(self) -> Mapping[str, Any]:
        state: Mapping[str, Any] = self._client.api.inspect_container(self._container)["State"]
        return state


class DockerEngine:
    name = "docker"

    def __init__(self, cache: Path | None = None) -> None:
        """`cache` is a folder of the user's for small files; what is in it can be lost."""
        self._cache = cache

    def start(self, isolation: Isolation) -> DockerSandbox:
        if not isolation.uid or not isolation.gid:
            raise ValueError("a sandbox never runs as root: give the isolation another uid and gid")
        with ExitStack() as stack:
            client = connect()
            stack.callback(client.close)
            cache = self._cache or Path.home() / ".cache" / "mulligan"
            image = vetting.find(client, isolation.image, cache / "images")
            accounts = _account_files(isolation, cache / "accounts")
            version = client.api.version()["Version"]
            report = Report(engine=self.name, version=version, image=image.name, bounds=_bounds())
            container = _run(client, isolation, image, accounts)
            stack.pop_all()
        return DockerSandbox(client, container, report)

    def reap(self) -> int:
        with closing(connect()) as client:
            found = client.api.containers(all=True, filters={"label": SESSION})
            orphans = [container["Id"] for container in found if not _owner_lives(container["Labels"])]
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


def _knock() -> None:
    """Try the engine's socket first: the SDK leaves one open where nobody answers, and hides the reason."""
    where = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if where.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as knocking:
            knocking.settimeout(ANSWERING)
            knocking.connect(where.removeprefix("unix://"))


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
    except APIError as error:
        _remove(client.api, made)
        raise _failed(error) from error
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
        pids_limit=limits.pids,
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
        labels={SESSION: isolation.session, **_owner()},
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


def _remove(api: docker.APIClient, container: str) -> None:
    """Kill and remove; returns when it is gone, whoever removed it."""
    try:
        api.remove_container(container, force=True, v=True)
    except NotFound:
        return
    except APIError as error:
        if error.status_code != 409:  # somebody else is removing it
            raise
        with suppress(NotFound):
            api.wait(container, condition="removed")


def _ending(state: Mapping[str, Any]) -> str:
    if state["Running"]:
        return "it is running"
    if state.get("OOMKilled"):
        return "it was killed because it used more memory than the session may"
    code = int(state["ExitCode"])
    return f"it was killed by signal {code - 128}" if code > 128 else f"it ended with exit status {code}"


def _owner() -> dict[str, str]:
    return {OWNER: str(os.getpid()), OWNER_START: _started(os.getpid()), OWNER_PLACE: _place()}


def _owner_lives(labels: Mapping[str, str]) -> bool:
    """Whether the process that owns a container lives; True where that cannot be known from here."""
    boot, _, namespace = labels.get(OWNER_PLACE, "").partition(" ")
    here, _, ours = _place().partition(" ")
    if boot != here:
        return False  # of before a restart of the machine
    if namespace != ours:
        return True  # in a pid namespace that we cannot see
    owner = labels.get(OWNER, "")
    return owner.isdecimal() and _started(int(owner)) == labels.get(OWNER_START)


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot; "" if there is none. The pid alone may be used again."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _place() -> str:
    """Which run of which kernel, and which pid namespace in it: where a pid means the same process."""
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"


def _bounds() -> Mapping[str, Bound]:
    kernel, supervised = Enforcement.KERNEL, Enforcement.SUPERVISED
    table = {
        "memory": (kernel, "cgroup, all processes together, no swap beyond it"),
        "cpus": (kernel, "cgroup quota of processor time"),
        "pids": (kernel, "cgroup, all processes and threads together"),
        "file_size": (kernel, "RLIMIT_FSIZE, one file"),
        "open_files": (kernel, "RLIMIT_NOFILE, each process"),
        "disk": (
            supervised,
            "measured while an action runs; it can be overshot by what is written in between",
        ),
        "network": (kernel, "a network namespace with loopback only"),
        "filesystem": (kernel, "a mount namespace, read-only but for the session's own folders"),
        "syscalls": (
            kernel,
            "the engine's seccomp profile, and the guest's filter from before any user code",
        ),
        "capabilities": (kernel, "none, an empty bounding set, no-new-privileges"),
    }
    return {name: Bound(enforcement=who, how=how) for name, (who, how) in table.items()}
