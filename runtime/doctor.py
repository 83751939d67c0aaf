"""What this machine can do, what is missing, and the command that adds it.

Facts are read first, and then each isolation is tried: a session is opened, which makes the sandbox test itself, and
one action is run. Only that trial says that an isolation works.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import platformdirs
from rich.console import Console
from rich.text import Text

from mulligan.runtime.diffs.kinds import EXTRA, LIBRARIES
from mulligan.runtime.session import open_session
from mulligan.sandbox import bubblewrap, interpreter
from mulligan.sandbox.errors import MulliganError
from mulligan.sandbox.printable import printable
from mulligan.sandbox.snapshots.content import clone

ISOLATIONS = ("docker", "bubblewrap")
_PROC = Path("/proc/sys")


@dataclass(frozen=True, slots=True)
class Check:
    """`state` is "ok", "missing", or "note" for what works less well; `remedy` says what adds or mends it."""

    name: str
    state: str
    says: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """One isolation, tried. `seconds` from opening a session to the first result; `bounds` maps who enforces a
    bound to how many; `probes` counts those of the self-test that held. `error` is "" where it works."""

    isolation: str
    works: bool
    seconds: float = 0.0
    version: str = ""
    image: str = ""
    probes: int = 0
    bounds: dict[str, int] | None = None
    error: str = ""
    remedy: str = ""


def main(console: Console, state: Path | None, *, json: bool) -> int:
    """Print what was found; 0 where at least one isolation works, else 3."""
    found, trials = [], []
    for check in checks(state or platformdirs.user_state_path("mulligan")):
        found.append(check)
        if not json:
            _print(console, check.state, check.name, check.says, check.remedy)
    for name in ISOLATIONS:
        trials.append(tried := trial(name))
        if not json:
            _print(console, "ok" if tried.works else "missing", tried.isolation, _words(tried), tried.remedy)
    works = [each.isolation for each in trials if each.works]
    if json:
        print(_json(found, trials))
    else:
        last = (
            f"Sessions can be opened in {' and in '.join(works)}." if works else "No session can be opened."
        )
        console.print(Text.assemble("\n", (last, "bold green" if works else "bold red")))
    return 0 if works else 3


def checks(state: Path) -> Iterator[Check]:
    """The facts, one after another. Changes nothing but a temporary file in `state`."""
    yield _python()
    yield _bubblewrap()
    yield from _docker()
    yield _namespaces()
    yield _cgroup()
    yield _watches()
    yield from _disk(state)
    yield _diffs()


def trial(isolation: str) -> Trial:
    """Open a session and run one action in it; the session's files are gone afterwards."""
    started = time.monotonic()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="mulligan-doctor-") as state,
            open_session(isolation=isolation, state=state) as session,
        ):
            outcome = session.run("6 * 7", timeout=60).outcome
            seconds = time.monotonic() - started
            report = session.report
            if outcome.text != "42":
                return Trial(isolation, False, error=f"6 * 7 gave {outcome.kind}: {outcome.text}")
            counts = Counter(str(bound.enforcement) for bound in report.bounds.values())
            return Trial(
                isolation, True, seconds, report.version, report.image, len(report.probes), dict(counts)
            )
    except MulliganError as error:
        return Trial(isolation, False, error=printable(error.message), remedy=printable(error.hint))


def _python() -> Check:
    said = f"{platform.python_version()} at {sys.executable}"
    try:
        interpreter.find(None)
    except MulliganError as error:
        return Check("python", "note", f"{said}; bubblewrap cannot use it: {error.message}", error.hint)
    return Check("python", "ok", said)


def _diffs() -> Check:
    """What `mulligan diff` reads with."""
    missing = [shown for module, shown in LIBRARIES.items() if find_spec(module) is None]
    if missing:
        said = f"{' and '.join(missing)} not installed: of such files only sizes are compared"
        return Check("diffs", "note", said, EXTRA)
    return Check("diffs", "ok", "pictures and parquet can be compared")


