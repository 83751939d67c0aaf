"""Every test that SPECIFICATION.md, README.md or a page of docs/ names by link exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: [text](tests/room/test_file.py) or [test_function](tests/room/test_file.py), relative to the page
LINK = re.compile(r"\[`?(?P<name>[^\]`]+)`?\]\((?P<target>[^)\s#]+)(?:#[^)]*)?\)")
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")})


def named_in(file: Path) -> set[str]:
    """Its functions, and the names given to test cases that Hypothesis makes of state machines."""
    tree = ast.parse(file.read_text())
    functions = {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assigned = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    return functions | {target.id for target in assigned if isinstance(target, ast.Name)}


def links(page: Path) -> list[tuple[str, str]]:
    found = [(link["name"], link["target"]) for link in LINK.finditer(page.read_text())]
    return [(name, target) for name, target in found if "://" not in target]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_is_there(page: Path) -> None:
    missing = [target for _, target in links(page) if not (page.parent / target).exists()]
    assert missing == []


def test_every_test_that_the_specification_names_exists() -> None:
    named = [
        (name, target) for name, target in links(ROOT / "SPECIFICATION.md") if target.startswith("tests/")
    ]
    missing = [f"{target}::{name}" for name, target in named if name not in named_in(ROOT / target)]
    assert missing == []


def test_every_promise_names_its_tests_or_says_that_they_are_pending() -> None:
    text = (ROOT / "SPECIFICATION.md").read_text().partition("## What is not a boundary")[0]
    promises = re.findall(r"^- .+(?:\n  .+)*", text, flags=re.MULTILINE)
    bare = [promise for promise in promises if "](tests/" not in promise and "test pending" not in promise]
    assert promises
    assert bare == []


def test_no_two_promises_have_one_name() -> None:
    names = re.findall(r"^- ([A-Z]+[0-9]+)\.", (ROOT / "SPECIFICATION.md").read_text(), flags=re.MULTILINE)
    assert [name for name in set(names) if names.count(name) > 1] == []


def test_each_decision_has_a_number_of_its_own_which_is_its_title_s_and_a_line_in_the_index() -> None:
    files = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    index = (ROOT / "docs" / "README.md").read_text()
    assert [file.name for file in files if index.count(f"(decisions/{file.name})") != 1] == []
    numbers = [int(file.name.partition("-")[0]) for file in files]
    assert numbers == sorted(set(numbers))
    titled = [
        file.read_text().startswith(f"# {number}. ") for file, number in zip(files, numbers, strict=True)
    ]
    assert all(titled), files
