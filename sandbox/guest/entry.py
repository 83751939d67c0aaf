"""How the supervisor comes into the world: through the door for its orders, then it shuts itself in."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import socket
from collections.abc import Sequence
from typing import Any

from . import probes, seccomp
from .links import Links

DOOR = "/run/mulligan/door.sock"
PR_SET_DUMPABLE = 4
PR_SET_CHILD_SUBREAPER = 36


class Config:
    """What the host told us through the door."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.key = str(told["key"]).encode()
        self.limits: dict[str, int] = told["limits"]
        #: bytes that all processes together may hold where no cgroup bounds them; 0: one does
        self.memory = int(told["supervised_memory"])
        #: the kernel counts all pages that it gives which are not of 4 KiB (pages.py)
        self.pages_counted = bool(told["pages_counted"])
        #: the port of our loopback on which the host takes requests; 0: there is no network
        self.proxy = int(told.get("proxy", 0))
        self.next_look = 0.0
        self.probe = True
        self.probes: dict[str, str] = {}


def admit() -> tuple[socket.socket, Config, list[int]]:
    """Knock at the host's door: the connection (it stays open: whoever holds its other end holds this session),
    the orders, and the listening ends of shell, iopub, stdin, control and heartbeat."""
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    door.connect(DOOR)
    orders, fds, _, _ = socket.recv_fds(door, 64 * 1024, 5)
    if len(fds) != 5:
        raise SystemExit(f"the door gave {len(fds)} sockets instead of 5")
    for fd in fds:
        os.set_inheritable(fd, False)  # the worker must not have them
    return door, Config(json.loads(orders)), list(fds)


def report(door: socket.socket, what: dict[str, Any], passing: Sequence[int] = ()) -> None:
    try:
        socket.send_fds(door, [json.dumps(what).encode()], passing)
    except OSError:
        os._exit(0)


def report_probes(door: socket.socket, config: Config) -> None:
    """With them goes the listening end of the proxy's port, of which nothing stays here: before any other code runs the
    port is taken, and nobody in the sandbox has it."""
    what = {"probes": config.probes}
    if not config.proxy:
        return report(door, what)
    with socket.create_server(("127.0.0.1", config.proxy), backlog=512) as listener:
        report(door, what, [listener.fileno()])


def confine(config: Config) -> Links:
    """Limits, no debugging of this process, the syscall filter; then try whether it all holds. Whoever is told of hard
    links listens before that: a probe, or what it imports, may make a call that waits for the answer.
    """
    for name, value in config.limits.items():
        kind = getattr(resource, f"RLIMIT_{name.upper()}")
        hard = resource.getrlimit(kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, bound))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.umask(0o022)
    os.chdir("/workspace")
    links = Links(seccomp.install_telling())
    links.start()
    config.probes = probes.run()
    return links
