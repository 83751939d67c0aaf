"""A kernel in a running, tested sandbox: engine, door, self-test and connection put together."""

from __future__ import annotations

import compileall
import functools
import json
import os
import secrets
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from mulligan.sandbox import bounds, guest, interior, selftest
from mulligan.sandbox.door import Door
from mulligan.sandbox.errors import DoorClosed, ImageUnusable, SandboxError, WarmFailed
from mulligan.sandbox.isolation import (
    GUEST,
    OFFERED,
    PROXY_PORT,
    RUN,
    WRITABLE,
    Enforcement,
    Engine,
    Isolation,
    Mount,
    Report,
    Sandbox,
)
from mulligan.sandbox.kernel import Fork, Kernel, WorkerLost
from mulligan.sandbox.printable import one_line

#: seconds that a sandbox may take to start; a cold engine on a busy machine takes a few
START = 60.0


@dataclass(slots=True)
class Confined:
    """A context manager; `close` ends the sandbox with everything in it, and may be called more than once."""

    sandbox: Sandbox
    kernel: Kernel
    report: Report
    #: the checkpoint of the fresh kernel, before any action
    root: Fork
    #: Python that was run before it, and is again wherever a worker is started anew
    warm: str
    #: the kernelspec of a kernel that is not ours; "" for ours
    other: str
    _resources: ExitStack

    def close(self) -> None:
        self._resources.close()

    def restart(self) -> tuple[str, ...]:
        """Start a worker anew, as it was before any action. In words, in what it may be another."""
        self.kernel.restore(None)
        if not self.warm:
            return ()
        try:
            warm_up(self.kernel, self.warm)
        except WarmFailed as error:
            self.kernel.restore(None)
            return (error.message,)
        return ("the code to begin with was run again: what depends on time or chance may differ",)

    def last_words(self) -> str:
        """Why the sandbox ended. Waits a moment: its connection may break before its process is seen to have ended."""
        deadline = time.monotonic() + 2.0
        while self.sandbox.running() and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.sandbox.diagnosis()

    def __enter__(self) -> Confined:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def prepare_files(files: Path, uid: int, gid: int) -> None:
    """Make the folders that the sandbox may write, owned by the sandbox's user."""
    for name in WRITABLE:
        folder = files / name
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(folder, uid, gid)


class Outlet(Protocol):
    """The proxy of a session that may use the network: `trust` is PEM, whom the sandbox may believe; `environment` are
    variables of its own."""

    trust: bytes
    environment: Mapping[str, str]

    def serve(self, listener: socket.socket) -> None: ...


class Counter(Protocol):
    """Takes calls of functions of the host's; `described` is JSON, what the guest makes its own functions from."""

    described: Mapping[str, Any]

    def serve(self, listener: socket.socket) -> None: ...


def enter(
    engine: Engine,
    isolation: Isolation,
    files: Path,
    outlet: Outlet | None = None,
    *,
    tools: Counter | None = None,
    warm: str = "",
    other: str = "",
) -> Confined:
    """Start a sandbox around `files`, have it test itself, and connect to its kernel.

    `isolation` is completed here with the mounts that every session has, and where there is an `outlet` with what
    leads programs to it. `tools` takes the calls of functions of the host's. `other` names the kernelspec, one in the
    image or the python, of a kernel to run in place of ours. `warm` is code that is run when the self-test has passed,
    before the root's checkpoint, and without a network. Raises SandboxError: NoIsolation, ImageMissing, ImageUnusable,
    SelfTestFailed, DoorClosed, WarmFailed.
    """
    with ExitStack() as stack:
        door = stack.enter_context(Door.build())
        if outlet is not None:
            isolation = _leading_to(outlet, isolation, door)
        if tools is not None:
            isolation = _offering(tools, isolation, door)
        sandbox = engine.start(replace(isolation, mounts=isolation.mounts + _mounts(files, door.inner)))
        stack.callback(sandbox.stop)
        key = secrets.token_bytes(32).hex().encode()
        try:
            orders = _orders(sandbox.report, isolation, key) | ({"proxy": PROXY_PORT} if outlet else {})
            door.admit(orders, START, sandbox.running)
            kernel = Kernel(door, key)
            stack.callback(kernel.close)
            probes = _mapping(door.hear(START).get("probes"))
            listener = stack.enter_context(door.listener()) if outlet else None
            kernel.wait_ready(START)
            door.hear(START)
            root = kernel.checkpoint(ROOT if not warm else _COLD)
            probes = {**probes, **door.hear(START)}
        except DoorClosed as error:
            raise DoorClosed(error.message, hint=sandbox.diagnosis() or error.hint) from error
        report = replace(sandbox.report, probes=selftest.check(probes))
        if other:
            root = _begin_other(kernel, door, other)
        if warm:
            warm_up(kernel, warm)
            root = kernel.checkpoint(ROOT)
            kernel.thaw()  # what it left running goes on, and is named in `root`
            kernel.discard([_COLD])
        if outlet is not None and listener is not None:
            report = replace(report, bounds={**report.bounds, "network": bounds.by_the_proxy()})
            outlet.serve(listener.dup())
        return Confined(sandbox, kernel, report, root, warm, other, stack.pop_all())


