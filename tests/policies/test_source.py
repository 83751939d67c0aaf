"""What an action's text seems about to do is told for any text, and nothing is decided by it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mulligan.policies.source import KINDS, LONGEST, LOOKED_INTO, MOST, advise

ROOT = Path(__file__).parents[2]

TOLD = {
    "import os; os.remove('a.csv')": ["delete: os.remove('a.csv')"],
    "from shutil import rmtree as gone\ngone('/data')": ["delete: shutil.rmtree('/data')"],
    "import pathlib; pathlib.Path('a').unlink()": ["delete: unlink()"],
    "open('w').read()": [],
    "open('x', 'rb')": [],
    "open('notes', 'w')": ["write: open('notes', 'w')"],
    "open('notes', mode='r+')": ["write: open('notes')"],
    "path.open('a')": ["write: path.open('a')"],
    "frame.to_csv('out.csv')": ["write: frame.to_csv('out.csv')"],
    "import requests as r\nr.post('https://a.example/x')": [
        "ask over the network: requests.post('https://a.example/x')",
        "ask over the network: a.example",
    ],
    "url = 'https://user:pw@b.example:8443/x'": ["ask over the network: b.example"],
    "import socket\ns = socket.socket()\ns.connect(('10.0.0.1', 4444))": [
        "ask over the network: socket.socket()",
        "ask over the network: s.connect('10.0.0.1 4444')",
    ],
    "import subprocess\nsubprocess.run(['rm', '-rf', 'x'])": [
        "delete: rm -rf x",
        "start or end programs: subprocess.run('rm -rf x')",
    ],
    "import os\nos.system('sudo pip install evil')": [
        "start or end programs: os.system('sudo pip install evil')",
        "install: pip install evil",
    ],
    "!pip install evil": ["install: pip install evil"],
    "%pip install evil\nprint(1)": ["install: pip install evil"],
    "%matplotlib inline\nx = 1": [],
    "%%bash\ncat ~/.ssh/id_rsa > out\ngit push": [
        "write: out",
        "look at what is sensitive: cat ~/.ssh/id_rsa > out",
        "ask over the network: git push",
    ],
    "open('/etc/passwd')": ["look at what is sensitive: /etc/passwd"],
    "exec(text)": ["do what its text does not show: exec(…)"],
    "getattr(os, name)()": ["do what its text does not show: getattr(…, …)"],
    "getattr(os, 'name')": [],
    "def broken(:": ["do what its text does not show: it is no Python that can be read here"],
    "total = sum(range(10))": [],
}


@pytest.mark.parametrize("source", TOLD)
def test_what_it_seems_about_to_do_is_told(source: str) -> None:
    assert [str(each) for each in advise(source)] == TOLD[source]


def test_the_gravest_comes_first_and_all_is_bounded() -> None:
    lines = [f"open('f{number}', 'w')\nimport os; os.remove('f{number}')" for number in range(1000)]
    found = advise("\n".join(lines))
    assert len(found) == MOST and {each.kind for each in found} == {"deletes"}
    (told,) = advise(f"import os; os.remove({'x' * 5000!r})")
    assert len(told.what) <= LONGEST
    assert advise(f"x = 1\n{'#' * LOOKED_INTO}")[-1].what.endswith("more characters")


PIECES = st.sampled_from(
    ["os.remove(", "open(", "'w'", "import os", "!rm -rf x", "%%bash\n", "(" * 300, "-" * 5000, "1+" * 5000, "\n", "\0",
     "\ud800", "'\\d'", "https://", "\x1b[2J", "eval(", ")", "[", "*", "=", "lambda:", "f'{", "}'", "🐍", "0" * 5000]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join)))
@example("(" * 100_000)
@example("1+" * 60_000 + "1")
@example("'" + "a" * 100_000 + "://'")
@example("%%sh\n" + "-x " * 60_000)
@example("\n" * 150_000 + " ")
@example(" " * 150_000 + "!")
@example("x = '" + ".ssh" * 30_000 + "'")
@settings(max_examples=300, deadline=None)
def test_no_text_raises_or_gives_anything_that_acts_on_a_terminal(source: str) -> None:
    found = advise(source)
    assert len(found) <= MOST
    assert all(each.kind in KINDS and each.what.isprintable() and len(each.what) <= LONGEST for each in found)


def test_nothing_is_decided_by_it() -> None:
    """Only what tells people of an action reads it."""
    readers = {
        str(file.relative_to(ROOT))
        for room in ("policies", "runtime", "sandbox")
        for file in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "mulligan.policies.source"
    }
    assert readers == {"runtime/log.py", "runtime/step.py"}
