"""What a call leaves on record, what a policy makes of it, and what undo says of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

import mulligan
from mulligan import Session
from mulligan.policies.loading import parse_policy
from mulligan.runtime.past import open_ledger

CALLED: list[str] = []


@mulligan.tool(effect="read")
def find(name: str) -> str:
    return name


def send(to: str, amount: Decimal = Decimal("1.50"), when: date | None = None) -> str:
    CALLED.append(to)
    if to == "nobody":
        raise LookupError("who is that?")
    return f"sent to {to}"


POLICY = """
tools:
  - allow: [find, send(to=*@a.org)]
  - deny: send(amount=9*)
    because: that is too much
    instead: send less
"""


@pytest.fixture(scope="module")
def opened(any_isolation: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Session, Path]]:
    state = tmp_path_factory.mktemp("state")
    with mulligan.open(isolation=any_isolation, state=state, tools=[find, send]) as session:
        yield session, state


def test_a_call_is_in_the_ledger_before_it_is_made_and_stands(opened: tuple[Session, Path]) -> None:
    session, state = opened
    step = session.run(
        "from tools import *; find('x'); send('b', amount=2)\ntry: send('nobody')\nexcept LookupError: pass"
    )
    said = [
        "send(to='b', amount=Decimal('2')) was called; what it did is not known and stands",
        "send(to='nobody') was called and raised LookupError: who is that?; what it did is not known and stands",
    ]
    assert [str(each) for each in step.effects] == ["find(name='x') was called", *said]
    assert list(step.reach.sent) == said and not step.reach.exact
    assert list(session.undo().stands) == said
    assert session.redo().stands == ()
    with open_ledger(session.id, state) as (_, ledger):
        entries = [
            each for each in ledger.entries() if each.step == step.id and each.kind.startswith("tool_")
        ]
    assert [each.kind for each in entries] == ["tool_called", "tool_ended"] * 3
    assert entries[2].body["arguments"] == {"to": "b", "amount": {"$": "decimal", "v": "2"}}
    assert entries[5].body["ended"] == "raised"


def test_a_policy_decides_which_calls_are_made(any_isolation: str, tmp_path: Path) -> None:
    CALLED.clear()
    source = """
from tools import *
for call in (lambda: find("x"), lambda: send("c@a.org"), lambda: send("c@b.org"), lambda: send("c@a.org", 99)):
    try:
        print(call())
    except PermissionError as error:
        print(error)
"""
    policy = parse_policy(POLICY, origin="rules.yaml")
    with mulligan.open(isolation=any_isolation, state=tmp_path, policy=policy, tools=[find, send]) as session:
        step = session.run(source)
        assert session.ungranted == ()
    why = "the tool send: that is too much; instead: send less"
    denied = f"send was denied by rule deny send(amount=9*) (rules.yaml:4): {why}"
    lines = step.outcome.output.stdout.splitlines()
    assert lines[:2] == ["x", "sent to c@a.org"] and lines[3] == denied
    assert lines[2].startswith(
        "send was denied by rule tools: the tool send: no rule allows it; instead: what is allowed"
    )
    assert CALLED == ["c@a.org"]
    assert [note.partition(":")[0] for note in step.outcome.notes] == ["tools", "tools"]
    assert [str(each) for each in step.effects if each.denied] == list(step.outcome.notes)


def test_a_preset_that_says_nothing_of_tools_lets_none_be_called(any_isolation: str, tmp_path: Path) -> None:
    with mulligan.open(isolation=any_isolation, state=tmp_path, policy="locked", tools=[find]) as session:
        outcome = session.run("from tools import find; find('x')").outcome
    assert outcome.error is not None and outcome.error.name == "PermissionError"
    assert "the policy allows nothing under tools" in outcome.error.value
