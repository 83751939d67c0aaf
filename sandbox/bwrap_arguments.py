"""The command line that describes a sandbox to bubblewrap, and the commands around it; see `bubblewrap.py`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mulligan.sandbox import interior, interpreter
from mulligan.sandbox.errors import NoIsolation
from mulligan.sandbox.isolation import Isolation

ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "ssl", "localtime", "fonts", "mime.types")
PROC_MASKED = (
    *("kcore", "keys", "timer_list", "sched_debug", "latency_stats", "kallsyms", "kpagecount", "kpageflags"),
    *("pressure/cpu", "pressure/io", "pressure/irq", "pressure/memory", "sysrq-trigger"),
)
#: the kernel shows each process its own namespaces' values
PROC_READ_ONLY = ("sys", "fs", "irq", "bus", "acpi", "scsi")


def of_sandbox(isolation: Isolation, python: interpreter.Interpreter, options: str) -> list[str]:
    """What describes it to a bubblewrap whose help text is `options`."""
    return [
        *_privileges(isolation, options),
        *_mounts(isolation, python),
        *_variables(isolation, python),
    ]


def _privileges(isolation: Isolation, options: str) -> list[str]:
    shared = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    shared += ["--hostname", interior.HOSTNAME, "--die-with-parent", "--new-session", "--as-pid-1"]
    if os.geteuid() == 0:
        keep = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")
        return [*shared, "--cap-drop", "ALL", *(word for name in keep for word in ("--cap-add", name))]
    user = ["--unshare-user", "--uid", str(isolation.uid), "--gid", str(isolation.gid)]
    return [*shared, *user, *(["--disable-userns"] if "--disable-userns" in options else [])]


def become(isolation: Isolation) -> list[str]:
    """For root: the command that turns into another as the session's user. For anybody else nothing."""
    if os.geteuid() != 0:
        return []
    user = [f"--reuid={isolation.uid}", f"--regid={isolation.gid}", "--clear-groups"]
    return [_tool("setpriv"), *user, "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--"]


def around() -> list[str]:
    """For root: the command that runs bubblewrap in a pid namespace that ends with this process."""
    if os.geteuid() != 0:
        return []
    namespace = [_tool("unshare"), "--pid", "--fork", "--kill-child", "--"]
    return [_tool("setpriv"), "--pdeathsig=KILL", "--", *namespace]


def _tool(name: str) -> str:
    found = shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin")
    if found is None:
        raise NoIsolation(f"{name} is not installed", hint="Run: apt-get install util-linux")
    return found


def _variables(isolation: Isolation, python: interpreter.Interpreter) -> list[str]:
    variables = interior.environment(isolation, python.path)
    words = [word for pair in variables.items() for word in ("--setenv", *pair)]
    # Not into the workspace: root without capabilities may not enter it.
    return ["--clearenv", *words, "--chdir", "/"]


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
