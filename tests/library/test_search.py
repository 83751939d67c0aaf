"""What a search finds among routines with questions whose answers are known; and nothing, where nothing fits."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from mulligan.policies.loading import parse_policy
from mulligan.runtime.library.contract import Contract
from mulligan.runtime.library.library import Library
from mulligan.runtime.library.routine import make_routine
from mulligan.runtime.library.whereabouts import user_key

COUNT = 500


@pytest.fixture(scope="module")
def made() -> ModuleType:
    """The library that the benchmark makes up."""
    path = Path(__file__).parents[2] / "bench" / "routines.py"
    spec = importlib.util.spec_from_file_location("bench_routines", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def library(made: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    home = tmp_path_factory.mktemp("search")
    (home / "shelf").mkdir()
    for each in made.routines(COUNT):
        routine = make_routine(Contract(name=each.name), each.text, user_key()).changed(state="trusted")
        (home / "shelf" / f"{each.name}.py").write_text(routine.content)
    with Library.open([home / "shelf"], home / "state") as library:
        yield library


def test_of_the_questions_whose_answers_are_known_few_are_missed(made: ModuleType, library: Library) -> None:
    questions = made.questions(200, COUNT)
    missed = [
        question.text
        for question in questions
        if question.answer not in {found.name for found in library.search(question.text, 10)}
    ]
    assert len(missed) < len(questions) / 10, missed


def test_about_what_no_routine_is_nothing_is_found(made: ModuleType, library: Library) -> None:
    assert [text for text in made.FOREIGN if library.search(text, 10)] == []


def test_what_served_well_and_what_may_be_used_come_first(library: Library) -> None:
    shelf = library.shelves[0]
    first, second = (found.name for found in library.search("invoice csv", 2))
    for _ in range(20):
        shelf.count(second, 1, failed=False)
        shelf.count(first, 1, failed=True)
    names = [found.name for found in library.search("invoice csv", 30)]
    assert names.index(second) < names.index(first)
    policy = parse_policy(f'library:\n  - allow: "*"\n  - deny: {second}\n')
    found = library.search("invoice csv", 30, policy)
    assert [bool(each.why) for each in found] == [False] * (len(found) - 1) + [True]
    assert found[-1].name == second and "does not allow" in found[-1].why
