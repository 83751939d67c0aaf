"""What of a step becomes a routine, what comes along with it, and what is refused with which reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulligan.runtime.library.harvest import LARGEST, Candidate, harvest


def only(*sources: str) -> Candidate:
    found = harvest(sources)
    assert not found.refused, found.refused
    (candidate,) = found.candidates
    return candidate


def refusal(*sources: str) -> str:
    """The one reason why there is nothing."""
    found = harvest(sources)
    assert not found.candidates
    (reason,) = found.refused.values()
    return reason


SLUG = "def slugify(text):\n    return PATTERN.sub('-', text.strip()).lower()\n"


def test_imports_with_aliases_helpers_and_constants_of_earlier_steps_come_along_and_nothing_else() -> None:
    first = "import re as regex\nimport json\nSEPARATOR = '-'\nPATTERN = regex.compile(SEPARATOR)\n"
    text = only(first, "df = object()\ndef unrelated(): pass\n", SLUG).text
    assert text.startswith("import re as regex\n")
    assert "SEPARATOR = '-'\n" in text and "PATTERN = regex.compile(SEPARATOR)\n" in text
    assert "json" not in text and "unrelated" not in text and "df" not in text


def test_comments_and_layout_are_kept_as_they_stand() -> None:
    source = (
        "x = 1\n# makes it tidy\n# in two steps\ndef tidy_up(text):\n    # first\n"
        "    a = text.strip( )  # so\n    return a.title()  # then\n"
    )
    assert source[len("x = 1\n") :] in only(source).text


def test_what_was_defined_last_is_what_comes_along() -> None:
    text = only("PATTERN = None\n", "import re\nPATTERN = re.compile('x')\n", SLUG).text
    assert "None" not in text and "re.compile('x')" in text


def test_overloads_and_registrations_belong_to_their_function() -> None:
    overloads = (
        "from typing import overload\n@overload\ndef double_it(x: int) -> int: ...\n"
        "@overload\ndef double_it(x: str) -> str: ...\n"
        "def double_it(x):\n    y = x + x\n    return y if y else x\n"
    )
    assert only(overloads).text.count("@overload") == 2
    dispatched = (
        "from functools import singledispatch\n@singledispatch\n"
        "def describe(x):\n    return f'thing {x} of {type(x)}'\n"
        "@describe.register\ndef _(x: int):\n    return f'number {x}'\n"
    )
    assert "describe.register" in only(dispatched).text


def test_two_modules_of_one_package_both_come_along() -> None:
    source = "import os.path\nimport os.path as p\nimport xml.dom\nimport xml.sax\n"
    text = only(source, "def name_of(x):\n    return xml.dom.__name__ + xml.sax.__name__ + str(x)\n").text
    assert "import xml.dom\nimport xml.sax\n" in text


def test_the_signature_the_docstring_and_the_calls_that_were_made_are_known() -> None:
    made = only(
        "def scale_by(values: list[float], factor: float = 2.0) -> list[float]:\n"
        '    """Multiply each."""\n    return [value * factor for value in values]\n'
        "print(scale_by([1.0], factor=3))\nrows = [1]\nscale_by(rows)\n"
    )
    assert made.signature == "def scale_by(values: list[float], factor: float=2.0) -> list[float]"
    assert made.doc == "Multiply each."
    assert made.parameters == ("values", "factor")
    assert made.examples == ("scale_by([1.0], factor=3)",)


def test_packages_and_routines_that_it_imports_are_known() -> None:
    made = only(
        "import numpy as np, json\nfrom actions import slugify\n",
        "def spread(values):\n    return slugify(json.dumps(float(np.ptp(np.asarray(values)))))\n",
    )
    assert made.modules == ("numpy",)
    assert made.routines == ("slugify",)


def test_a_function_that_makes_functions_may_be_called_for_a_constant() -> None:
    made = only(
        "def times(n):\n    def multiply(x):\n        return n * x\n    return multiply\ntriple = times(3)\n",
        "def triple_all(values):\n    return [triple(value) + 0 for value in values]\n",
    )
    assert "triple = times(3)" in made.text


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (
            "rows = open('x').read()\ndef count_rows(n):\n    return len(rows) + n * 2\n",
            "'rows', which is no constant",
        ),
        (
            "for i in range(3): total = i\ndef add_total(n):\n    return total + n * 2 + 1\n",
            "'total', which is worked out",
        ),
        (
            "seen = []\nseen.append(1)\ndef was_seen(n):\n    return n in seen and n * 2 > 1\n",
            "'seen', which is worked out",
        ),
        (
            "cfg = {}\ncfg['a'] = 1\ndef setting(n):\n    return cfg.get(n) or n * 2 + 1\n",
            "'cfg', which is worked out",
        ),
        (
            "n = 0\ndef count_up():\n    global n\n    n += 1\n    return n * 2 + 1\n",
            "changes the session's variable 'n'",
        ),
        (
            "def fetch_it(u):\n    return client.get(u).json() + 1\n",
            "'client', which no step on the path defines",
        ),
        ("from math import *\ndef area_of(r):\n    return pi * r ** 2 + 0\n", "from math import *"),
        (
            "from .near import it\ndef use_near(x):\n    return it(x) + it(x) * 2\n",
            "beside the session's code",
        ),
        ("def _hidden(x):\n    return x + x * 2 - 1 + x\n", "begins with an underscore"),
        ("def sum(x):\n    return x + x * 2 - 1 + x\n", "builtin"),
        ("def foo(x):\n    return x + x * 2 - 1 + x\n", "says nothing"),
        ("def é_name(x):\n    return x + x * 2 - 1 + x\n", "no plain name"),
        ("def add_one(x):\n    return x + 1\n", "too small"),
        ("class NothingYet:\n    '''doc'''\n", "too small"),
        ("def list_files(x):\n    !ls\n    return x + x * 2 - 1\n", "IPython's own"),
        ("def turned(x):\n    return x + x * 2 - 1 + x\nturned = 3\n", "bound anew"),
        (f"T = '{'x' * 9000}'\ndef in_table(x):\n    return x in T and x * 2 > 1\n", "8,000 characters"),
        (
            "load = lambda p: open(p)\ndata = load('x')\ndef in_data(x):\n    return x in data and x * 2 > 1\n",
            "'data'",
        ),
    ],
)
def test_what_cannot_come_along_is_refused_by_its_name(source: str, reason: str) -> None:
    assert reason in refusal(source)


def test_a_variable_that_a_helper_needs_is_named_with_the_helper() -> None:
    source = "rows = input()\ndef _rows_of(n):\n    return rows[n]\n"
    source += "def pick_row(n):\n    return _rows_of(n) + str(n) * 2\n"
    assert "'rows' (by way of '_rows_of')" in harvest([source]).refused["pick_row"]


def test_two_that_differ_in_name_comment_and_docstring_alone_are_alike() -> None:
    one = only("def slug_of(text):\n    'Doc.'\n    return text.strip().lower() + slug_of.__name__  # a\n")
    other = only(
        "# b\ndef make_slug(text):\n    return (text.strip().lower()\n        + make_slug.__name__)\n"
    )
    different = only("def make_slug(text):\n    return text.strip().upper() + make_slug.__name__\n")
    assert one.likeness == other.likeness != different.likeness


HOSTILE = [
    "(" * 5000,
    "x = " + "-" * 50_000 + "1",
    "a" + ".b" * 30_000,
    "1" + "+1" * 30_000,
    "if x:\n    pass\n" + "elif x:\n    pass\n" * 5000,
    "def f():\n" + "".join("    " * n + "def f():\n" for n in range(1, 200)),
    "def deep_one(x):\n    return " + "(lambda: " * 90 + "x" + ")" * 90 + "\n",
    "\0",
    "def bad_text(x):\n    return '\ud800' + x + x + x\n",
    "x" * 1_000_000,
    "\n".join(f"def name_{n}a(x):\n    return name_{n + 1}a(x) + x * 2 - 1" for n in range(1500)),
]


@pytest.mark.parametrize("source", HOSTILE, ids=range(len(HOSTILE)))
def test_text_that_was_made_to_break_its_parser_is_only_refused(source: str) -> None:
    found = harvest([source])
    assert all(len(each.text) <= LARGEST for each in found.candidates)
    assert found.refused or found.candidates


@given(st.text(alphabet="def x(:)\n return'#@=%![]1.", max_size=80))
def test_no_text_raises(source: str) -> None:
    harvest([source, source])
