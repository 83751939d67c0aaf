"""`mulligan policy init`: a policy file, out of a few answers. The file is read back before it is written, and a file
that is there is never written over."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mulligan.policies.errors import PolicyError
from mulligan.policies.loading import parse_policy, preset_names
from mulligan.policies.protection import check_glob
from mulligan.policies.requests import RequestPattern
from mulligan.sandbox.printable import one_line

T = TypeVar("T")
PLAIN = "none"
_FLAGS = "say it with flags: --extends none --protect 'data/raw/**' --read example.org --wall 60"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the agent should be able to do: `extends` is a preset or PLAIN, `read` hosts, `wall` seconds or None."""

    extends: str
    protect: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    wall: float | None = None


def init(chosen: Namespace) -> Path:
    """Asks where no flag was given, writes the file, and returns its path. Raises PolicyError."""
    path: Path = chosen.file
    if path.exists() or path.is_symlink():
        raise PolicyError(f"{path}: is there already", hint="name another file; none is written over")
    given = chosen.extends is not None or chosen.protect or chosen.read or chosen.wall is not None
    if given:
        extends = chosen.extends or PLAIN
        wishes = Wishes(extends, _each(check_glob, chosen.protect), _each(_host, chosen.read), chosen.wall)
    elif sys.stdin.isatty():
        wishes = _asked()
    else:
        raise PolicyError("nobody is there to be asked: the input is no terminal", hint=_FLAGS)
    text = written(wishes)
    parse_policy(text, origin=str(path), folder=path.parent)
    _write(path, text)
    return path


def written(wishes: Wishes) -> str:
    """The file. All that was answered stands in quotes."""
    lines = [
        "# What the actions of an agent may do. `mulligan policy explain FILE 'GET https://...'` asks it."
    ]
    if wishes.extends != PLAIN:
        lines += [
            "",
            f"# all that this preset allows, and no more unless it says so: mulligan policy show {wishes.extends}",
        ]
        lines += [f"extends: {wishes.extends}"]
    if wishes.wall is not None:
        lines += ["", "resources:", f"  wall: {_number(wishes.wall)} # seconds that one action may take"]
    if wishes.protect:
        lines += ["", "files:", "  # no action may change these; the first write ends it and is taken back"]
        lines += [f"  protect: [{', '.join(json.dumps(each) for each in wishes.protect)}]"]
    if wishes.read:
        lines += ["", "# requests; what no rule allows is denied", "network:"]
        for host in wishes.read:
            lines += [
                f"  - allow: {json.dumps(f'GET,HEAD {host}/**')}",
                "    because: pages may be read there, and nothing sent",
            ]
    elif wishes.extends == PLAIN:
        lines += ["", "# no request leaves the sandbox", "network: []"]
    return "\n".join((*lines, ""))


def _number(value: float) -> str:
    """As a policy has numbers: without an exponent."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:  # never over another, not even one made just now
            file.write(text)
    except OSError as error:
        raise PolicyError(
            f"{path}: {error.strerror}", hint="name a file in a folder that you can write"
        ) from error


# -- asking ----------------------------------------------------------------------------------------------------


def _asked() -> Wishes:
    print("What should the agent be able to do? Return takes what stands in brackets.")
    print(
        f"  {PLAIN}: change the files of the workspace, reach no network; or a preset, see `mulligan policy show`"
    )
    extends = _ask(f"start from {', '.join((PLAIN, *preset_names()))} [{PLAIN}]: ", _start)
    protect = _ask('paths that no action may change, such as "data/raw/**", with commas [nothing]: ', _globs)
    read = _ask("hosts that pages may be read from, with commas [none more]: ", _hosts)
    wall = _ask("seconds that one action may take [as it is]: ", _seconds)
    return Wishes(extends, protect, read, wall)


def _ask(question: str, read: Callable[[str], T]) -> T:
    """Until the answer is one."""
    while True:
        try:
            return read(input(question).strip())
        except EOFError:
            raise PolicyError("the answers ended: nothing was written", hint=_FLAGS) from None
        except ValueError as error:
            print(f"  {one_line(str(error))}")


def _start(text: str) -> str:
    if text and text not in (PLAIN, *preset_names()):
        raise ValueError(f"{text!r} is none of them")
    return text or PLAIN


def _globs(text: str) -> tuple[str, ...]:
    return _each(check_glob, _parts(text))


def _hosts(text: str) -> tuple[str, ...]:
    return _each(_host, _parts(text))


def _host(text: str) -> str:
    try:
        RequestPattern.parse(f"GET {text}/**")
    except ValueError as error:
        raise PolicyError(str(error), hint="write a host such as example.org or *.example.org") from error
    return text


def _seconds(text: str) -> float | None:
    if text and not (text.isascii() and text.isdigit() and int(text[:9]) > 0 and len(text) < 9):
        raise ValueError(f"{text!r} is no whole number of seconds")
    return float(text) if text else None


def _parts(text: str) -> Sequence[str]:
    return [part for each in text.split(",") if (part := each.strip().strip("'\""))]


def _each(check: Callable[[str], str], texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(check(text) for text in texts)