def _bubblewrap() -> Check:
    try:
        return Check("bwrap", "ok", f"{bubblewrap.check()} at {bubblewrap.find()}")
    except MulliganError as error:
        return Check("bwrap", "missing", error.message, error.hint)


def _docker() -> Iterator[Check]:
    from mulligan.sandbox import docker
    from mulligan.sandbox.image import vetting

    try:
        client = docker.connect()
    except MulliganError as error:
        yield Check("engine", "missing", error.message, error.hint)
        return
    yield Check("engine", "ok", f"Docker {client.api.version()['Version']} answers")
    if image := vetting.default(client):
        yield Check("image", "ok", image)
    else:
        yield Check("image", "missing", "the sandbox's image is not built", "Run: mulligan image")
    client.close()


def _namespaces() -> Check:
    """Unprivileged ones; what decides is the trial of bubblewrap, this tells why."""
    if os.geteuid() == 0:
        return Check("namespaces", "ok", "running as root, which needs no permission for them")
    if _number("user/max_user_namespaces") == 0:
        return Check("namespaces", "missing", "none allowed", "Run: sysctl user.max_user_namespaces=10000")
    for name in ("kernel/unprivileged_userns_clone", "kernel/apparmor_restrict_unprivileged_userns"):
        value, wanted = _number(name), int(name.endswith("clone"))
        if value is not None and value != wanted:
            setting = name.replace("/", ".")
            return Check("namespaces", "note", f"{setting} is {value}", f"Run: sysctl {setting}={wanted}")
    return Check("namespaces", "ok", "an ordinary user may make them")


def _cgroup() -> Check:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return Check("cgroup", "ok", "version 2")
    return Check("cgroup", "note", "version 1, or none: Docker's own limits depend on it")


def _watches() -> Check:
    most = _number("fs/inotify/max_user_watches") or 0
    said = f"{most:,} watches and {_number('fs/inotify/max_user_instances') or 0:,} instances a user"
    if most >= 65_536:
        return Check("inotify", "ok", said)
    return Check("inotify", "note", said, "Run: sysctl fs.inotify.max_user_watches=524288")


def _disk(state: Path) -> Iterator[Check]:
    try:
        state.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=state) as source, tempfile.TemporaryFile(dir=state) as target:
            source.write(b"x" * 65536)
            source.flush()
            shared = clone(source.fileno(), target.fileno())
        status = os.statvfs(state)
    except OSError as error:
        yield Check("state", "missing", f"{state}: {error.strerror}", "Name another folder with --state")
        return
    free = status.f_bavail * status.f_frsize / (1 << 30)
    yield Check("state", "ok" if free > 2 else "note", f"{state}, {free:.1f} GiB free")
    if shared:
        yield Check("reflink", "ok", "large files are kept by sharing their blocks")
    else:
        yield Check("reflink", "note", "not on this file system: large files are copied when they change")


def _number(name: str) -> int | None:
    try:
        return int((_PROC / name).read_text())
    except (OSError, ValueError):
        return None


def _words(tried: Trial) -> str:
    if not tried.works:
        return f"does not open: {tried.error}"
    bounds = ", ".join(f"{count} bounds {who}" for who, count in sorted((tried.bounds or {}).items()))
    return f"first result after {tried.seconds:.1f} s, self-test {tried.probes} held; {bounds}"


def _print(console: Console, state: str, name: str, says: str, remedy: str) -> None:
    mark, style = {"ok": ("✓", "green"), "missing": ("✗", "red")}.get(state, ("·", "yellow"))
    line = Text.assemble((f"{mark} ", style), (f"{name:<11} ", "bold"), printable(says))
    console.print(line, soft_wrap=True)
    if remedy:
        console.print(Text(f"              {remedy}", "cyan"), soft_wrap=True)


def _json(found: list[Check], trials: list[Trial]) -> str:
    works = any(each.works for each in trials)
    record = {
        "checks": [asdict(each) for each in found],
        "isolations": [asdict(each) for each in trials],
        "ok": works,
    }
    return json.dumps(record)
