"""The host's files, environment, processes and network, and other sessions, are out of reach."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    from tests.guarantees.conftest import Attacker


def test_files_of_the_host(attacker: Attacker, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a secret of the host")
    secret.chmod(0o644)
    places = [
        "/etc/shadow",
        "/root",
        str(secret),
        os.path.expanduser("~/.ssh"),
        "/proc/1/root/etc/shadow",
        "/var/run",
    ]
    said = attacker.said(f"""
for path in {places!r}:
    print(*attempt(lambda: open(path).read() if not os.path.isdir(path) else os.listdir(path)))
print(os.path.exists("/host"), os.path.exists("/var/run/docker.sock"))
""")
    assert "a secret" not in said
    assert "root:" not in said
    lines = said.splitlines()
    assert (
        lines[0].startswith("refused") and lines[2].startswith("refused") and lines[4].startswith("refused")
    ), said
    assert lines[-1] == "False False"


def test_state_of_this_and_of_other_sessions(opened: Callable[..., Attacker], attacker: Attacker) -> None:
    other = opened()
    other.said("open('secret.txt', 'w').write('a secret of another session'); print()")
    folders = [
        str(attacker.session.folders.root),
        str(other.session.folders.root),
        str(other.session.workspace),
    ]
    said = attacker.said(f"""
for folder in {folders!r}:
    print(*attempt(os.listdir, folder))
with open("/proc/self/mountinfo") as mounts:
    for place in sorted({{line.split()[4] for line in mounts}}):
        if os.path.isdir(place) and attempt(os.mkdir, place + "/planted")[0] == "done":
            print(place)
""")
    lines = said.splitlines()
    assert all(line.startswith("refused") for line in lines[:3]), said
    assert set(lines[3:]) == {"/workspace", "/home/user", "/tmp", "/var/tmp", "/dev/shm"}


def test_the_environment_of_the_host(
    opened: Callable[..., Attacker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MULLIGAN_TEST_SECRET", "a secret in a variable")
    said = opened().said("""
print(dict(os.environ))
for pid in everyone():
    print(attempt(lambda: open(f"/proc/{pid}/environ").read()))
""")
    assert "a secret in" not in said


def test_processes_of_the_host(attacker: Attacker) -> None:
    said = attacker.said(
        f"print(*[called(pid) for pid in everyone()]); print(*attempt(os.kill, {os.getpid()}, 0))"
    )
    assert "pytest" not in said
    assert os.getpid() < 50 or said.endswith("refused ProcessLookupError"), said


def test_every_network(attacker: Attacker) -> None:
    """A server of the host's that really listens is not there for the sandbox, by address or by abstract name."""
    with socket.create_server(("0.0.0.0", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        name = f"mulligan-test-{os.getpid()}"
        abstract.bind(f"\0{name}")
        abstract.listen()
        port = server.getsockname()[1]
        taken: list[object] = []
        threading.Thread(target=lambda: taken.append(_accept(server)), daemon=True).start()
        ours = socket.gethostbyname(socket.gethostname())
        said = attacker.said(f"""
for address in ("127.0.0.1", {ours!r}, "172.17.0.1", "1.1.1.1", "169.254.169.254"):
    for port in ({port}, 80):
        with socket.socket() as sock:
            sock.settimeout(1)
            print(*attempt(sock.connect, (address, port)))
with socket.socket(socket.AF_UNIX) as sock:
    print(*attempt(sock.connect, "\\0{name}"))
for family, kind in ((socket.AF_PACKET, socket.SOCK_RAW), (socket.AF_INET, socket.SOCK_RAW), (40, 1)):
    print(*attempt(socket.socket, family, kind))
print(*attempt(socket.getaddrinfo, "example.com", 80))
""")
        assert not taken
    assert all(line.startswith("refused") for line in said.splitlines()), said


def _accept(server: socket.socket) -> object:
    try:
        return server.accept()
    except OSError:
        return None


def test_ways_out_by_the_kernel(attacker: Attacker) -> None:
    said = attacker.said("""
def checked(name, *arguments):
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
for name, arguments in (("mount", (b"none", b"/tmp", b"tmpfs", 0, None)), ("unshare", (0x10000000,)),
                        ("chroot", (b"/tmp",)), ("setuid", (0,)), ("pivot_root", (b"/", b"/")),
                        ("setns", (3, 0)), ("syscall", (321, 0, 0, 0)), ("syscall", (425, 1, 0)),
                        ("syscall", (323, 0)), ("syscall", (250, 0, 0))):
    print(*attempt(checked, name, *arguments))
for path in ("/etc/passwd", "/usr/planted", "/opt/mulligan/mulligan_guest/worker.py", "/run/mulligan/x", "/sys/x",
             "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/dev/mqueue/x", "/dev/kmsg"):
    print(*attempt(open, path, "w"))
for kind in (0o020000, 0o060000):
    print(*attempt(os.mknod, "device", kind | 0o666, os.makedev(1, 3)))
""")
    assert all(line.startswith("refused") for line in said.splitlines()), said


def test_a_session_without_network_rules_has_no_proxy_and_no_trace_of_one(attacker: Attacker) -> None:
    said = attacker.said("""
print(os.listdir("/run/mulligan"), len(open("/proc/net/tcp").readlines()))
print([name for name in os.environ if "proxy" in name.lower() or "ssl" in name.lower()])
""")
    assert said == "[] 1\n[]"
    assert attacker.session.report.bounds["network"].how.startswith("none")
