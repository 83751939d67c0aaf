"""The record of effects under whoever wants one of them to go unseen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mulligan.runtime.effects import KEPT, Effects
from mulligan.runtime.ledger import Ledger
from mulligan.sandbox.egress.judgement import Asked, Judgement

ALLOWED = Judgement(allowed=True, rule="all", reason="a rule allows it")
DENIED = Judgement(allowed=False, rule="none", reason="no rule allows it")


@pytest.fixture
def effects(tmp_path: Path) -> Iterator[Effects]:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        yield Effects(ledger)


def _asked(method: str, path: str = "/") -> Asked:
    return Asked(method, "http", "site.test", 80, path)


def test_what_stands_is_kept_however_much_was_read_or_denied_before(effects: Effects) -> None:
    effects.begin(1)
    for _ in range(KEPT + 10):
        effects.leaving(_asked("GET"), ALLOWED)
        effects.denied(_asked("POST"), DENIED)
    effects.leaving(_asked("POST", "/hidden"), ALLOWED)
    said = "POST http://site.test/hidden was sent"
    assert [str(each) for each in effects.of(1) if each.stands] == [said]
    assert effects.since(0) == (said,)


def test_what_is_beyond_what_is_kept_is_counted_for_every_state_that_does_not_know_of_it(
    effects: Effects,
) -> None:
    effects.begin(1)
    effects.mark(1)
    effects.begin(2)
    for _ in range(KEPT + 10):
        effects.leaving(_asked("POST"), ALLOWED)
    effects.mark(2)
    effects.begin(3)
    effects.mark(3, like=1)  # an action that was taken back: its state is the one after the first
    lines = effects.since(3)
    assert lines == effects.since(1) != effects.since(2)
    assert (
        len(lines) == 101 and lines[-1] == f"{KEPT + 10 - 100:,} more requests were sent: the ledger has them"
    )
