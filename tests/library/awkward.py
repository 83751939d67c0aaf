"""Functions and classes of every awkward kind, each as the steps of a session that make it and a call of it."""

from __future__ import annotations

from typing import NamedTuple


class Awkward(NamedTuple):
    """`name` is what is harvested of the last of the `steps`; `call` uses it."""

    name: str
    call: str
    steps: tuple[str, ...]


def _of(name: str, call: str, *steps: str) -> Awkward:
    return Awkward(name, call, steps)


_BODY = "    total = sum(values)\n    return total / len(values)\n"

AWKWARD = (
    # imports
    _of("alias_module", "alias_module('a b')", "import re as regex", "def alias_module(t):\n    return regex.sub(r'\\s', '-', t).upper()"),
    _of("alias_name", "alias_name(9)", "from math import sqrt as root", "def alias_name(x):\n    return root(x) + root(x) * 2"),
    _of("dotted_import", "dotted_import('a/b')", "import os.path", "def dotted_import(p):\n    return os.path.basename(p) + os.path.dirname(p)"),
    _of("dotted_alias", "dotted_alias('a/b')", "import os.path as osp", "def dotted_alias(p):\n    return osp.join(p, 'x') + osp.basename(p)"),
    _of("two_submodules", "two_submodules()", "import xml.dom\nimport xml.sax", "def two_submodules():\n    return [xml.dom.__name__, xml.sax.__name__]"),
    _of("import_inside", "import_inside([3, 1])", "def import_inside(v):\n    import heapq\n    heapq.heapify(v)\n    return heapq.heappop(v)"),
    _of("maybe_import", "maybe_import([1])", "try:\n    import ujson_that_is_not_there as json_lib\nexcept ImportError:\n    import json as json_lib", "def maybe_import(v):\n    return json_lib.dumps(v) + json_lib.__name__"),
    _of("many_in_one_line", "many_in_one_line(2)", "import math, cmath as cm, json", "def many_in_one_line(x):\n    return json.dumps(math.floor(abs(cm.sqrt(-x))))"),
    # constants
    _of("uses_constant", "uses_constant(2)", "RATE = 0.19", "def uses_constant(x):\n    return round(x * RATE + x, 2)"),
    _of("constant_of_constant", "constant_of_constant(2)", "A_K = 2\nB_K = A_K ** 3 + 1", "def constant_of_constant(x):\n    return x * B_K + A_K"),
    _of("constant_table", "constant_table('b')", "TABLE = {'a': [1, 2], 'b': [3]}", "def constant_table(k):\n    return [v * 2 for v in TABLE.get(k, [])]"),
    _of("compiled_pattern", "compiled_pattern('a1b22')", "import re\nNUMBER = re.compile(r'\\d+')", "def compiled_pattern(t):\n    return [int(n) for n in NUMBER.findall(t)]"),
    _of("built_constant", "built_constant('x')", "WORDS = 'x y z'.split()\nINDEX = {w: i for i, w in enumerate(WORDS)}", "def built_constant(w):\n    return INDEX[w] * 10 + len(WORDS)"),
    _of("redefined_constant", "redefined_constant(1)", "LIMIT = 1", "LIMIT = 5", "def redefined_constant(x):\n    return min(x * 10, LIMIT) + LIMIT"),
    _of("lambda_constant", "lambda_constant(3)", "square = lambda x: x * x", "def lambda_constant(x):\n    return square(x) + square(x + 1)"),
    _of("path_constant", "path_constant('x')", "from pathlib import PurePosixPath as P\nROOT = P('/data')", "def path_constant(n):\n    return str(ROOT / n / 'end')"),
    _of("date_constant", "date_constant(3)", "from datetime import date, timedelta\nSTART = date(2024, 2, 28)", "def date_constant(n):\n    return (START + timedelta(days=n)).isoformat()"),
    _of("decimal_constant", "decimal_constant('1.10')", "from decimal import Decimal\nVAT = Decimal('0.20')", "def decimal_constant(t):\n    return Decimal(t) * (1 + VAT)"),
    # helpers and scopes
    _of("with_helpers", "with_helpers(' A ')", "def _strip(t):\n    return t.strip()\ndef _lower(t):\n    return _strip(t).lower()", "def with_helpers(t):\n    return _lower(t) + '!' + _strip(t)"),
    _of("makes_closures", "[f(2) for f in makes_closures([1, 2])]", "def makes_closures(ns):\n    def make(n):\n        return lambda x: x * n\n    return [make(n) for n in ns]"),
    _of("counts_up", "[counts_up()() for _ in range(2)]", "def counts_up():\n    n = 0\n    def up():\n        nonlocal n\n        n += 1\n        return n\n    return up"),
    _of("from_factory", "from_factory(4)", "def times(n):\n    def by(x):\n        return x * n\n    return by\ntriple = times(3)", "def from_factory(x):\n    return triple(x) + triple(1)"),
    _of("factorial_of", "factorial_of(6)", "def factorial_of(n):\n    return 1 if n < 2 else n * factorial_of(n - 1)"),
    _of("is_even_number", "is_even_number(7)", "def is_even_number(n):\n    return True if n == 0 else _is_odd(n - 1)\ndef _is_odd(n):\n    return False if n == 0 else is_even_number(n - 1)"),
    _of("nested_functions", "nested_functions([3, 1, 2])", "def nested_functions(v):\n    def key(x):\n        return -x\n    def order(w):\n        return sorted(w, key=key)\n    return order(v)"),
    _of("shadowed_builtin", "shadowed_builtin([1, 2])", "def sum(v):\n    return 'mine'\ndef _use(v):\n    return sum(v)", "def shadowed_builtin(v):\n    return _use(v) + str(len(v))"),
    _of("local_named_list", "local_named_list('ab')", "def local_named_list(text):\n    list = [c for c in text]\n    str = ''.join(list)\n    return list, str"),
    _of("comprehensions", "comprehensions(3)", "def comprehensions(n):\n    return {i: {j for j in range(i)} for i in range(n) if (k := i) >= 0}"),
    _of("class_scope", "class_scope()", "SIZE = 3", "class class_scope:\n    SIZE = SIZE + 1\n    items = [SIZE] * 2\n    def __repr__(self):\n        return f'{self.SIZE} {SIZE} {self.items}'"),
    _of("global_name_in_nested", "global_name_in_nested(2)", "BASE = 10", "def global_name_in_nested(x):\n    def inner():\n        def innermost():\n            return BASE + x\n        return innermost()\n    return inner()"),
    # signatures
    _of("every_parameter", "every_parameter(1, 2, 3, 4, e=5, f=6)", "def every_parameter(a, /, b, *c, e, **f):\n    return a, b, c, e, f, len(c)"),
    _of("default_object", "default_object()", "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Options:\n    n: int = 3\nDEFAULT = Options(n=4)", "def default_object(o=DEFAULT, extra=Options()):\n    return o.n * 10 + extra.n"),
    _of("default_sentinel", "default_sentinel()", "MISSING = object()", "def default_sentinel(x=MISSING):\n    return 'missing' if x is MISSING else repr(x)"),
    _of("default_partial", "default_partial(8)", "from functools import partial\nas_binary = partial(int, base=2)", "def default_partial(x, read=as_binary):\n    return read(bin(x)[2:]) + x"),
    _of("typed_numpy", "typed_numpy(np.arange(4.0)).tolist()", "import numpy as np\nimport numpy.typing as npt", "def typed_numpy(a: npt.NDArray[np.float64], axis: int = 0) -> np.ndarray:\n    return np.cumsum(a, axis=axis) * 2"),
    _of("typed_pandas", "typed_pandas(pd.DataFrame({'a': [2, 1]})).to_dict('list')", "import pandas as pd", "def typed_pandas(df: pd.DataFrame, by: str = 'a') -> pd.DataFrame:\n    return df.sort_values(by).reset_index(drop=True)"),
    _of("type_alias", "type_alias([1.0, 3.0])", "from typing import Optional, Union\nVector = list[float]\nNumber = Optional[Union[int, float]]", "def type_alias(values: Vector, low: Number = None) -> float:\n" + _BODY),
    _of("type_variable", "type_variable([3, 4])", "from typing import TypeVar\nT = TypeVar('T')", "def type_variable(values: 'list[T]') -> 'T':\n    return values[len(values) // 2] if values else None"),
    _of("later_annotations", "later_annotations(2)", "from __future__ import annotations", "from __future__ import annotations\ndef later_annotations(x: NotYet) -> AlsoNot:\n    return x * 2 + x * 3"),
    _of("double_either", "(double_either(2), double_either('a'))", "from typing import overload", "@overload\ndef double_either(x: int) -> int: ...\n@overload\ndef double_either(x: str) -> str: ...\ndef double_either(x):\n    return x + x if x else x * 2"),
    # decorators
    _of("cached_square", "(cached_square(3), cached_square.cache_info().misses)", "import functools", "@functools.lru_cache(maxsize=None)\ndef cached_square(x):\n    return x * x + x - x"),
    _of("own_decorator", "own_decorator(2)", "import functools\ndef twice(f):\n    @functools.wraps(f)\n    def run(*a):\n        return f(f(*a))\n    return run", "@twice\ndef own_decorator(x):\n    return x * 3 + x - x"),
    _of("decorator_with_arguments", "decorator_with_arguments(2)", "def adding(n):\n    def wrap(f):\n        return lambda x: f(x) + n\n    return wrap", "@adding(5)\n@adding(1)\ndef decorator_with_arguments(x):\n    return x * 3 + x - x"),
    _of("dispatching", "(dispatching(1), dispatching('a'))", "from functools import singledispatch", "@singledispatch\ndef dispatching(x):\n    return f'any {x!r} {type(x).__name__}'\n@dispatching.register\ndef _(x: int):\n    return f'int {x}'"),
    _of("managed", "managed()", "from contextlib import contextmanager\n@contextmanager\ndef _opened(log):\n    log.append('in')\n    yield log\n    log.append('out')", "def managed():\n    with _opened([]) as log:\n        log.append('on')\n    return log"),
    # generators and async
    _of("fibonacci_upto", "list(fibonacci_upto(20))", "def fibonacci_upto(n):\n    a, b = 0, 1\n    while a < n:\n        yield a\n        a, b = b, a + b"),
    _of("flattened", "list(flattened([1, [2, [3]]]))", "def flattened(v):\n    for each in v:\n        if isinstance(each, list):\n            yield from flattened(each)\n        else:\n            yield each"),
    _of("generator_expression", "list(generator_expression(3))", "def generator_expression(n):\n    return (i * j for i in range(n) for j in range(i))"),
    _of("awaited_sum", "await awaited_sum([1, 2])", "import asyncio\nasync def _wait(x):\n    await asyncio.sleep(0)\n    return x", "async def awaited_sum(v):\n    return sum([await _wait(x) for x in v])"),
    _of("async_generator", "[i async for i in async_generator(2)]", "import asyncio", "async def async_generator(n):\n    for i in range(n):\n        await asyncio.sleep(0)\n        yield i"),
    # classes
    _of("Interval", "Interval(1, 3) + Interval(2, 5)", "from dataclasses import dataclass, field\n@dataclass(order=True)\nclass Interval:\n    low: float\n    high: float = 0.0\n    tags: list[str] = field(default_factory=list)\n    def __add__(self, other):\n        return Interval(min(self.low, other.low), max(self.high, other.high))"),
    _of("Weekday", "(Weekday.SAT.weekend, Weekday(1), list(Weekday))", "import enum\n@enum.unique\nclass Weekday(enum.IntEnum):\n    MON = 1\n    SAT = 6\n    @property\n    def weekend(self):\n        return self >= Weekday.SAT"),
    _of("Celsius", "Celsius(20).fahrenheit", "class _Unit:\n    def __init__(self, value):\n        self.value = value", "class Celsius(_Unit):\n    @property\n    def fahrenheit(self):\n        return self.value * 9 / 5 + 32"),
    _of("Pair", "Pair(1, 2).swapped()", "from typing import NamedTuple\nclass Pair(NamedTuple):\n    left: int\n    right: int\n    def swapped(self):\n        return Pair(self.right, self.left)"),
    _of("StackOf", "StackOf([1]).push(2).items", "from typing import Generic, TypeVar\nItem = TypeVar('Item')", "class StackOf(Generic[Item]):\n    def __init__(self, items):\n        self.items = list(items)\n    def push(self, item: Item) -> 'StackOf[Item]':\n        return StackOf([*self.items, item])"),
    _of("WithMeta", "WithMeta.registered", "class _Meta(type):\n    def __new__(cls, name, bases, space):\n        made = super().__new__(cls, name, bases, space)\n        made.registered = [name.lower()]\n        return made", "class WithMeta(metaclass=_Meta):\n    __slots__ = ('x',)\n    def __init__(self):\n        self.x = 1"),
    _of("TooHot", "str(TooHot(99)) + TooHot.__mro__[1].__name__", "class TooHot(ValueError):\n    def __init__(self, degrees):\n        super().__init__(f'{degrees} degrees')"),
    _of("uses_enum", "uses_enum('red')", "from enum import Enum\nclass Colour(Enum):\n    RED = 'red'\n    BLUE = 'blue'", "def uses_enum(t, default=Colour.BLUE):\n    return (Colour(t).name, default.name)"),
    _of("made_namedtuple", "made_namedtuple(1)", "from collections import namedtuple\nPoint = namedtuple('Point', 'x y')", "def made_namedtuple(x):\n    return Point(x, y=x + 1)._replace(x=5)"),
    # layout
    _of("raw_and_bytes", "raw_and_bytes('x')", "def raw_and_bytes(t):\n    '''Doc with \\\\ and \"quotes\".\n\n# no remark\n    '''\n    return rf'\\d{t}', b'\\x00', f\"{t!r:>5}\", '''a\n# b\n'''"),
    _of("one_line", "one_line(3)", "X_ONE = 2; Y_ONE = 3", "x = 1; one_line_ignored = 2\ndef one_line(n): return n * X_ONE + Y_ONE * n"),
    _of("matched", "matched({'kind': 'a', 'n': 2})", "def matched(v):\n    match v:\n        case {'kind': 'a', 'n': int(n)} if n > 1:\n            return n * 2\n        case _:\n            return None"),
    _of("tabs_inside", "tabs_inside(2)", "def tabs_inside(x):\n\tif x:\n\t\treturn x * 2\n\treturn None"),
    _of("unicode_inside", "unicode_inside('ß')", "GRÖSSE = 'größe ☃'", "def unicode_inside(t):\n    größe = GRÖSSE.upper()\n    return f'{größe} → {t}'"),
)  # fmt: skip
