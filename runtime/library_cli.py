"""`mulligan library`: what is on the shelves, what is proposed, what came of its trial, and whether it is trusted.

Nothing of a routine acts on the terminal. Without --library the shelf is the user's own; what is named first has
precedence, and is written to.

Exit codes, where they are not those of cli.py
    test    0 every trial passed, 1 one did not
    search  0 something was found, 1 nothing
    add, import  0 something was proposed, 1 nothing
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mulligan.runtime.library import skills
from mulligan.runtime.library.errors import RoutineRefused, RoutineUnknown
from mulligan.runtime.library.library import Library, state_of
from mulligan.runtime.library.routine import Routine
from mulligan.runtime.library.shelf import CANDIDATES, FORCE, OLDER
from mulligan.runtime.library.whereabouts import personal_shelf
from mulligan.sandbox.printable import escaped, one_line

DONE, NO = 0, 1


def _opened(chosen: argparse.Namespace, *, create: bool = False) -> Library:
    folders = chosen.library or [personal_shelf()]
    return Library.open(folders, chosen.state, create=create or not chosen.library)


# -- looking ---------------------------------------------------------------------------------------------------


def _list(chosen: argparse.Namespace) -> int:
    with _opened(chosen) as library:
        for shelf in library.shelves:
            for row in shelf.rows():
                if chosen.only and row.state != chosen.only:
                    continue
                done, failed = shelf.uses(row.name, row.version)
                if chosen.json:
                    _object(**asdict(row), shelf=str(shelf.folder), done=done, failed=failed)
                else:
                    used = f"  used {done + failed}, failed {failed}" if done + failed else ""
                    _line(f"{row.state:<11} {row.name} {row.version}  {row.line or row.signature}{used}")
                    if row.why and row.state != "trusted":
                        _line(f"            {row.why}")
            for file, why in sorted(shelf.broken.items()):
                _object(broken=file, why=why, shelf=str(shelf.folder)) if chosen.json else _line(
                    f"broken      {file}: {why}"
                )
    return DONE


def _show(chosen: argparse.Namespace) -> int:
    with _opened(chosen) as library:
        shelf, routine = library.find(chosen.name)
        if chosen.version is not None:
            routine = _version(library, chosen.name, chosen.version)
    if chosen.json:
        _object(
            **asdict(routine.contract), effective=routine.state, shelf=str(shelf.folder), text=routine.text
        )
        return DONE
    _line(f"{routine.signature}  version {routine.version}, {routine.state}, on {shelf.folder}")
    if routine.why:
        _line(f"  {routine.why}")
    print(escaped(routine.content), end="")
    return DONE


def _version(library: Library, name: str, version: int) -> Routine:
    for shelf in library.shelves:
        for place in (FORCE, CANDIDATES, f"{OLDER}/{version}"):
            with suppress(RoutineUnknown):
                routine = shelf.get(name, place)
                if routine.version == version:
                    return routine
    raise RoutineUnknown(
        f"there is no version {version} of {name[:80]!r}", hint="`mulligan library show NAME`"
    )


def _search(chosen: argparse.Namespace) -> int:
    with _opened(chosen) as library:
        found = library.search(chosen.text, chosen.k)
    for each in found:
        _object(**asdict(each)) if chosen.json else _line(str(each))
    return DONE if found else NO


def _diff(chosen: argparse.Namespace) -> int:
    with _opened(chosen) as library:
        shelf, _ = library.find(chosen.name)
        versions = shelf.versions(chosen.name)
        a = chosen.a or next(
            (each for each in reversed(versions) if each < (chosen.b or versions[-1])), versions[-1]
        )
        pair = [_version(library, chosen.name, each) for each in (a, chosen.b or versions[-1])]
    print(_difference(*pair), end="")
    return DONE


def _difference(old: Routine, new: Routine) -> str:
    names = (f"{old.name} {old.version}", f"{new.name} {new.version}")
    lines = difflib.unified_diff(old.content.splitlines(), new.content.splitlines(), *names, lineterm="")
    return "".join(escaped(line) + "\n" for line in lines)


def _stats(chosen: argparse.Namespace) -> int:
    with _opened(chosen) as library:
        for shelf in library.shelves:
            rows = shelf.rows()
            counts = {
                state: sum(row.state == state for row in rows)
                for state in ("trusted", "candidate", "quarantined")
            }
            uses = [shelf.uses(row.name, row.version) for row in rows if not row.place]
            done, failed = sum(each[0] for each in uses), sum(each[1] for each in uses)
            told: dict[str, Any] = {**counts, "broken": len(shelf.broken), "done": done, "failed": failed}
            if chosen.json:
                _object(shelf=str(shelf.folder), **told)
            else:
                _line(f"{shelf.folder}: {', '.join(f'{number} {what}' for what, number in told.items())}")
    return DONE


# -- changing --------------------------------------------------------------------------------------------------


def _add(chosen: argparse.Namespace) -> int:
    return _propose(chosen, [skills.read_file(path, "added by hand") for path in chosen.files])


def _import(chosen: argparse.Namespace) -> int:
    return _propose(chosen, [skills.read_folder(folder) for folder in chosen.folders])


def _propose(chosen: argparse.Namespace, read: list[tuple[list[Routine], dict[str, str]]]) -> int:
    proposed = 0
    with _opened(chosen, create=True) as library:
        for routines, whys in read:
            refused = dict(whys)
            for routine in routines:
                if alike := library.alike(routine.likeness):
                    refused[routine.name] = f"is there already, as {alike!r}"
                    continue
                made = library.shelves[0].propose(routine)
                _line(f"candidate  {made.name} {made.version}  {made.signature}")
                proposed += 1
            for name, why in refused.items():
                _line(f"not kept   {name}: {why}")
    return DONE if proposed else NO


def _edit(chosen: argparse.Namespace) -> int:
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with _opened(chosen) as library:
        _, routine = library.find(chosen.name)
        with tempfile.TemporaryDirectory(prefix="mulligan-edit-") as folder:
            file = Path(folder, f"{routine.name}.py")
            file.write_text(routine.content, encoding="utf-8")
            subprocess.run([*editor, str(file)], check=True)
            edited, _ = skills.read_file(file, "added by hand")
        if edited[0].text == routine.text and edited[0].contract.needs == routine.contract.needs:
            _line("nothing was changed")
            return NO
        made = library.shelves[0].propose(replace(edited[0]))
        _line(f"candidate  {made.name} {made.version}  {made.signature}")
    return DONE


def _test(chosen: argparse.Namespace) -> int:
    from mulligan.runtime.library.trial import try_routine

    passed = True
    how = {"isolation": chosen.isolation, "image": chosen.image, "python": chosen.python}
    with _opened(chosen) as library:
        names = chosen.names or sorted(
            {row.name for shelf in library.shelves for row in shelf.rows(CANDIDATES)}
        )
        for name in names:
            try:
                trial = try_routine(
                    library, name, policy=chosen.policy, trust=chosen.trust, state=chosen.state, **how
                )
            except RoutineRefused as error:
                _line(f"untried  {name}: {error.message}; {error.hint}")
                passed = False
                continue
            passed = passed and trial.passed and not trial.flaky
            _line(
                f"{'flaky' if trial.flaky else 'passed' if trial.passed else 'failed':<8} {name}: {trial.said}"
            )
    return DONE if passed else NO


def _review(chosen: argparse.Namespace) -> int:
    """One by one: what it is, what came of its trial, and whether it is to be trusted."""
    from mulligan.runtime.library.trial import find_for_trial

    with _opened(chosen) as library:
        waiting = {row.name for shelf in library.shelves for row in shelf.rows() if row.state == "candidate"}
        for name in chosen.names or sorted(waiting):
            shelf, routine, place = find_for_trial(library, name)
            print(escaped(routine.content), end="")
            with suppress(RoutineUnknown):
                before = shelf.get(name, FORCE)
                if place == CANDIDATES:
                    print(_difference(before, routine), end="")
            _line(
                f"{name} {routine.version}: {routine.contract.tried or 'it was never tried'}. {routine.why}".rstrip(
                    ". "
                )
            )
            if chosen.yes or _is_yes(
                f"Trust {name}, which runs with the rights of whoever imports it? [y/N] "
            ):
                made = shelf.trust(name, "by a person", routine.contract.tried, routine)
                _line(f"trusted  {made.name} {made.version}")
    return DONE


def _is_yes(question: str) -> bool:
    print(question, end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _quarantine(chosen: argparse.Namespace) -> int:
    with _opened(chosen) as library:
        shelf, _ = library.find(chosen.name)
        made = shelf.quarantine(chosen.name, chosen.why)
        _line(f"quarantined  {made.name} {made.version}: {made.why}")
    return DONE


def _retire(chosen: argparse.Namespace) -> int:
    with _opened(chosen) as library:
        for name in chosen.names:
            shelf, _ = library.find(name)
            count = shelf.retire(name)
            _line(f"retired  {name}: {count} version{'s' * (count > 1)} under {OLDER}/")
    return DONE


def _export(chosen: argparse.Namespace) -> int:
    with _opened(chosen) as library:
        names = chosen.names or [
            row.name for _, row in library.rows() if not state_of(row.place, row.state, row.why)
        ]
        for name in names:
            _, routine = library.find(name)
            _line(f"exported  {skills.export(routine, chosen.to)}")
    return DONE


def _line(text: str) -> None:
    print(one_line(text))


def _object(**values: Any) -> None:
    print(json.dumps(values))


# -- arguments -------------------------------------------------------------------------------------------------


def add_commands(library: argparse.ArgumentParser) -> None:
    library.description = (
        "Routines that agents wrote, to be imported by later sessions. docs/library.md is a guide."
    )
    commands = library.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, command: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        parser = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
        parser.add_argument(
            "--library", action="append", type=Path, metavar="DIR", help="a shelf; may be given again"
        )
        parser.add_argument("--state", type=Path, metavar="DIR", help="the folder that sessions are kept in")
        parser.set_defaults(command=command)
        return parser

    listing = add("list", _list, "what is on the shelves, and why it cannot be used")
    listing.add_argument(
        "--only", choices=("trusted", "candidate", "quarantined"), help="those in this state"
    )
    showing = add("show", _show, "a routine's file")
    showing.add_argument("--version", type=int, metavar="N", help="not the one in force")
    searching = add("search", _search, "the routines that fit a text best")
    searching.add_argument("text", metavar="TEXT")
    searching.add_argument("-k", type=int, default=10, help="at most so many")
    add("add", _add, "propose the functions and classes of Python files").add_argument(
        "files", nargs="+", type=Path, metavar="FILE"
    )
    editing = add("edit", _edit, "change a routine in $EDITOR: a next version is proposed")
    testing = add("test", _test, "try candidates in fresh sessions; all of them, where none is named")
    testing.add_argument("names", nargs="*", metavar="NAME")
    testing.add_argument(
        "--trust", action="store_true", help="put in force what passed, with examples, twice alike"
    )
    testing.add_argument(
        "--policy", default="locked", metavar="FILE_OR_PRESET", help="the most that a trial may do"
    )
    testing.add_argument("--isolation", choices=("auto", "docker", "bubblewrap"), default="auto")
    testing.add_argument("--image", help="a Docker image")
    testing.add_argument("--python", type=Path, help="an interpreter, for bubblewrap")
    reviewing = add("review", _review, "look at candidates one by one, and trust them or not")
    reviewing.add_argument("names", nargs="*", metavar="NAME")
    reviewing.add_argument("--yes", action="store_true", help="trust what is named, or all, without asking")
    holding = add("quarantine", _quarantine, "let nobody import a routine any more")
    holding.add_argument("--why", default="by a person", help="what an import of it says")
    add("retire", _retire, "take routines off the shelf").add_argument("names", nargs="+", metavar="NAME")
    differing = add("diff", _diff, "what differs between two versions; the last two, where none is named")
    for parser in (showing, editing, holding, differing):
        parser.add_argument("name", metavar="NAME")
    for which in ("a", "b"):
        differing.add_argument(which, nargs="?", type=int, metavar=which.upper())
    exporting = add("export", _export, "write SKILL.md folders; of all that is trusted, where none is named")
    exporting.add_argument("names", nargs="*", metavar="NAME")
    exporting.add_argument(
        "--to", type=Path, default=Path(), metavar="DIR", help="the folder to write them into"
    )
    add("import", _import, "propose what SKILL.md folders hold").add_argument(
        "folders", nargs="+", type=Path, metavar="DIR"
    )
    counting = add("stats", _stats, "how many there are, and how often they were used")
    for parser in (listing, showing, searching, counting):
        parser.add_argument("--json", action="store_true", help="one JSON object a line, for programs")
