"""Which expressions are constants: they give the same in any session, and do nothing but make a value.

`re.compile("a")`, `list[float]`, `Config(retries=3)` and `partial(scale, 2)` are; `pd.read_csv("a.csv")` and
`load()` are not: that is what the session worked out, and a routine that needs it is refused by its name. The list is
of what is known to be harmless, so what is not on it is no constant.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

#: characters of the text of one constant
LONGEST = 8_000

_NODES = (
    *(ast.Constant, ast.List, ast.Tuple, ast.Set, ast.Dict, ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare),
    *(ast.Subscript, ast.Slice, ast.Attribute, ast.Name, ast.JoinedStr, ast.FormattedValue, ast.Starred),
    *(ast.IfExp, ast.ListComp, ast.SetComp, ast.DictComp, ast.comprehension, ast.keyword, ast.Call),
    *(ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context),
)
_BUILTINS_WORDS = (
    "frozenset set dict list tuple str int float complex bytes bytearray bool range enumerate zip sorted "
    "reversed len min max sum abs round ord chr object slice map filter property type"
)
_BUILTINS = frozenset(_BUILTINS_WORDS.split())
_CALLS_WORDS = (
    "re.compile typing.TypeVar typing.NewType typing.NamedTuple typing.TypedDict typing.ParamSpec "
    "typing.cast collections.namedtuple collections.OrderedDict collections.defaultdict collections.Counter "
    "collections.deque collections.ChainMap dataclasses.field enum.Enum enum.auto decimal.Decimal "
    "fractions.Fraction pathlib.Path pathlib.PurePath pathlib.PurePosixPath datetime.date datetime.time "
    "datetime.datetime datetime.timedelta datetime.timezone logging.getLogger functools.partial "
    "functools.cmp_to_key operator.itemgetter operator.attrgetter operator.methodcaller struct.Struct "
    "string.Template types.MappingProxyType types.SimpleNamespace math.sqrt math.log math.radians "
    "numpy.array numpy.dtype numpy.float32 numpy.float64 numpy.int64 numpy.zeros numpy.ones numpy.arange "
    "numpy.linspace numpy.eye zoneinfo.ZoneInfo contextvars.ContextVar ipaddress.ip_network"
)
_CALLS = frozenset(_CALLS_WORDS.split())
#: methods of plain values that give plain values
_METHODS_WORDS = (
    "split rsplit splitlines format lower upper title strip lstrip rstrip join encode replace maketrans "
    "fromkeys items keys values union difference copy casefold"
)
_METHODS = frozenset(_METHODS_WORDS.split())


def is_constant(node: ast.AST, meaning: Callable[[str], str]) -> bool:
    """`meaning` says what a name stands for: "import a.b", "class", "factory", "constant", "builtin", or something
    else."""
    waiting = [node]
    while waiting:
        here = waiting.pop()
        if isinstance(here, ast.Lambda):
            continue  # it does nothing before it is called; what it needs is looked up as for any function
        if not isinstance(here, _NODES) or (isinstance(here, ast.comprehension) and here.is_async):
            return False
        if isinstance(here, ast.Call) and not _may_be_called(here.func, meaning):
            return False
        waiting += ast.iter_child_nodes(here)
    return True


def _may_be_called(function: ast.expr, meaning: Callable[[str], str]) -> bool:
    if isinstance(function, ast.Name):
        what = meaning(function.id)
        if what == "builtin":
            return function.id in _BUILTINS
        return what in ("class", "factory") or what.removeprefix("import ") in _CALLS
    if not isinstance(function, ast.Attribute):
        return False
    dotted = _dotted(function)
    first = meaning(dotted.partition(".")[0]) if dotted else ""
    if first.startswith("import "):
        return f"{first.removeprefix('import ')}.{dotted.partition('.')[2]}" in _CALLS
    return function.attr in _METHODS


def _dotted(node: ast.expr) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""
