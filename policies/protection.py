"""Which paths a session protects: globs as gitignore has them, relative to the workspace.

    data/raw/**    data/raw at the top, and all that is in it
    data/raw       data/raw itself, and all that is in it, at any depth of the workspace
    *.csv          every such name, at any depth; a folder of that name with all that is in it
    /notes.md      the one at the top

A `!` that takes something out again is refused: what is protected is named. Names are hostile, so a newline in one
hides nothing, bytes that are no text are matched like any other, and the time a match takes is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mulligan.policies.errors import PolicyError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

#: stars of one name, and `**` of one glob: each more makes the longest match longer by a power
_STARS = 2
_LONGEST = 1000
_SAY = 'write it relative to the workspace, such as "data/raw/**" or "*.csv"'


class Protection:
    """The globs in force. Raises PolicyError for one that is broken."""

    def __init__(self, globs: Iterable[str]) -> None:
        self._specs = [(glob, compile_glob(glob)) for glob in globs]

    def __bool__(self) -> bool:
        return bool(self._specs)

    @property
    def globs(self) -> tuple[str, ...]:
        return tuple(glob for glob, _ in self._specs)

    def glob_of(self, path: bytes) -> str | None:
        """The first glob that protects this path, which is relative to the workspace; None where none does."""
        name = path.decode("utf-8", "surrogateescape").replace("\n", "\N{REPLACEMENT CHARACTER}")
        for glob, spec in self._specs:
            if name and (spec.match_file(name) or spec.match_file(name + "/")):
                return glob
        return None


NOTHING = Protection(())


def check_glob(glob: object) -> str:
    """The glob itself. Raises PolicyError, which says what is wrong with it."""
    if not isinstance(glob, str):
        raise PolicyError(f"a glob is text, not {type(glob).__name__}: {glob!r}", hint=_SAY)
    compile_glob(glob)
    return glob


def compile_glob(glob: str) -> GitIgnoreSpec:
    """Raises PolicyError, which says what is wrong with it."""
    from pathspec import GitIgnoreSpec

    if (wrong := _wrong(glob)) is not None:
        raise PolicyError(f"the glob {glob!r} {wrong}", hint=_SAY)
    try:
        spec = GitIgnoreSpec.from_lines([glob])
    except (ValueError, re.error) as error:
        raise PolicyError(f"the glob {glob!r} is broken: {error}", hint=_SAY) from error
    if not any(pattern.include for pattern in spec.patterns):
        raise PolicyError(f"the glob {glob!r} names nothing", hint=_SAY)
    return spec


def _wrong(glob: str) -> str | None:
    parts = glob.split("/")
    if not glob.isprintable() or len(glob) > _LONGEST:
        return "has characters that do not print, or too many"
    if glob.startswith("!"):
        return "takes something out again, which is not to be had: name what is meant"
    if glob.startswith(("/workspace/", "~")) or {".", ".."} & set(parts) or "//" in glob:
        return "is no path in the workspace"
    if parts.count("**") > _STARS or any(part.count("*") > _STARS for part in parts):
        return f"has more than {_STARS} stars in a name, or ** more than {_STARS} times: divide it"
    return None
