"""What can be chosen for a kernel: the same words for `mulligan kernelspec install` and for the kernel it starts."""

from __future__ import annotations

import argparse
from pathlib import Path

from mulligan.runtime.placing import add_place


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_place(parser)
    add(
        "--kernel",
        metavar="NAME",
        help="a kernelspec in the image or the python, for another language: bash, ir",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--workspace", metavar="DIR", help="the folder to copy (default: the notebook's)")
    where.add_argument("--empty", action="store_true", help="begin with an empty folder")
    add("--policy", type=Path, metavar="FILE", help="a policy, a YAML file: limits of the session")
    add("--protect", action="append", default=[], metavar="GLOB", help="a path that no cell may change")
    add(
        "--at-end",
        choices=("keep", "commit", "discard"),
        default="keep",
        help="what becomes of changes that were not committed when the kernel is shut down (default: keep)",
    )
    add("--state", type=Path, metavar="DIR", help="the folder that sessions are kept in")


def spell_options(chosen: argparse.Namespace) -> list[str]:
    """As words of a command line. Paths are made absolute: the kernel starts elsewhere."""
    words = ["--isolation", chosen.isolation] if chosen.isolation != "auto" else []
    words += ["--image", chosen.image] if chosen.image else []
    words += ["--kernel", chosen.kernel] if chosen.kernel else []
    for name in ("python", "workspace", "policy", "state"):
        if (value := getattr(chosen, name)) is not None:
            words += [f"--{name}", str(Path(value).absolute())]
    words += ["--empty"] if chosen.empty else []
    words += ["--at-end", chosen.at_end] if chosen.at_end != "keep" else []
    for glob in chosen.protect:
        words.append(f"--protect={glob}")
    return words
