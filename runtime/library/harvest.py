"""From the steps on a path: the functions and classes of the last one, each as a file of its own that runs anywhere.

A candidate's text is its closure: the imports, helpers and constants that it needs, then itself. What it would take
from the session's own variables makes it none, and the variable is named. Helpers are copied in, so that two routines
that share a class have one each, unless the one imports it from the other's name in `actions`.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from mulligan.runtime.library import naming
from mulligan.runtime.library.constant import LONGEST, is_constant
from mulligan.runtime.library.reading import Definition, Reading, read
from mulligan.runtime.library.scopes import UNPARSABLE, Names, names_of, parse

#: characters of a candidate's text, and definitions in it
LARGEST, MOST = 64_000, 200
#: routines that are looked for in one step
AT_ONCE = 100
#: parts of a function, as Python counts them, below which it is not worth a name
TRIVIAL = 8
#: example calls that are taken from the session's text, and characters of one
EXAMPLES, EXAMPLE = 8, 500

_MODULE_NAMES = frozenset({"__name__", "__file__", "__doc__", "__builtins__", "__debug__", "__class__"})


@dataclass(frozen=True, slots=True)
class Candidate:
    """A routine that could be shelved. `text` is all of its file but the header; `modules` are the packages that it
    imports, without the standard library; `routines` are others of the library that it imports; `examples` are calls of
    it that the session's text makes with plain values."""

    name: str
    kind: str
    text: str
    signature: str
    doc: str
    parameters: tuple[str, ...]
    modules: tuple[str, ...]
    routines: tuple[str, ...]
    examples: tuple[str, ...] = ()

    @property
    def likeness(self) -> str:
        """The same for two that differ only in their names, comments, docstrings and layout."""
        return likeness_of(self.text, self.name)


@dataclass(frozen=True, slots=True)
class Harvest:
    """What a step is good for, and by name why the rest of it is not."""

    candidates: tuple[Candidate, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)


def harvest(sources: Sequence[str]) -> Harvest:
    """`sources` are those of the completed steps on a path, in order; of the last one the routines are taken.

    Nothing is run, and nothing is raised whatever the text.
    """
    readings = [read(source) for source in sources]
    if not readings or readings[-1].fault:
        return Harvest(refused={"": readings[-1].fault if readings else "there is no step"})
    known = _Known(readings)
    found: list[Candidate] = []
    refused: dict[str, str] = {}
    made_here = [each.name for each in readings[-1].definitions if each.kind in ("function", "class")]
    for name in list(dict.fromkeys(made_here))[:AT_ONCE]:
        try:
            made = known.candidate(name)
        except UNPARSABLE:
            made = "cannot be cut out of its source"
        if isinstance(made, str):
            refused |= {} if name == "_" else {name: made}
        else:
            found.append(replace(made, examples=_examples(name, readings)))
    refused |= dict.fromkeys(made_here[AT_ONCE:], f"is one of more than {AT_ONCE} of one step")
    for each in readings[-1].definitions:
        if each.kind == "variable" and isinstance(each.node, ast.FunctionDef | ast.ClassDef):
            refused.setdefault(each.name, each.why)
    return Harvest(tuple(found), refused)


class _Refused(Exception):
    pass


