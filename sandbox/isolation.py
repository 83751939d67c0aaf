"""What an engine is told to enforce, and what it says it enforces.

An `Engine` turns one immutable `Isolation` into one running `Sandbox`. There are two, `docker.py` and
`bubblewrap.py`, behind the same two small protocols and the same contract suite
(`tests/sandbox/test_isolation_contract.py`). There is no third that confines nothing: where neither can be
had, opening fails and says what to install.

How the two sides meet
    The sandbox has no network of its own and nothing of ours in it listens. One host folder is mounted read-only at
    `/run/mulligan`; the host binds every unix socket and hands the listening ends to the supervisor
    through `door.sock` (see `door.py`). So the sandbox can write nowhere but in the session's own files, and
    hostile code cannot unlink or replace a socket.

Where the sandbox can write
    `files/{workspace,home,tmp,var-tmp,shm}` of the session's folder, bound to `/workspace`, `/home/user`,
    `/tmp`, `/var/tmp` and `/dev/shm`. A snapshot of `files/` is a snapshot of everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

GIB = 1 << 30
MIB = 1 << 20

#: processes and threads of our own in a sandbox: the supervisor's three, and the twins that are kept
OWN_PIDS = 56

WORKSPACE = "/workspace"
HOME = "/home/user"
RUN = "/run/mulligan"
GUEST = "/opt/mulligan/mulligan_guest"
#: where Python finds the package `tools`, in sessions that have some
OFFERED = f"{GUEST}/offered"
#: beside it: the folder of the package `actions`, in sessions that were given a library
LIBRARY = "/opt/mulligan/library"
#: in the sandbox's own loopback: where the host's proxy listens, in sessions that may use the network
PROXY_PORT = 3128

#: folder under the session's `files/` -> where the sandbox sees it
WRITABLE: Mapping[str, str] = {
    "workspace": WORKSPACE,
    "home": HOME,
    "tmp": "/tmp",
    "var-tmp": "/var/tmp",
    "shm": "/dev/shm",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one session may use. Bytes, counts and cores; which bound the kernel enforces is in the `Report`.

    `pids` is what user code may have; the supervisor and the twins come on top (`all_pids`).
    """

    memory: int = 4 * GIB
    cpus: float = 2.0
    pids: int = 512
    open_files: int = 4096
    file_size: int = 8 * GIB
    disk: int = 16 * GIB

    @property
    def all_pids(self) -> int:
        return self.pids + OWN_PIDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """One sandbox, described completely; equal descriptions give equal sandboxes.

    `session` labels what the engine makes, so that the remains of a dead session can be found. `image` is read by
    docker alone, `python` (an interpreter's path on the host) by bubblewrap alone; None means the default.
    """

    session: str
    mounts: tuple[Mount, ...]
    uid: int
    gid: int
    limits: Limits = field(default_factory=Limits)
    image: str | None = None
    python: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


class Enforcement(StrEnum):
    KERNEL = "kernel"  # the operating system refuses; nothing inside can get round it
    SUPERVISED = "supervised"  # we look, and act when the bound is passed: it can be overshot
    ABSENT = "absent"  # not enforced here; said so rather than pretended


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    enforcement: Enforcement
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What confines this session: `engine` and its version, and for each bound who enforces it and how.

    `probes` are the self-test's results, filled in by `selftest.py` once the sandbox has answered: name of the
    probe -> what was observed. A session is not opened unless every probe held. `workspace` says by which way the
    user's folder was brought in.
    """

    engine: str
    version: str
    image: str
    bounds: Mapping[str, Bound]
    probes: Mapping[str, str] = field(default_factory=dict)
    workspace: str = ""


class Sandbox(Protocol):
    """One running sandbox. `stop` may be called at any time, from any thread, and more than once."""

    @property
    def report(self) -> Report: ...

    def running(self) -> bool:
        """Whether its first process is alive. Asks the operating system or the engine each time."""
        ...

    def stop(self) -> None:
        """Kill everything in it and remove what the engine made. Returns when that is done."""
        ...

    def diagnosis(self) -> str:
        """Why it ended, or what its first process printed last, for an error message. Bounded, printable."""
        ...


class Engine(Protocol):
    """Makes sandboxes. Construction is cheap; `start` raises a `SandboxError` that says what to do next."""

    @property
    def name(self) -> str: ...

    def start(self, isolation: Isolation) -> Sandbox:
        """Run `PYTHON GUEST/start.py` as process 1, confined as described. Returns once it was launched;
        that it works is learned through the door."""
        ...

    def reap(self) -> int:
        """Remove what sandboxes of dead owners left behind in this engine; how many there were."""
        ...
