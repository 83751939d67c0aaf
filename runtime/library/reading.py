"""The source of a step as definitions: what each of its top-level statements binds, and the text that binds it.

The text is cut out of the source as it stands, comments and all, so nothing is written anew. Lines that are IPython's
and not Python's are blanked first; what is made of them is not kept.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mulligan.runtime.library.scopes import UNPARSABLE, parse

#: characters of a step's source that is read for routines
LARGEST = 1 << 17

_MAGIC = re.compile(r"^([ \t]*)(?:[%!].*|.*\?\??[ \t]*)$", re.MULTILINE)
_ASSIGNED_MAGIC = re.compile(r"^([ \t]*)[\w, \t]+=[ \t]*[%!].*$", re.MULTILINE)
_CHANGING_WORDS = (
    "append extend insert add update remove discard pop popitem clear setdefault sort reverse appendleft"
)
_CHANGING = frozenset(_CHANGING_WORDS.split())
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Definition:
    """What binds a name. `kind` is "import", "function", "class", "constant" (perhaps: constant.py says), "block", or
    "variable", with `why` in words. `module` is what an import leads to."""

    name: str
    kind: str
    text: str
    node: ast.AST
    why: str = ""
    module: str = ""
    #: further texts that belong to it: overloads before it, registrations after it
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """What a source binds and changes, in its order. `stars` are the modules of `from module import *`; `fault` is why
    nothing of it can be read."""

    definitions: tuple[Definition, ...] = ()
    stars: tuple[str, ...] = ()
    calls: tuple[ast.Call, ...] = ()
    future: bool = False
    fault: str = ""


@dataclass(slots=True)
class _Page:
    """The text that is read, and its lines; `blanked` are the numbers of those that are not Python."""

    text: str
    lines: list[str] = field(default_factory=list)
    blanked: frozenset[int] = frozenset()


def read(source: str) -> Reading:
    """Never raises, whatever the text."""
    if len(source) > LARGEST:
        return Reading(fault=f"the source has more than {LARGEST:,} characters")
    try:
        page, tree = _parsed(source.replace("\r\n", "\n").replace("\r", "\n"))
        found = [each for node in tree.body for each in _bound(node, page)]
        stars = tuple(
            node.module or "." for node in tree.body if isinstance(node, ast.ImportFrom) and _is_star(node)
        )
        future = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
        return Reading(tuple(found), stars, tuple(_calls(tree.body)), future)
    except UNPARSABLE as error:
        return Reading(fault=f"it is no Python that can be read ({type(error).__name__})")


def _parsed(source: str) -> tuple[_Page, ast.Module]:
    """As it stands, or without IPython's own lines."""
    try:
        return _Page(source, source.split("\n")), parse(source)
    except SyntaxError:
        plain = _ASSIGNED_MAGIC.sub(r"\1pass", _MAGIC.sub(r"\1pass", source))
        lines, before = plain.split("\n"), source.split("\n")
        blanked = frozenset(
            at for at, pair in enumerate(zip(lines, before, strict=True), 1) if pair[0] != pair[1]
        )
        return _Page(plain, lines, blanked), parse(plain)


# -- statements ------------------------------------------------------------------------------------------------


def _bound(node: ast.stmt, page: _Page) -> Iterator[Definition]:
    text = _text(node, page)
    match node:
        case ast.Import():
            yield from _imported(node)
        case ast.ImportFrom():
            yield from _imported_from(node)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            kind = "class" if isinstance(node, ast.ClassDef) else "function"
            if page.blanked & set(range(node.lineno, (node.end_lineno or node.lineno) + 1)):
                yield Definition(node.name, "variable", text, node, why="holds lines that are IPython's own")
            else:
                yield Definition(node.name, kind, text, node)
        case ast.Assign() | ast.AnnAssign() if node.value is not None:
            yield from _assigned(node, text)
        case ast.If() | ast.Try() if _only_defines(node):
            for name in _stored(node):
                yield Definition(name, "block", text, node)
        case _ if type(node).__name__ == "TypeAlias":
            yield Definition(node.name.id, "constant", text, node)  # type: ignore[attr-defined]
        case _:
            for name in _stored(node):
                yield Definition(name, "variable", text, node, why="is worked out by the session")


def _imported(node: ast.Import) -> Iterator[Definition]:
    for each in node.names:
        as_name = f" as {each.asname}" if each.asname else ""
        name = each.asname or each.name.partition(".")[0]
        module = each.name if each.asname else name
        yield Definition(name, "import", f"import {each.name}{as_name}", node, module=module)


