"""Routines from and to other places: plain Python files, and `SKILL.md` folders as agents' tools read them.

    slugify/SKILL.md      name and description in front matter, then how to call it
    slugify/slugify.py    the routine's file, contract and all

What comes in is a candidate, whatever its file says of itself: its state, its trials and whence it came are not taken
over.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from mulligan.runtime.library.contract import OPENS, Contract, Example, Needs, Provenance, split_file
from mulligan.runtime.library.errors import RoutineBroken, ShelfUnusable
from mulligan.runtime.library.harvest import harvest
from mulligan.runtime.library.routine import FILE, Routine, make_routine

#: files of one folder that are looked at
MOST = 200


def read_file(path: Path, whence: str) -> tuple[list[Routine], dict[str, str]]:
    """The routines of a Python file, as candidates, and why the rest of it is none. Raises RoutineBroken,
    ShelfUnusable."""
    text = _text(path)
    if text.startswith(OPENS + "\n"):
        contract, text = split_file(text)
        fresh = Contract(
            name=contract.name,
            needs=contract.needs,
            effects=contract.effects,
            compensation=contract.compensation,
            routines=contract.routines,
            examples=contract.examples,
            tags=contract.tags,
            provenance=Provenance(session=whence),
        )
        return [make_routine(fresh, text)], {}
    found = harvest([text])
    made = [
        make_routine(
            Contract(
                name=each.name,
                needs=Needs(packages=dict.fromkeys(each.modules, "")),
                routines=each.routines,
                examples=tuple(Example(call=call) for call in each.examples),
                provenance=Provenance(session=whence),
            ),
            each.text,
        )
        for each in found.candidates
    ]
    return made, found.refused


def read_folder(folder: Path) -> tuple[list[Routine], dict[str, str]]:
    """As `read_file`, of all Python files in a SKILL.md folder and its `scripts`."""
    if not (folder / "SKILL.md").is_file():
        raise RoutineBroken(
            f"{folder} has no SKILL.md", hint="name the folder of a skill, or add its files by name"
        )
    routines: list[Routine] = []
    refused: dict[str, str] = {}
    paths = sorted([*folder.glob("*.py"), *folder.glob("scripts/*.py")])[:MOST]
    for path in paths:
        try:
            made, why = read_file(path, "imported")
        except RoutineBroken as error:
            made, why = [], {path.name: error.message}
        routines += made
        refused |= why
    return routines, refused


def _text(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise RoutineBroken(f"{path} is no regular file", hint="name a Python file")
            data = file.read(FILE + 1)
    except OSError as error:
        raise ShelfUnusable(
            f"{path}: {error.strerror}", hint="name a Python file that you can read"
        ) from error
    if len(data) > FILE:
        raise RoutineBroken(f"{path} has more than {FILE:,} bytes", hint="split it")
    try:
        return data.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise RoutineBroken(f"{path} is not UTF-8", hint="save it as UTF-8") from error


def export(routine: Routine, folder: Path) -> Path:
    """Write a SKILL.md folder of a routine into `folder`; where it is. One that is there is not written over. Raises
    ShelfUnusable."""
    made = folder / routine.name
    try:
        made.mkdir(parents=True)
        (made / "SKILL.md").write_text(_skill(routine), encoding="utf-8")
        (made / f"{routine.name}.py").write_text(routine.content, encoding="utf-8")
    except OSError as error:
        raise ShelfUnusable(f"{made}: {error.strerror}", hint="name a folder where it is not yet") from error
    return made


def _skill(routine: Routine) -> str:
    contract = routine.contract
    described = routine.line or f"Python: {routine.signature}"
    lines = [
        "---",
        f"name: {routine.name.lower().replace('_', '-')}",
        f"description: {json.dumps(described, ensure_ascii=False)}",
        "---",
        "",
        f"# {routine.name}",
        "",
        *_indented(routine.signature),
        "",
        *(_indented(routine.doc) if routine.doc else []),
        "",
        f"It is in `{routine.name}.py` beside this page: import it from there.",
    ]
    if contract.needs.packages:
        lines += ["", f"It needs {', '.join(sorted(contract.needs.packages))}."]
    if contract.needs.network:
        lines += ["", "It asks over the network:", "", *_indented("\n".join(contract.needs.network))]
    if contract.examples:
        told = "\n".join(
            f"{each.call}  # {each.gives}" if each.gives else each.call for each in contract.examples
        )
        lines += ["", "Examples, and what they give:", "", *_indented(told)]
    return "\n".join(lines) + "\n"


def _indented(text: str) -> list[str]:
    """As a block that no markdown in it ends."""
    return [f"    {line}" for line in text.splitlines()]