class _Known:
    """All that the steps bind, each name as it was bound last."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        self._now: dict[str, Definition] = {}
        self._names: dict[str, Names] = {}
        self._stars = [star for reading in readings for star in reading.stars]
        self._future = any(reading.future for reading in readings)
        for definition in (each for reading in readings for each in reading.definitions):
            self._bind(definition)

    def _bind(self, new: Definition) -> None:
        registered = _registers_on(new.node)
        if registered is not None and registered in self._now:
            old = self._now[registered]
            self._now[registered] = replace(old, after=(*old.after, new.text))
            new = replace(new, kind="variable", why=f"is registered on {registered!r}")
        before = self._now.get(new.name)
        if before is not None and (_is_overload(before.node) or _binds_more(before, new)):
            new = replace(new, before=(*before.before, before.text))
        self._now.pop(new.name, None)
        self._now[new.name] = new  # the latest stands last

    def candidate(self, name: str) -> Candidate | str:
        """Or why it is none."""
        definition = self._now[name]
        if definition.kind == "variable":
            return definition.why
        if definition.kind not in ("function", "class"):
            return f"is bound anew later, as {_KINDS.get(definition.kind, 'something else')}"
        if name.startswith("_"):
            return "is a helper by its name, which begins with an underscore"
        if fault := naming.fault_of(name):
            return fault
        if naming.says_nothing(name):
            return "has a name that says nothing of what it does"
        if _is_trivial(definition.node):
            return "is too small to be worth a name"
        try:
            needed = self._closure(name)
        except _Refused as refusal:
            return str(refusal)
        text = self._written([self._now[each] for each in self._now if each in needed])
        if len(text) > LARGEST:
            return f"has more than {LARGEST:,} characters with all that it needs"
        modules = tuple(_modules(parse(text)))
        node = definition.node
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        return Candidate(
            name=name,
            kind=definition.kind,
            text=text,
            signature=signature_of(node),
            doc=ast.get_docstring(node) or "",
            parameters=tuple(parameters_of(node)),
            modules=tuple(sorted({each.partition(".")[0] for each in modules} - _STANDARD)),
            routines=tuple(
                sorted({each.partition(".")[2] for each in modules if each.startswith("actions.")})
            ),
        )

    def _closure(self, name: str) -> set[str]:
        found, waiting = {name}, [name]
        while waiting:
            here = waiting.pop()
            for need in sorted(self._needs(self._now[here])):
                if need in found:
                    continue
                self._check(need, here, name)
                if need in self._now:
                    found.add(need)
                    waiting.append(need)
                if len(found) > MOST:
                    raise _Refused(f"needs more than {MOST} other definitions")
        return found

    def _needs(self, definition: Definition) -> frozenset[str]:
        if definition.kind == "import":
            return frozenset()
        names = self._names.get(definition.name)
        if names is None:
            texts = (*definition.before, definition.text, *definition.after)
            names = self._names[definition.name] = self._names_of("\n".join(texts))
        if names.sets:
            raise _Refused(f"changes the session's variable {min(names.sets)!r}")
        return names.needs

    def _names_of(self, text: str) -> Names:
        """Annotations that nobody evaluates come along where they can."""
        if not self._future:
            return names_of(text)
        names, must = names_of(text), names_of(f"{_FUTURE}\n{text}").needs
        can = {each for each in names.needs - must if each in self._now and self._now[each].kind in _TYPES}
        return Names(must | can, names.sets)

    def _check(self, need: str, by: str, name: str) -> None:
        """Raises _Refused for a name that could not come along."""
        through = "" if by == name else f" (by way of {by!r})"
        definition = self._now.get(need)
        if definition is None:
            if hasattr(builtins, need) or need in _MODULE_NAMES:
                return
            if self._stars:
                raise _Refused(
                    f"needs {need!r}{through}, which may come from 'from {self._stars[-1]} import *': import it by name"
                )
            raise _Refused(f"needs {need!r}{through}, which no step on the path defines")
        if definition.kind == "variable":
            raise _Refused(f"needs the session's variable {need!r}{through}, which {definition.why}")
        if definition.kind == "constant":
            self._check_constant(definition, through)

    def _check_constant(self, definition: Definition, through: str) -> None:
        name, value = definition.name, getattr(definition.node, "value", None)
        if len(definition.text) > LONGEST:
            raise _Refused(f"needs {name!r}{through}, whose text has more than {LONGEST:,} characters")
        if isinstance(value, ast.AST) and not is_constant(value, self._meaning):
            raise _Refused(
                f"needs the session's variable {name!r}{through}, which is no constant: make it a parameter"
            )

    def _meaning(self, name: str) -> str:
        definition = self._now.get(name)
        if definition is None:
            return "builtin" if hasattr(builtins, name) else ""
        if definition.kind == "import":
            return f"import {definition.module}"
        if definition.kind == "function" and _makes_functions(definition.node):
            return "factory"
        return definition.kind

    def _written(self, needed: Sequence[Definition]) -> str:
        imports: list[str] = []
        parts: list[str] = []
        for each in needed:
            texts = (*each.before, each.text, *each.after)
            if each.kind == "import":
                imports += texts
            else:
                parts.append("\n\n".join(dict.fromkeys(texts)) if each.kind != "constant" else each.text)
        head = [_FUTURE] * self._future + list(dict.fromkeys(imports))
        return "\n\n\n".join(["\n".join(head)] * bool(head) + list(dict.fromkeys(parts))) + "\n"


_FUTURE = "from __future__ import annotations"
#: what an annotation may stand for
_TYPES = ("import", "class")
_KINDS = {"import": "an import", "constant": "a value", "block": "a value"}
_STANDARD = frozenset(sys.stdlib_module_names) | {"actions", "__future__"}


def _registers_on(node: ast.AST) -> str | None:
    """The function whose `register` decorates this one, as with functools.singledispatch."""
    for each in getattr(node, "decorator_list", []):
        match each.func if isinstance(each, ast.Call) else each:
            case ast.Attribute(value=ast.Name(id=name), attr="register"):
                return str(name)
    return None


def _binds_more(old: Definition, new: Definition) -> bool:
    """Whether both make one package's modules known: import a.b, then import a.c."""
    return old.kind == new.kind == "import" and old.module == new.module == new.name


