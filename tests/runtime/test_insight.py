"""What the kernel says of code that is being written. None of it is a step, and none of it can hang or hurt."""

from __future__ import annotations

import asyncio

import pytest

import mulligan
from mulligan import Session
from mulligan.sandbox.kernel import WorkerLost


def test_completions_signatures_and_wholeness_are_the_kernels(session: Session) -> None:
    session.run("class Boat:\n    def sail(self, knots: int = 5):\n        'over the sea'\nboat = Boat()")
    found = session.complete("x = boat.sa + 1", 11, timeout=60)
    assert (found.start, [match.text for match in found.matches]) == (9, ["sail"])
    assert "knots: int" in found.matches[0].signature
    assert "boat.sail(knots: int = 5)" in session.inspect("boat.sail(")
    assert "'over the sea'" in session.inspect("boat.sail", detail=1)
    assert session.inspect("nothing_of_that_name") == ""
    assert session.is_complete("for x in y:").says == "incomplete"
    assert session.is_complete("for x in y:").indent == "    "
    assert session.is_complete("1 + 1").says == "complete"
    assert session.is_complete("1 +* 1").says == "invalid"
    assert len(session.timeline.nodes) - 1 == session.timeline.cursor


def test_variables_are_told_without_their_reprs_and_names_of_ours(session: Session) -> None:
    session.run(
        "class Loud:\n    def __repr__(self): raise SystemExit\nloud = Loud(); words = ['a'] * 3; import os"
    )
    found = {each.name: (each.type, each.size) for each in session.variables() or ()}
    assert found == {"Loud": ("type", ""), "loud": ("Loud", ""), "words": ("list", "3")}
    session.run("json = exec = print = None; words")
    names = {each.name for each in session.variables() or ()}
    assert names == {"Loud", "loud", "words", "json", "exec", "print"}


def test_what_hangs_when_it_is_looked_at_is_interrupted(session: Session) -> None:
    code = "class Tar:\n    def __sizeof__(self):\n        while True: pass\n"
    session.run(code + "    def __dir__(self):\n        while True: pass\nkept = 5; pit = Tar()")
    assert session.variables(timeout=0.3) is None
    assert session.complete("pit.", timeout=0.3).matches == ()
    assert session.run("kept").outcome.text == "5"


def test_an_object_that_kills_the_kernel_when_it_is_looked_at_costs_nothing(session: Session) -> None:
    session.run("import os\nclass Bomb:\n    def __sizeof__(self): os._exit(3)\nkept = 5; bomb = Bomb()")
    with pytest.raises(WorkerLost):
        session.variables()
    assert session.run("kept").outcome.text == "5"


def test_what_cannot_be_typed_is_never_offered(session: Session) -> None:
    session.run(
        "class Odd:\n    def __dir__(self): return ['good', 'bad\\n:commit', 'worse\\x1b[2J', 'x' * 1000]\nodd = Odd()"
    )
    matches = [match.text for match in session.complete("odd.", timeout=60).matches]
    assert "good" in matches
    assert all(text.isprintable() and len(text) < 400 for text in matches)


def test_what_is_printed_meanwhile_is_not_the_next_steps(session: Session) -> None:
    session.run("class Loud:\n    def __dir__(self): print('psst'); return []\nloud = Loud()")
    session.complete("loud.", timeout=60)
    assert session.run("1").outcome.stdout == ""


def test_an_event_loop_asks_alike(any_isolation: str) -> None:
    async def ask() -> None:
        async with await mulligan.aopen(isolation=any_isolation) as session:
            await session.run("treasure = 1")
            assert [match.text for match in (await session.complete("treas", timeout=60)).matches] == [
                "treasure"
            ]
            assert (await session.is_complete("if x:")).says == "incomplete"
            assert "int" in await session.inspect("treasure")
            assert [each.name for each in await session.variables() or ()] == ["treasure"]

    asyncio.run(ask())
