"""Functions of every awkward kind, made in one session and imported in a fresh one in the other isolation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import mulligan
from mulligan import Session
from mulligan.runtime.library.shelf import Shelf

from .awkward import AWKWARD, Awkward

#: what the calls themselves need
PRELUDES = {"np.": "import numpy as np\n", "pd.": "import pandas as pd\n"}


@pytest.fixture(scope="module", params=["some", pytest.param("all", marks=pytest.mark.soak)])
def these(request: pytest.FixtureRequest) -> tuple[Awkward, ...]:
    """All of them take half a minute: `make test` has every sixth, `make soak` all."""
    return AWKWARD if request.param == "all" else AWKWARD[::6]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("library")


@pytest.fixture(scope="module")
def made(isolation: str, work: Path, these: tuple[Awkward, ...]) -> dict[str, str]:
    """What each call gave where it was made, with all of them kept; from a clean kernel each."""
    shelf, given = work / f"{isolation}-{len(these)}", {}
    with mulligan.open(isolation=isolation, state=work / "state", library=shelf) as session:
        for each in these:
            session.restart()
            step = [session.run(source) for source in each.steps][-1]
            assert step.outcome.ok, (each.name, step.outcome.text)
            kept = session.library.keep(step.id, each.name)
            assert [routine.name for routine in kept.routines] == [each.name], (each.name, kept.refused)
            given[each.name] = said(session, each)
    with Shelf.open(shelf, work / "state") as opened:
        for each in these:
            opened.trust(each.name, "by a test", "")
    return given


@pytest.fixture(scope="module")
def fresh(isolation: str, work: Path, made: dict[str, str]) -> Iterator[Session]:
    others = [each for each in ("docker", "bubblewrap") if each != isolation]
    with mulligan.open(
        isolation=others[0], state=work / "state", library=work / f"{isolation}-{len(made)}"
    ) as session:
        yield session


def said(session: Session, each: Awkward) -> str:
    prelude = "".join(line for name, line in PRELUDES.items() if name in each.call)
    outcome = session.run(f"{prelude}print(ascii({each.call}))").outcome
    assert outcome.ok, (each.name, outcome.text)
    return outcome.stdout


def test_there_are_sixty() -> None:
    assert len({each.name for each in AWKWARD}) == len(AWKWARD) >= 60


def test_each_gives_in_a_fresh_session_what_it_gave_where_it_was_made(
    these: tuple[Awkward, ...], fresh: Session, made: dict[str, str]
) -> None:
    differ = {}
    for each in these:
        assert fresh.run(f"from actions import {each.name}").outcome.ok, each.name
        if (gave := said(fresh, each)) != made[each.name]:
            differ[each.name] = (made[each.name], gave)
    assert differ == {}
