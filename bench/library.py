"""What a library costs: searching 10,000 routines, and opening a session with them; and whether what is asked for is
found."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mulligan
from bench.measure import SAID, Aim, Comparison, Turn, alternate, machine, seconds, versions
from bench.routines import FOREIGN, questions, routines
from mulligan.runtime.library.contract import Contract
from mulligan.runtime.library.library import Library
from mulligan.runtime.library.routine import make_routine
from mulligan.runtime.library.whereabouts import user_key

COUNT, QUICK = 10_000, 200
ASKED = 500


def measure(quick: bool, isolations: Sequence[str]) -> dict[str, Any]:
    """Plain data, ready for JSON."""
    facts, count = machine(), QUICK if quick else COUNT
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        SAID.print(f"a shelf of {count:,} routines")
        plant(home / "shelf", count)
        plant(home / "small", 10)
        started = time.perf_counter()
        with Library.open([home / "shelf"], home / "state") as library:
            read = time.perf_counter() - started
            took, found, silent = _asked(library, count)
        opened = [each for isolation in isolations for each in _opened(home, isolation, quick)]
    searched = Comparison(f"search {count:,} routines", {"mulligan": took})
    recall = sum(found) / len(found)
    worst = sorted(took)[int(len(took) * 0.95)] * 1000
    return {
        "benchmark": "library",
        "quick": quick,
        "machine": facts,
        "versions": versions("mulligan"),
        "measures": [each.figures(who) for each in (searched, *opened) for who in each.seconds],
        "recall": {
            "questions": len(found),
            "at_10": round(recall, 3),
            "silent_where_nothing_fits": round(silent, 3),
        },
        "index_read_s": round(read, 2),
        "aims": [
            Aim("search, 95th percentile, ms", "mulligan", worst, 20.0).figures(),
            Aim(
                "questions of the labelled set that are missed, %", "mulligan", 100 * (1 - recall), 10.0
            ).figures(),
            *(
                Aim("opening beside one without a library, times", who, each.ratio(who), 1.1).figures()
                for each in opened
                for who in each.seconds
                if who != each.peer
            ),
        ],
        "left_out": {},
    }


def plant(folder: Path, count: int) -> None:
    """A shelf as it would come from a clone, trusted by this user."""
    folder.mkdir(parents=True)
    key = user_key()
    for made in routines(count):
        routine = make_routine(Contract(name=made.name), made.text, key).changed(state="trusted")
        (folder / f"{made.name}.py").write_text(routine.content)


def _asked(library: Library, count: int) -> tuple[list[float], list[bool], float]:
    """Seconds and whether the answer was among ten, of each question; and of those about nothing, how many had none."""
    took, found = [], []
    for question in questions(min(ASKED, count), count):
        started = time.perf_counter()
        names = [each.name for each in library.search(question.text, 10)]
        took.append(time.perf_counter() - started)
        found.append(question.answer in names)
    silent = sum(not library.search(text, 10) for text in FOREIGN) / len(FOREIGN)
    return took, found, silent


def _opened(home: Path, isolation: str, quick: bool) -> list[Comparison]:
    turns: dict[str, Turn] = {
        "without a library": lambda n: _open(home, isolation, None),
        "10 routines": lambda n: _open(home, isolation, home / "small"),
        "the whole library": lambda n: _open(home, isolation, home / "shelf"),
    }
    return alternate(
        f"open, {isolation}", turns, 1 if quick else 10, warmups=0 if quick else 2, peer="without a library"
    )


def _open(home: Path, isolation: str, library: Path | None) -> dict[str, float]:
    took = 0.0

    def open_one() -> None:
        nonlocal took
        started = time.perf_counter()
        with mulligan.open(isolation=isolation, state=home / "state", library=library) as session:
            took = time.perf_counter() - started
            if library is not None:
                assert session.run("from actions import load_invoice_csv").outcome.ok

    seconds(open_one)
    return {f"open, {isolation}": took}
