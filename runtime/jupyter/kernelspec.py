"""Kernelspecs: the files by which Jupyter's clients find a kernel, written, listed and removed."""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from mulligan.runtime.errors import KernelspecUnknown
from mulligan.runtime.jupyter.options import add_options, spell_options

NAME, LANGUAGE = "mulligan", "Python"
_VALID = re.compile(r"[a-z0-9._-]+")


def add_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="ACTION", required=True)
    install = commands.add_parser("install", help="let Jupyter's clients find the kernel")
    _add_install(install)
    listing = commands.add_parser("list", help="the kernelspecs that start Mulligan")
    listing.set_defaults(command=_list)
    remove = commands.add_parser("remove", help="remove one")
    remove.add_argument("name", nargs="?", default=NAME, metavar="NAME", help=f"default: {NAME}")
    remove.set_defaults(command=_remove)


def _add_install(install: argparse.ArgumentParser) -> None:
    install.description = (
        "Writes a kernelspec. A notebook that chooses it runs in a sandbox of its own, on a copy of its folder; "
        "%%mulligan in a cell lists what can be undone."
    )
    add = install.add_argument
    add("--name", type=_name, metavar="NAME", help=f"default: {NAME}, or {NAME}-KERNEL")
    add("--display-name", metavar="TEXT", help=f"what clients show (default: {LANGUAGE} ({NAME}))")
    where = install.add_mutually_exclusive_group()
    where.add_argument("--user", action="store_true", help="for all environments of this user")
    where.add_argument("--sys-prefix", action="store_true", help="in this environment (default)")
    where.add_argument("--prefix", metavar="DIR", help="in the environment there")
    add_options(install)
    install.set_defaults(command=_install)


def _name(text: str) -> str:
    if not _VALID.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name: small letters, digits, '.', '_' and '-'")
    return text


def describe(display_name: str, language: str, options: list[str]) -> dict[str, Any]:
    """The content of kernel.json. The command works by itself, for clients that know no provisioners; those that do
    find ours, if they run where Mulligan is installed."""
    return {
        "argv": [sys.executable, "-P", "-m", "mulligan.runtime.jupyter", "-f", "{connection_file}", *options],
        "display_name": display_name,
        "language": language,
        "interrupt_mode": "message",
        "metadata": {
            "debugger": False,
            "supported_encryption": "curve",
            "kernel_provisioner": {"provisioner_name": "mulligan", "config": {}},
        },
    }


def _install(chosen: argparse.Namespace) -> int:
    from jupyter_client.kernelspec import KernelSpecManager

    if chosen.policy is not None:
        from mulligan.policies.loading import load_policy

        load_policy(chosen.policy)  # what is wrong with it is said now
    language = chosen.kernel or LANGUAGE
    name = chosen.name or (f"{NAME}-{_name(chosen.kernel.lower())}" if chosen.kernel else NAME)
    display_name = chosen.display_name or f"{language} ({NAME})"
    spec = describe(display_name, language.lower(), spell_options(chosen))
    if (
        chosen.user
    ):  # read in environments that may have no provisioner of that name, and would then not show it
        del spec["metadata"]["kernel_provisioner"]
    prefix = None if chosen.user else chosen.prefix or sys.prefix
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "kernel.json").write_text(json.dumps(spec, indent=1))
        place = KernelSpecManager().install_kernel_spec(folder, name, user=chosen.user, prefix=prefix)
    print(place)
    return 0


def _found() -> dict[str, str]:
    """Names of ours, and where they are."""
    from jupyter_client.kernelspec import KernelSpecManager

    specs = KernelSpecManager().get_all_specs()
    return {
        name: found["resource_dir"]
        for name, found in specs.items()
        if "mulligan.runtime.jupyter" in found["spec"]["argv"]
    }


def _list(chosen: argparse.Namespace) -> int:
    for name, place in sorted(_found().items()):
        print(f"{name}  {place}")
    return 0


def _remove(chosen: argparse.Namespace) -> int:
    from jupyter_client.kernelspec import KernelSpecManager

    known = _found()
    if chosen.name not in known:
        raise KernelspecUnknown(
            f"no kernelspec of Mulligan's is called {chosen.name!r}",
            hint=f"there are: {', '.join(sorted(known)) or 'none'}",
        )
    print(KernelSpecManager().remove_kernel_spec(chosen.name))
    return 0
