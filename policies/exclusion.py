"""Which paths of the user's folder a session leaves out: globs as `protect` has them (protection.py), and no others.

A `.gitignore` is never asked: it names what is not worth a commit, and an action may need that all the same.
"""

from __future__ import annotations

from collections.abc import Iterable

from mulligan.policies.errors import PolicyError
from mulligan.policies.protection import check_glob, compile_glob


class Exclusion:
    """The globs in force. Raises PolicyError for one that is broken."""

    def __init__(self, globs: Iterable[str] = ()) -> None:
        if isinstance(globs, str):
            raise PolicyError(f"exclude is a list of globs, not {globs!r}", hint=f"write exclude=[{globs!r}]")
        self._specs = [(glob, compile_glob(glob)) for glob in map(check_glob, globs)]

    @property
    def empty(self) -> bool:
        """Whether it leaves nothing out, whatever comes."""
        return not self._specs

    def joined(self, globs: Iterable[str]) -> Exclusion:
        """This, and what these leave out."""
        return Exclusion((*(glob for glob, _ in self._specs), *globs))

    def glob_of(self, path: bytes, *, folder: bool) -> str | None:
        """The first glob that leaves this path out, with all in it; None where none does. One that ends in a slash
        names folders alone."""
        name = path.decode("utf-8", "surrogateescape").replace("\n", "\N{REPLACEMENT CHARACTER}")
        for glob, spec in self._specs:
            if name and (spec.match_file(name) or (folder and spec.match_file(name + "/"))):
                return glob
        return None


NOTHING = Exclusion()
