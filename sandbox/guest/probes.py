"""Does it hold? What the sandbox must let us do and what it must refuse, tried from the inside before any user code.

The supervisor runs these once, under the syscall filter, and reports them through the door; `selftest.py` on the host
knows which must have held. No probe sends a packet, starts a process or waits: each asks the kernel for something
and reads the answer.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable

HELD = "held"
WRITABLE = {
    "workspace": "/workspace",
    "home": "/home/user",
    "tmp": "/tmp",
    "var_tmp": "/var/tmp",
    "shm": "/dev/shm",
}
READ_ONLY = {
    "root": "/",
    "etc": "/etc",
    "usr": "/usr",
    "dev": "/dev",
    "run": "/run",
    "run_mulligan": "/run/mulligan",
    "guest": os.path.dirname(os.path.abspath(__file__)),
    "mqueue": "/dev/mqueue",
}
#: the engine names here every variable that it set; one more came from somewhere else
ENVIRONMENT = "MULLIGAN_ENVIRONMENT"
ENGINE_SOCKETS = (
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/crio/crio.sock",
)


class Broken(Exception):
    """What a probe found wanting."""


def run() -> dict[str, str]:
    """Every probe's name and "held" or "failed: why". Never raises; may be repeated before workers start."""
    return {name: _observe(probe) for name, probe in _probes().items()}


def _probes() -> dict[str, Callable[[], None]]:
    probes: dict[str, Callable[[], None]] = {
        "identity": _identity,
        "capabilities": _capabilities,
        "no_new_privileges": lambda: _status("NoNewPrivs", "1"),
        "syscall_filter": lambda: _status("Seccomp", "2"),
        "own_processes": _own_processes,
        "environment": _environment,
        "no_engine_socket": _no_engine_socket,
        "no_interface": _no_interface,
        "no_route": _no_route,
        "readonly_proc_sys": _readonly_proc_sys,
        "mount_refused": lambda: _refused("mount", b"none", b"/tmp", b"tmpfs", 0, None),
        "unshare_refused": lambda: _refused("unshare", 0x10000000),  # CLONE_NEWUSER
        "ptrace_refused": lambda: _refused(
            "ptrace", 3, 0, None, None
        ),  # PTRACE_PEEKUSER of no process: ESRCH if let
        "kill_all_refused": lambda: _refused("kill", -1, 0),  # signal 0 asks only whether it may
    }
    probes |= {f"writable_{name}": _writable(path) for name, path in WRITABLE.items()}
    probes |= {f"readonly_{name}": _read_only(path) for name, path in READ_ONLY.items()}
    return probes


def _observe(probe: Callable[[], None]) -> str:
    try:
        probe()
    except Exception as error:
        return f"failed: {error}"[:200]
    return HELD


def _identity() -> None:
    ids = {*os.getresuid(), *os.getresgid()}
    if 0 in ids:
        raise Broken("it runs as root")
    if 0 in os.getgroups():
        raise Broken("it is in root's group")


def _capabilities() -> None:
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        _status(name, "0" * 16)


def _own_processes() -> None:
    """Process 1 is this one, and nothing came in from outside: only such processes have no parent here."""
    if os.getpid() != 1:
        raise Broken("it is not process 1 of a pid namespace of its own")
    for name in os.listdir("/proc"):
        if name.isdigit() and name != "1" and _field(f"/proc/{name}/status", "PPid") == "0":
            raise Broken(f"process {name} came from outside")


def _environment() -> None:
    expected = {ENVIRONMENT, *os.environ[ENVIRONMENT].split(",")}
    if unexpected := sorted(set(os.environ) - expected):
        raise Broken(f"not set by the engine: {', '.join(unexpected)}")


def _no_engine_socket() -> None:
    for path in ENGINE_SOCKETS:
        if os.path.exists(path):
            raise Broken(f"{path} is there")


def _no_interface() -> None:
    """Only loopback may be up. Some kernels put tunnels, all down, into every new network namespace."""
    with open("/proc/net/dev") as table, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        names = [line.split(":")[0].strip() for line in table if ":" in line]
        for name in names:
            answer = fcntl.ioctl(asking, 0x8913, struct.pack("16sH22x", name.encode(), 0))  # SIOCGIFFLAGS
            if name != "lo" and struct.unpack_from("H", answer, 16)[0] & 1:  # IFF_UP
                raise Broken(f"interface {name} is up")


def _no_route() -> None:
    """Connecting a datagram socket looks for a route and sends nothing. The addresses: one that is reserved for
    documentation and so routed like any other, and the one where clouds keep a machine's credentials."""
    for family, address in (
        (socket.AF_INET, "192.0.2.1"),
        (socket.AF_INET, "169.254.169.254"),
        (socket.AF_INET6, "2001:db8::1"),
    ):
        _unreachable(family, address)


def _unreachable(family: int, address: str) -> None:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((address, 53))
    except OSError as error:
        if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return
        raise
    raise Broken(f"there is a route to {address}")


def _readonly_proc_sys() -> None:
    _denied("/proc/sys/kernel/core_pattern", os.O_WRONLY)


def _writable(path: str) -> Callable[[], None]:
    def probe() -> None:
        file = os.path.join(path, f".mulligan-probe-{os.getpid()}")
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.close(descriptor)
        os.unlink(file)

    return probe


def _read_only(path: str) -> Callable[[], None]:
    return lambda: _denied(os.path.join(path, ".mulligan-probe"), os.O_WRONLY | os.O_CREAT | os.O_EXCL)


def _denied(path: str, flags: int) -> None:
    """Absence is as good as a refusal."""
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT):
            return
        raise
    os.close(descriptor)
    raise Broken(f"{path} can be written")


def _refused(call: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, call)(*arguments) == 0:
        raise Broken(f"{call} was allowed")
    if ctypes.get_errno() != errno.EPERM:
        raise Broken(f"{call} was not refused: {os.strerror(ctypes.get_errno())}")


def _status(name: str, expected: str) -> None:
    found = _field("/proc/self/status", name)
    if found != expected:
        raise Broken(f"{name} is {found}, not {expected}")


def _field(file: str, name: str) -> str:
    """A line of a /proc status file; "" for a process that ended meanwhile."""
    try:
        with open(file) as status:
            for line in status:
                key, _, value = line.partition(":")
                if key == name:
                    return value.strip()
    except (FileNotFoundError, ProcessLookupError):
        pass
    return ""
