"""The record of effects under whoever wants one of them to go unseen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mulligan.runtime.effects import KEPT, RECORDED, Effects
from mulligan.runtime.ledger import Ledger
from mulligan.runtime.log import spell_entry
from mulligan.sandbox.egress.judgement import Asked, Judgement

ALLOWED = Judgement(allowed=True, rule="all", reason="a rule allows it")
DENIED = Judgement(allowed=False, rule="none", reason="no rule allows it")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        yield ledger


@pytest.fixture
def effects(ledger: Ledger) -> Effects:
    return Effects(ledger)


def _asked(method: str, path: str = "/", host: str = "site.test", query: str = "") -> Asked:
    return Asked(method, "http", host, 80, path, query)


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
        len(lines) == 101
        and lines[-1] == f"{KEPT + 10 - 100:,} more requests or calls were made: the ledger has them"
    )


def test_a_flood_of_denials_is_counted_and_of_few_of_them_there_is_an_entry(
    effects: Effects, ledger: Ledger
) -> None:
    effects.begin(1)
    for _ in range(RECORDED + 1000):
        effects.denied(_asked("GET"), DENIED)
    effects.mark(1)
    effects.denied(_asked("GET"), DENIED)  # by what runs on after the action
    effects.begin(2)
    effects.denied(_asked("GET"), DENIED)
    effects.mark(2)
    told = [each.body["denied"] for each in ledger.entries(kind="effects_unrecorded", step=1)]
    assert told == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 1001]
    assert len(list(ledger.entries(kind="effect_denied", step=1))) == RECORDED
    assert [each.step for each in ledger.entries(kind="effect_denied")][-1] == 2
    assert (effects.unrecorded(1), effects.unrecorded(2)) == (1001, 0)
    (line, *_) = spell_entry(list(ledger.entries(kind="effects_unrecorded"))[-1])
    assert line.endswith("1,001 more requests were denied: they are counted and not recorded")


def test_of_a_query_no_value_is_recorded_with_or_without_a_name(effects: Effects, ledger: Ledger) -> None:
    for query in ("TOKEN", "a=TOKEN&b=x=TOKEN", "TOKEN==", "a=x&TOKEN&&b=TOKEN", "=TOKEN"):
        effects.leaving(_asked("GET", query=query), ALLOWED)
    recorded = [each.body["query"] for each in ledger.entries(kind="effect")]
    assert recorded == ["*", "a&b", "*", "a&*&b", ""]


def test_a_name_that_is_looked_up_is_an_effect_once_a_step_and_undo_has_nothing_to_take_back(
    effects: Effects, ledger: Ledger
) -> None:
    for step in (1, 2):
        effects.begin(step)
        for _ in range(3):
            effects.looking_up(_asked("POST", host="secret.site.test"), ALLOWED)
    said = "a look-up of the name secret.site.test was sent"
    assert [str(each) for step in (1, 2) for each in effects.of(step)] == [said, said]
    assert [each.step for each in ledger.entries(kind="effect_lookup")] == [1, 2]
    assert effects.since(0) == ()
