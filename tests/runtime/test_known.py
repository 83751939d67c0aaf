"""Which checkpoints have a twin is known without a look at all of them."""

from __future__ import annotations

import random

from mulligan.runtime.checkpoint import Checkpoint
from mulligan.runtime.known import NEWEST, Known
from mulligan.sandbox.confined import ROOT


def checkpoint(step: int, twin: str | None) -> Checkpoint:
    return Checkpoint(step=step, snapshot=1, twin=twin)


def with_twins(known: Known) -> list[int]:
    """As a look at all of them finds it."""
    return [step for step, each in known.items() if each.twin not in (None, ROOT)]


def test_twins_stay_few_however_many_steps_there_are_and_the_newest_stay() -> None:
    known = Known()
    known[0] = checkpoint(0, ROOT)
    for step in range(1, 3001):
        known[step] = checkpoint(step, f"t{step}")
        going, names = known.thin(step)
        assert names == [f"t{each}" for each in going]
        assert len(with_twins(known)) <= NEWEST + step.bit_length() + 2
    assert with_twins(known)[-NEWEST:] == list(range(3001 - NEWEST, 3001))
    assert len(known) == 3001 and known[0].twin == ROOT


def test_a_twin_goes_only_when_no_step_needs_it() -> None:
    known = Known()
    known[1] = checkpoint(1, "shared")
    for step in range(2, 10):
        known[step] = checkpoint(step, "shared")  # refused: all is as it was
    for step in range(10, 10 + NEWEST):
        known[step] = checkpoint(step, f"t{step}")
    going, names = known.thin(9)
    assert going and "shared" not in names and known[9].twin == "shared"


def test_what_is_buried_changed_or_removed_has_no_twin() -> None:
    known, chance = Known(), random.Random(1)
    known[0] = checkpoint(0, ROOT)
    for step in range(1, 200):
        known[step] = checkpoint(step, chance.choice((None, ROOT, f"t{step}", "shared")))
    known.bury(["shared", "t7", "never there"])
    del known[20]
    known[30] = checkpoint(30, None)
    assert not {"shared", "t7"} & {each.twin for each in known.values()}
    assert sorted(known._twins) == with_twins(known)
    known.bury([ROOT])
    assert ROOT not in {each.twin for each in known.values()}
