"""The package `actions` as sessions see it: routines of the library, each loaded when it is first asked for.

The host carries this file, under the name actions/__init__.py, and beside it a database of the routines that this
session may use, in a folder that nothing inside can write. Of a routine that may not be used the database has the
reason and no text. `search` is also what the host itself searches with.

A routine's module is `actions.routine.NAME`, so that instances of its classes can be pickled and its tracebacks show
its text.
"""

import importlib.abc
import importlib.machinery
import linecache
import math
import os
import re
import sqlite3
import sys
from typing import Any

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_]+")
_EMPTY_WORDS = (
    "a an and any are as at be by can do does for from get give given has have how i in into is it its me "
    "my of on one or out please should some that the them then there these this to two up use used using "
    "want we what when where which will with write you function routine something need"
)
_EMPTY = frozenset(_EMPTY_WORDS.split())
#: characters of a query that are read, and of its words
_QUERY, _WORDS = 1000, 32
#: routines that may have a word before it counts as one that says nothing
_FEW = 200
#: of the weight of a query's words, the part that must be found for a routine to be found
ENOUGH = 0.34


def words_of(text: str) -> "list[str]":
    """The words of a text or a name in lower case: `loadCsv_v2` has load, csv, v and 2."""
    return [word.lower() for word in _WORD.findall(text)]


def search_in(connection: sqlite3.Connection, text: str, k: int) -> "list[tuple[str, float]]":
    """The names of the k routines that fit best, and how well. Words that many routines have weigh little; where too
    little of what was asked for is found, nothing is."""
    words = [word for word in dict.fromkeys(words_of(text[:_QUERY])) if word not in _EMPTY][:_WORDS]
    if not words or k < 1:
        return []
    total = connection.execute("SELECT count(*) FROM routine").fetchone()[0] or 1
    common = max(_FEW, total // 5)
    having = {word: _having(connection, word, common + 1) for word in words}
    telling = [word for word in words if len(having[word]) <= common] or words
    weights = {word: math.log(1 + total / (len(having[word]) + 0.5)) for word in telling}
    rows = connection.execute(
        "SELECT routine.name, routine.worth - bm25(words, 6.0, 3.0, 1.5, 2.0, 0.4) AS fit, words.rowid FROM words"
        " JOIN routine ON routine.rowid = words.rowid WHERE words MATCH ? ORDER BY fit DESC LIMIT ?",
        (" OR ".join(f'"{word}"' for word in telling), 5 * k),
    ).fetchall()
    found, whole = [], sum(weights.values())
    for name, fit, row in rows:
        has = sum(weight for word, weight in weights.items() if row in having[word])
        if has >= ENOUGH * whole:
            found.append((name, fit * (0.25 + has / whole)))
    return sorted(found, key=lambda each: (-each[1], each[0]))[:k]


def _having(connection: sqlite3.Connection, word: str, most: int) -> "set[int]":
    """The rows that have a word, or so many of them."""
    asked = "SELECT rowid FROM words WHERE words MATCH ? LIMIT ?"
    return {row for (row,) in connection.execute(asked, (f'"{word}"', most))}


class _Library(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `actions.routine` and what is in it, and says of any other `actions.NAME` why it is not to be had."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, "routines.db")
        self._connection: Any = None

    def connection(self) -> sqlite3.Connection:
        """One a process: a child that was forked may not use its parent's."""
        pid = os.getpid()
        if self._connection is None or self._connection[0] != pid:
            uri = f"file:{self._path}?mode=ro&immutable=1"
            self._connection = pid, sqlite3.connect(uri, uri=True, check_same_thread=False)
        found: sqlite3.Connection = self._connection[1]
        return found

    def row(self, name: str) -> Any:
        asked = "SELECT version, why, signature, line, text FROM routine WHERE name = ?"
        return self.connection().execute(asked, (name,)).fetchone()

    def why_not(self, name: str) -> str:
        row = self.row(name)
        if row is not None:
            return f"the routine {name!r} cannot be used here: {row[1]}" if row[1] else ""
        near = [each for each, _ in search_in(self.connection(), name, 3)]
        return f"the library has no routine {name!r}" + (
            f"; near to it are {', '.join(near)}" if near else ""
        )

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        head, _, name = fullname.rpartition(".")
        if head not in (__name__, f"{__name__}.routine") or (head == __name__ and name == "routine"):
            is_package = fullname == f"{__name__}.routine"
            if not is_package:
                return None
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        if why := self.why_not(name):
            raise ImportError(why, name=fullname)
        if head == __name__:
            return None
        row = self.row(name)
        return importlib.machinery.ModuleSpec(fullname, self, origin=f"<actions.{name} version {row[0]}>")

    def create_module(self, spec: Any) -> Any:
        return None

    def exec_module(self, module: Any) -> None:
        head, _, name = module.__name__.rpartition(".")
        if head == __name__:
            return
        text, file = self.row(name)[4], module.__spec__.origin
        linecache.cache[file] = (len(text), None, text.splitlines(True), file)
        module.__file__ = file
        try:
            exec(compile(text, file, "exec", dont_inherit=True), module.__dict__)
        except ModuleNotFoundError as error:
            missing = f"needs the package {error.name!r}, which this sandbox lacks"
            raise ImportError(f"the routine {name!r} {missing}", name=module.__name__) from error

    def get_source(self, fullname: str) -> Any:
        row = self.row(fullname.rpartition(".")[2])
        return row and row[4]


class _Found:
    """One routine that was found: enough to call it."""

    def __init__(self, name: str, signature: str, line: str) -> None:
        self.name, self.signature, self.line = name, signature, line

    def __repr__(self) -> str:
        return f"{self.signature}  # {self.line}" if self.line else self.signature


if __name__ == "actions":
    _library = _Library(os.path.dirname(__file__))
    sys.meta_path.insert(0, _library)

    def search(text: str, k: int = 10) -> "list[_Found]":
        """The routines that may be used here and fit best; none where none fits."""
        rows = [(name, _library.row(name)) for name, _ in search_in(_library.connection(), text, 10 * k)]
        return [_Found(name, row[2], row[3]) for name, row in rows if not row[1]][:k]

    def source(name: str) -> str:
        """The text of a routine."""
        if why := _library.why_not(name):
            raise ImportError(why)
        return str(_library.row(name)[4])

    def __getattr__(name: str) -> Any:
        if name.startswith("_") or _library.why_not(name):
            raise AttributeError(f"module 'actions' has no attribute {name!r}")  # an import then hears why
        module = importlib.import_module(f"actions.routine.{name}")
        globals()[name] = getattr(module, name)
        return globals()[name]

    def __dir__() -> "list[str]":
        rows = _library.connection().execute("SELECT name FROM routine WHERE why = ''")
        return sorted([*(name for (name,) in rows), "search", "source"])