def _begin_other(kernel: Kernel, door: Door, name: str) -> Fork:
    """Ours has made the self-test, and gives place. Raises ImageUnusable."""
    try:
        kernel.become(name, START)
    except WorkerLost as error:
        try:
            why = str(door.hear(START).get("error", error.message))
        except ImageUnusable as told:
            why = told.message
        raise ImageUnusable(
            why,
            hint="install that kernel in the image (docker) or the python (bubblewrap), with its kernelspec in "
            "share/jupyter/kernels",
        ) from error
    kernel.discard([ROOT, _COLD])
    root = kernel.checkpoint(ROOT)
    kernel.thaw()
    return root


def warm_up(kernel: Kernel, source: str) -> None:
    """Run what every session is to begin with. It must complete: a session that lacks it would be another."""
    if not source:
        return
    done = kernel.execute(source, lambda event: None, timeout=START, history=False)
    if not done.ok:
        error = done.error
        why = f"{error.name}: {error.value}" if error else done.cause or done.ended
        raise WarmFailed(
            f"the code to begin with did not complete: {one_line(why)[:400]}",
            hint="correct `warm`, or take an image (docker) or a python (bubblewrap) that has what it imports",
        )


#: the twins of the fresh kernel: before any action, and before the code to begin with, for the self-test
ROOT, _COLD = "root", "cold"


def _leading_to(outlet: Outlet, isolation: Isolation, door: Door) -> Isolation:
    bundle = door.inner / interior.BUNDLE
    bundle.write_bytes(outlet.trust)
    bundle.chmod(0o644)
    return replace(
        isolation,
        environment={**outlet.environment, **isolation.environment, **interior.network_environment()},
    )


def _offering(tools: Counter, isolation: Isolation, door: Door) -> Isolation:
    tools.serve(door.open_for_tools(json.dumps(tools.described).encode()))
    return replace(isolation, environment={"PYTHONPATH": OFFERED, **isolation.environment})


@functools.cache
def _guest_code() -> Path:
    """Compiled, where that can be kept: inside nothing can be, and each start would do it again."""
    code = Path(guest.__file__).resolve().parent
    compileall.compile_dir(code, maxlevels=2, quiet=2)
    return code


def _mounts(files: Path, run: Path) -> tuple[Mount, ...]:
    writable = tuple(
        Mount(source=files / name, target=target, writable=True) for name, target in WRITABLE.items()
    )
    return (Mount(source=_guest_code(), target=GUEST), Mount(source=run, target=RUN), *writable)


def _orders(report: Report, isolation: Isolation, key: bytes) -> dict[str, Any]:
    """What the supervisor is told. It bounds by itself what the engine leaves to it."""
    limits = isolation.limits
    own = {"fsize": limits.file_size, "nofile": limits.open_files, "core": 0}
    supervised = report.bounds["memory"].enforcement is not Enforcement.KERNEL
    if supervised:
        own |= {"data": limits.memory, "nproc": limits.all_pids}
    memory = limits.memory if supervised else 0
    orders = {"key": key.decode(), "limits": own, "supervised_memory": memory}
    return {**orders, "pages_counted": _pages_are_counted()}


def _pages_are_counted() -> bool:
    """Whether this kernel gives anonymous memory by pages of 4 KiB and by huge pages of one size only: there are newer
    ones that can give other sizes as well, and do not count those in /proc/vmstat."""
    sizes = Path("/sys/kernel/mm/transparent_hugepage")
    try:
        largest = int((sizes / "hpage_pmd_size").read_text()) >> 10
        chosen = sizes.glob("hugepages-*kB/enabled")
        others = [each for each in chosen if each.parent.name != f"hugepages-{largest}kB"]
        return all("[never]" in each.read_text() for each in others)
    except (OSError, ValueError):
        return False


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise SandboxError("the sandbox did not report its self-test")
    return value
