"""What a session is given of the library: a folder that is mounted read-only, with the package `actions` in it.

It is a copy of one moment, so what a session imports stays as it is while the shelves change. It is made once for each
state of the shelves under each policy, and then linked: opening costs the same whatever the shelves hold.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path

from mulligan.policies.policy import Policy
from mulligan.runtime.library.errors import ShelfUnusable
from mulligan.runtime.library.library import Library
from mulligan.runtime.library.whereabouts import cache_of
from mulligan.sandbox import guest

_FORMAT = "1"
#: copies that are kept for sessions to come
KEPT = 16
_TABLES = """
CREATE TABLE routine(name TEXT UNIQUE, version INTEGER, why TEXT, signature TEXT, line TEXT, text TEXT, worth REAL);
CREATE VIRTUAL TABLE words USING fts5(name, line, parameters, tags, code, tokenize='porter unicode61');
"""


def put_on_offer(library: Library, policy: Policy, folder: Path, state: Path | None) -> Path:
    """Make `folder` what is mounted. Raises ShelfUnusable."""
    try:
        made = _made(library, policy, cache_of(state) / "offers")
        package = folder / "actions"
        package.mkdir(parents=True)
        for each in made.iterdir():
            _link(each, package / each.name)
    except (OSError, sqlite3.Error) as error:
        if isinstance(error, ShelfUnusable):
            raise
        raise ShelfUnusable(
            f"the library cannot be given to a session: {error}", hint="make room on the disk"
        ) from error
    return folder


def _made(library: Library, policy: Policy, offers: Path) -> Path:
    loader = Path(guest.__file__).with_name("actions.py")
    rules = {name: [[rule.text for rule in layer] for layer in policy.layers(name)] for name in _SECTIONS}
    shelves = [[str(shelf.folder), shelf.revision] for shelf in library.shelves]
    told = json.dumps([_FORMAT, shelves, rules, loader.read_text()])
    made = offers / hashlib.sha256(told.encode()).hexdigest()[:32]
    if made.is_dir():
        os.utime(made)
        return made
    offers.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = Path(tempfile.mkdtemp(dir=offers, prefix="."))
    try:
        shutil.copyfile(loader, beside / "__init__.py")
        _write(library, policy, beside / "routines.db")
        for each in beside.iterdir():
            each.chmod(0o644)
        with suppress(OSError):  # another process was first, with the same
            beside.rename(made)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    _thin(offers)
    return made


_SECTIONS = ("library", "network", "tools", "databases")


def _write(library: Library, policy: Policy, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("BEGIN")
        for statement in _TABLES.split(";\n")[:-1]:
            connection.execute(statement)
        for number, each in enumerate(library.offer(policy), 1):
            row = (each.name, each.version, each.why, each.signature, each.line, each.text, each.worth)
            connection.execute(
                "INSERT INTO routine(rowid, name, version, why, signature, line, text, worth)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (number, *row),
            )
            if not each.why:
                connection.execute(
                    "INSERT INTO words(rowid, name, line, parameters, tags, code) VALUES (?, ?, ?, ?, ?, ?)",
                    (number, *each.words),
                )
        connection.execute("COMMIT")


def _thin(offers: Path) -> None:
    """Those that were used last stay. A session has links of its own."""
    made = sorted((each for each in offers.iterdir() if not each.name.startswith(".")), key=_used)
    for each in made[:-KEPT]:
        shutil.rmtree(each, ignore_errors=True)


def _used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that knows no links
        shutil.copyfile(source, target)
        target.chmod(0o644)