def _is_overload(node: ast.AST) -> bool:
    return any(ast.unparse(each).endswith("overload") for each in getattr(node, "decorator_list", []))


def _makes_functions(node: ast.AST) -> bool:
    """Whether all that it returns is a function that it defines."""
    if not isinstance(node, ast.FunctionDef):
        return False
    inner = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
    returns = [each.value for each in node.body if isinstance(each, ast.Return)]
    return bool(returns) and all(
        isinstance(each, ast.Lambda) or (isinstance(each, ast.Name) and each.id in inner) for each in returns
    )


def _is_trivial(node: ast.AST) -> bool:
    body: list[ast.stmt] = getattr(node, "body", [])
    told = [
        each for each in body if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
    ]
    told = [each for each in told if not isinstance(each, ast.Pass)]
    parts = (part for each in told for part in ast.walk(each) if not isinstance(part, ast.expr_context))
    count = sum(1 for _ in parts)
    return not told if isinstance(node, ast.ClassDef) else count < TRIVIAL


def signature_of(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
    """As it would be called, with its types; bounded, in one line."""
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(map(ast.unparse, node.bases))
        return f"class {node.name}{f'({bases})' if bases else ''}"[:1000]
    gives = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    told = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    return " ".join(f"{told} {node.name}({ast.unparse(node.args)}){gives}".split())[:1000]


def parameters_of(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> Iterator[str]:
    """The names of its parameters; of a class those of `__init__`, or its fields."""
    if isinstance(node, ast.ClassDef):
        for each in node.body:
            if isinstance(each, ast.FunctionDef) and each.name == "__init__":
                yield from list(parameters_of(each))[1:]
            elif isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                yield each.target.id
        return
    arguments = node.args
    yield from (each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs))


def _modules(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{each.name}" for each in node.names)


def _examples(name: str, readings: Sequence[Reading]) -> tuple[str, ...]:
    """Calls with plain values, as the session's text makes them."""
    found: dict[str, None] = {}
    for call in (each for reading in readings for each in reading.calls):
        if isinstance(call.func, ast.Name) and call.func.id == name and _is_plain(call):
            text = ast.unparse(call)
            if len(text) <= EXAMPLE:
                found.setdefault(text)
    return tuple(found)[:EXAMPLES]


def _is_plain(call: ast.Call) -> bool:
    """Whether its arguments are literals, and so mean the same anywhere."""
    values = [*call.args, *(each.value for each in call.keywords)]
    try:
        for each in values:
            ast.literal_eval(each)
    except UNPARSABLE:
        return False
    return True


def likeness_of(text: str, name: str) -> str:
    """A digest of what a text means to Python, its own name aside. Raises one of UNPARSABLE."""
    tree = parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == name:
            node.id = "_"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if node.name == name:
                node.name = "_"
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode("utf-8", "backslashreplace")).hexdigest()