def _imported_from(node: ast.ImportFrom) -> Iterator[Definition]:
    if _is_star(node) or node.module == "__future__":
        return
    for each in node.names:
        name = each.asname or each.name
        if node.level or not node.module:
            yield Definition(
                name, "variable", "", node, why="is imported from a place beside the session's code"
            )
            continue
        as_name = f" as {each.asname}" if each.asname else ""
        text = f"from {node.module} import {each.name}{as_name}"
        yield Definition(name, "import", text, node, module=f"{node.module}.{each.name}")


def _is_star(node: ast.ImportFrom) -> bool:
    return any(each.name == "*" for each in node.names)


def _assigned(node: ast.Assign | ast.AnnAssign, text: str) -> Iterator[Definition]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    plain = all(isinstance(each, ast.Name) for each in targets)
    for name in _stored(node):
        if plain:
            yield Definition(name, "constant", text, node)
        else:
            yield Definition(name, "variable", text, node, why="is worked out by the session")


def _only_defines(node: ast.If | ast.Try) -> bool:
    """Whether a block holds imports and plain assignments only, as where an import may fail."""
    parts: list[ast.stmt] = [*node.body, *node.orelse]
    if isinstance(node, ast.Try):
        parts += [*node.finalbody, *(each for handler in node.handlers for each in handler.body)]
        if any(handler.type is not None and not _is_import_error(handler.type) for handler in node.handlers):
            return False
    elif not (
        isinstance(node.test, ast.Name | ast.Attribute) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    ):
        return False
    return all(
        isinstance(each, ast.Import | ast.ImportFrom | ast.Pass)
        or (isinstance(each, ast.Assign) and isinstance(each.value, ast.Constant))
        for each in parts
    )


def _is_import_error(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("ImportError", "ModuleNotFoundError", "Exception")


def _stored(node: ast.AST) -> Iterator[str]:
    """The names that a statement binds or changes at the top level."""
    waiting: list[ast.AST] = [node]
    while waiting:
        here = waiting.pop()
        match here:
            case ast.Name(ctx=ast.Store() | ast.Del()):
                yield here.id
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield here.name
                continue
            case ast.Import() | ast.ImportFrom():
                yield from (each.asname or each.name.partition(".")[0] for each in here.names)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp() | ast.Lambda():
                continue
            case ast.Subscript(ctx=ast.Store() | ast.Del()) | ast.Attribute(ctx=ast.Store() | ast.Del()):
                yield from _root(here)
            case ast.Call(func=ast.Attribute(attr=attr)) if attr in _CHANGING:
                yield from _root(here.func)
            case ast.ExceptHandler(name=str(name)):
                yield name
        waiting += ast.iter_child_nodes(here)


def _root(node: ast.AST) -> Iterator[str]:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id


def _calls(body: Sequence[ast.stmt]) -> Iterator[ast.Call]:
    """Calls of plain names outside of definitions, outermost first."""
    waiting: list[ast.AST] = [each for each in body if not isinstance(each, Function | ast.ClassDef)]
    while waiting:
        here = waiting.pop(0)
        if isinstance(here, ast.Call) and isinstance(here.func, ast.Name):
            yield here
        if not isinstance(here, Function | ast.ClassDef | ast.Lambda):
            waiting += ast.iter_child_nodes(here)


# -- texts -----------------------------------------------------------------------------------------------------


def _text(node: ast.stmt, page: _Page) -> str:
    """A statement as it stands; a definition with its decorators and the comments that lie directly above it."""
    if not isinstance(node, Function | ast.ClassDef):
        return ast.get_source_segment(page.text, node) or ""
    first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
    start = page.lines[first - 1].encode()[: node.col_offset].decode("utf-8", "replace")
    if start.strip():  # something else stands before it in its line
        return ast.get_source_segment(page.text, node) or ""
    while (
        first > 1 and page.lines[first - 2].startswith("#") and not page.lines[first - 2].startswith("# %%")
    ):
        first -= 1
    last = node.end_lineno or node.lineno
    end = page.lines[last - 1].encode()[: node.end_col_offset].decode("utf-8", "replace")
    rest = page.lines[last - 1][len(end) :]
    if rest.strip().startswith("#"):
        end += rest
    return "\n".join([*page.lines[first - 1 : last - 1], end])
