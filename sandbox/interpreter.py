"""Which of the host's folders a Python needs, so that bubblewrap can show the sandbox those and no others."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from mulligan.sandbox.errors import ImageMissing, ImageUnusable
from mulligan.sandbox.interior import SYSTEM_PATH, tail
from mulligan.sandbox.isolation import WRITABLE

SYSTEM = tuple(Path(folder) for folder in ("/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin"))
MOVED = Path("/opt/mulligan/python")

_DESCRIBE = """
import importlib.util, json, os, sys, sysconfig
paths = sysconfig.get_paths()
folders = [sys.exec_prefix, sys.base_exec_prefix, os.path.dirname(os.path.realpath(sys.executable))]
folders += [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
print(json.dumps({
    "version": list(sys.version_info[:2]),
    "prefix": sys.prefix,
    "base": sys.base_prefix,
    "folders": folders,
    "missing": [name for name in ("ipykernel", "zmq") if importlib.util.find_spec(name) is None],
}))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python as the sandbox sees it: `executable` and `path` ($PATH) inside, `binds` from host to inside."""

    executable: str
    path: str
    binds: tuple[tuple[Path, Path], ...]


def find(python: Path | None) -> Interpreter:
    """The interpreter at `python`, or the one that runs this. Asked once per process, then remembered.

    ImageMissing where there is none, ImageUnusable where it cannot run a kernel or cannot be shown alone.
    """
    return _find(Path(os.path.abspath(python or sys.executable)))


@functools.cache
def _find(python: Path) -> Interpreter:
    told = _ask(python)
    prefix, base = Path(told["prefix"]), Path(told["base"])
    folders = _outermost({prefix, base, *map(Path, told["folders"])})
    binds = tuple((folder, _inside(folder, prefix, base, python)) for folder in folders)
    executable = python if not _hidden(prefix) else MOVED / python.relative_to(prefix)
    return Interpreter(str(executable), f"{executable.parent}:{SYSTEM_PATH}", binds)


def _ask(python: Path) -> dict[str, str]:
    if not python.is_file():
        raise ImageMissing(
            f"there is no Python at {python}", hint="Name one with python=..., or leave it out."
        )
    try:
        asked = subprocess.run([python, "-I", "-c", _DESCRIBE], capture_output=True, timeout=30, check=True)
        told = json.loads(asked.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        said = tail(getattr(error, "stderr", None) or b"") or str(error)
        raise ImageUnusable(
            f"{python} does not run Python: {said}", hint="Name another with python=..."
        ) from error
    if tuple(told["version"]) < (3, 10):
        raise ImageUnusable(f"{python} is Python {told['version']}", hint="The sandbox needs 3.10 or newer.")
    if told["missing"]:
        names = " ".join(told["missing"])
        raise ImageUnusable(f"{python} lacks {names}", hint=f"Run: {python} -m pip install ipykernel pyzmq")
    return dict(told)


def _outermost(folders: set[Path]) -> list[Path]:
    """Folders that are not inside another one or the system's, and exist."""
    real = {folder for folder in folders if folder.is_dir() and not _within(folder, SYSTEM)}
    return sorted(folder for folder in real if not _within(folder, tuple(real - {folder})))


def _inside(folder: Path, prefix: Path, base: Path, python: Path) -> Path:
    """Where the sandbox sees `folder`: at its own path, because interpreters have it compiled in.

    A virtual environment under /tmp, say, would be hidden by the session's own /tmp, and it can be moved: it finds
    its base through `pyvenv.cfg`. A base cannot.
    """
    if Path.home().is_relative_to(folder):
        raise ImageUnusable(
            f"{python} is installed in {folder}, which would show the sandbox your home folder",
            hint="Make an environment in a folder of its own: python3 -m venv .venv",
        )
    if not _hidden(folder):
        return folder
    if folder == prefix and prefix != base:
        return MOVED
    raise ImageUnusable(
        f"{python} needs {folder}, which the sandbox's own folders hide",
        hint="Use a Python installed elsewhere: python=...",
    )


def _hidden(folder: Path) -> bool:
    return _within(folder, tuple(map(Path, WRITABLE.values())))


def _within(folder: Path, others: tuple[Path, ...]) -> bool:
    return any(folder.is_relative_to(other) for other in others)
