"""What becomes of a candidate in its trial."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mulligan.policies.loading import parse_policy
from mulligan.runtime.library.contract import Contract, Example, Needs
from mulligan.runtime.library.errors import RoutineRefused
from mulligan.runtime.library.library import Library
from mulligan.runtime.library.routine import make_routine
from mulligan.runtime.library.trial import Trial, try_routine


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    with Library.open([tmp_path / "shelf"], tmp_path / "state", create=True) as library:
        yield library


def propose(library: Library, name: str, text: str, *calls: str, **known: object) -> None:
    examples = tuple(Example(call=call) for call in calls)
    contract = Contract(name=name, examples=examples, **known)  # type: ignore[arg-type]
    library.shelves[0].propose(make_routine(contract, text))


def tried(library: Library, name: str, isolation: str, **how: object) -> Trial:
    return try_routine(library, name, isolation=isolation, **how)  # type: ignore[arg-type]


def test_one_that_does_what_its_examples_say_is_trusted_with_what_they_gave(
    library: Library, isolation: str
) -> None:
    text = "import json\ndef told_as(x):\n    return {1: (x, [None, 2.5]), 's': {'b', 'a'}, 'j': json.dumps(x)}\n"
    propose(library, "told_as", text, "told_as('é')", "list(told_as(1))")
    trial = tried(library, "told_as", isolation, trust=True)
    assert trial.convincing, trial.said
    assert [each.gives for each in trial.examples] == [
        "{1: ('\\xe9', [None, 2.5],), 's': {'a', 'b'}, 'j': '\"\\\\u00e9\"'}",
        "[1, 's', 'j']",
    ]
    assert library.shelves[0].get("told_as").state == "trusted"
    assert tried(library, "told_as", isolation).passed, "what was recorded is what it gives again"


CASES = {
    "raises_always": (
        "def raises_always(x):\n    return x.no\n",
        ("raises_always(1)",),
        "raises AttributeError",
    ),
    "not_loaded": ("import not_there\ndef not_loaded(x):\n    return x\n", ("not_loaded(1)",), "'not_there'"),
    "kills_it": ("import os\ndef kills_it(x):\n    os._exit(1)\n", ("kills_it(1)",), "kernel died"),
    "writes_files": (
        "def writes_files(x):\n    open(x, 'w').close()\n",
        ("writes_files('a.txt')",),
        "writable",
    ),
    "another_call": (
        "def another_call(x):\n    return x\n",
        ("__import__('os').getcwd()",),
        "is no call of it",
    ),
    "two_statements": (
        "def two_statements(x):\n    return x\n",
        ("two_statements(1)\nimport os",),
        "is no call of it",
    ),
}


def test_one_that_fails_is_no_further_than_it_was_and_says_why(library: Library, any_isolation: str) -> None:
    for name, (text, calls, why) in CASES.items():
        propose(library, name, text, *calls)
        trial = tried(library, name, any_isolation, trust=True)
        assert not trial.passed and why in trial.said, (name, trial.said)
        routine = library.shelves[0].get(name)
        assert routine.state == "candidate" and why in routine.why


def test_one_that_gives_now_this_and_now_that_is_flaky_and_trusted_by_no_rule(
    library: Library, any_isolation: str
) -> None:
    propose(
        library,
        "at_random",
        "import random\ndef at_random(n):\n    return random.random() * n\n",
        "at_random(2)",
    )
    trial = tried(library, "at_random", any_isolation, trust=True)
    assert trial.flaky and not trial.convincing
    assert library.shelves[0].get("at_random").contract.flaky
    assert library.shelves[0].get("at_random").state == "candidate"


def test_what_no_longer_gives_what_was_recorded_is_trusted_no_more(
    library: Library, any_isolation: str
) -> None:
    shelf = library.shelves[0]
    contract = Contract(name="doubled", examples=(Example(call="doubled(2)", gives="4"),))
    shelf.propose(make_routine(contract, "def doubled(x):\n    return x * 3\n"))
    shelf.trust("doubled", "by a person who did not look", "")
    trial = tried(library, "doubled", any_isolation)
    assert "gave 6 and not 4" in trial.said
    assert shelf.get("doubled").state == "candidate"


def test_one_without_examples_is_imported_and_trusted_by_no_rule(
    library: Library, any_isolation: str
) -> None:
    propose(library, "unused_one", "def unused_one(x):\n    return x\n")
    trial = tried(library, "unused_one", any_isolation, trust=True)
    assert trial.passed and not trial.convincing
    assert library.shelves[0].get("unused_one").state == "candidate"


def test_a_coroutine_is_awaited_and_others_of_the_library_and_packages_are_there(
    library: Library, any_isolation: str
) -> None:
    propose(library, "halved", "def halved(x):\n    return x / 2\n")
    library.shelves[0].trust("halved", "by a test", "")
    text = "import numpy as np\nfrom actions import halved\n"
    text += "async def awaits_it(x):\n    return halved(float(np.float64(x)))\n"
    propose(
        library, "awaits_it", text, "awaits_it(3)", needs=Needs(packages={"numpy": ""}), routines=("halved",)
    )
    trial = tried(library, "awaits_it", any_isolation)
    assert [each.gives for each in trial.examples] == ["1.5"], trial.said
    assert library.shelves[0].get("awaits_it").contract.needs.packages["numpy"]


def test_one_that_needs_more_than_the_trial_may_do_is_not_tried(library: Library, any_isolation: str) -> None:
    needs = Needs(network=("POST evil.example/**",))
    propose(library, "sends_it", "def sends_it(x):\n    return x\n", "sends_it(1)", needs=needs)
    with pytest.raises(RoutineRefused, match=r"POST evil\.example/\*\*"):
        tried(library, "sends_it", any_isolation)
    wide = parse_policy("network:\n  - allow: GET evil.example/**\n")
    with pytest.raises(RoutineRefused, match="does not allow"):
        tried(library, "sends_it", any_isolation, policy=wide)
