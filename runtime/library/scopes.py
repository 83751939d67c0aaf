"""Parsing what somebody wrote, and which names it takes from around it. Python's own compiler is asked, so scopes are
exactly its own."""

from __future__ import annotations

import ast
import symtable
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

#: what parsing any text may raise
UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)


@dataclass(frozen=True, slots=True)
class Names:
    """`needs` are read from around it, builtins among them; `sets` are declared global and assigned within."""

    needs: frozenset[str]
    sets: frozenset[str]


def parse(text: str) -> ast.Module:
    """Nothing is run, and nothing is printed. Raises one of UNPARSABLE."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text)


def names_of(text: str) -> Names:
    """Nothing is run. Raises one of UNPARSABLE for what is no Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        top = symtable.symtable(text, "<step>", "exec")
    here = {each.get_name() for each in top.get_symbols() if each.is_referenced()}
    inner = [symbol for table in _below(top) for symbol in table.get_symbols() if symbol.is_global()]
    sets = {each.get_name() for each in inner if each.is_declared_global() and each.is_assigned()}
    return Names(frozenset(here | {each.get_name() for each in inner}), frozenset(sets))


def _below(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    for child in table.get_children():
        yield child
        yield from _below(child)
