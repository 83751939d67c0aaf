"""Calls that are taken back by their tools' own inverses, and what a replay makes of calls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

import mulligan
from mulligan import Session
from mulligan.runtime.past import open_ledger

SENT: dict[int, str] = {}
DONE: list[str] = []
BUSY = threading.Event()


def cancel(result: int, customer: str) -> None:
    DONE.append(f"cancel {result} of {customer}")
    del SENT[result]


@mulligan.tool(undo=cancel)
def send(customer: str, tags: list[str] | None = None) -> int:
    number = len(DONE) + 1
    DONE.append(f"send {number}")
    if tags is not None:
        tags.append("changed by the tool")
    SENT[number] = customer
    return number


async def unbook(**given: object) -> None:
    await asyncio.sleep(0)
    DONE.append(f"unbook {given}")


@mulligan.tool(undo=unbook)
async def book(room: int, guests: list[str], nights: int = 1) -> str:
    DONE.append(f"book {room}")
    guests.clear()
    return f"booked {room}"


def fails(result: str) -> None:
    DONE.append("fails")
    raise LookupError("it is gone: /etc/passwd")


@mulligan.tool(undo=fails)
def hopeless() -> str:
    return "done"


@mulligan.tool(undo=lambda: BUSY.wait(60), timeout=0.2)
def slow_to_undo() -> None: ...


@mulligan.tool(effect="irreversible")
def post(text: str) -> int:
    DONE.append(f"post {text}")
    return len(DONE)


@mulligan.tool(effect="read")
def draw() -> int:
    DONE.append("draw")
    return len(DONE) * 1000


TOOLS = [send, book, hopeless, slow_to_undo, post, draw]


@pytest.fixture(scope="module")
def isolation(any_isolation: str) -> str:
    return any_isolation


@pytest.fixture(autouse=True)
def _begin(session: Session) -> Iterator[None]:
    session.run("from tools import *")
    SENT.clear()
    DONE.clear()
    BUSY.clear()
    yield
    BUSY.set()


def test_undo_calls_the_inverses_with_arguments_and_result_the_newest_first(session: Session) -> None:
    step = session.run("a = send('ACME'); b = send('Nails', []); await book(7, ['me'])")
    assert SENT == {1: "ACME", 2: "Nails"}
    assert [each.reversibility for each in step.effects] == ["compensable"] * 3
    back = session.undo()
    assert SENT == {}
    assert DONE[3:] == [
        "unbook {'room': 7, 'guests': ['me'], 'nights': 1, 'result': 'booked 7'}",
        "cancel 2 of Nails",
        "cancel 1 of ACME",
    ]
    assert back.stands == () and back.taken_back == (
        "book(room=7, guests=['me'])",
        "send(customer='Nails', tags=[])",
        "send(customer='ACME')",
    )


def test_files_are_put_back_after_the_inverses_were_called(session: Session) -> None:
    seen: list[str] = []

    def undo() -> None:
        seen.append((session.workspace / "note.txt").read_text())

    @mulligan.tool(undo=undo)
    def note() -> None: ...

    with mulligan.open(isolation=session.report.engine, tools=[note]) as other:
        session = other
        session.run("open('note.txt', 'w').write('before')")
        session.run("from tools import note; note(); open('note.txt', 'w').write('after')")
        session.undo()
        assert seen == ["after"] and (session.workspace / "note.txt").read_text() == "before"


def test_redo_makes_no_call_again_and_says_so(session: Session) -> None:
    step = session.run("number = send('ACME')")
    session.undo()
    done = list(DONE)
    forth = session.redo()
    assert done == DONE and SENT == {}
    assert forth.stands == ("send(customer='ACME') was called, and was taken back, and is not made again",)
    assert session.reach(step.id).stands == forth.stands and not session.reach(step.id).exact
    assert session.run("print(number)").outcome.output.stdout == "1\n"
    assert session.undo(2).taken_back == ()  # nor is it taken back twice


def test_an_inverse_that_fails_or_does_not_end_is_listed_and_what_it_was_for_stands(session: Session) -> None:
    session.run("hopeless(); slow_to_undo(); send('ACME')")
    back = session.undo()
    assert back.taken_back == ("send(customer='ACME')",) and SENT == {}
    assert back.stands == (
        "slow_to_undo() was to be taken back, and that failed: it did not end within 0.2 s, and may go on",
        "hopeless() was to be taken back, and that failed: LookupError: it is gone: (a path of the host)",
        "hopeless() was called",
        "slow_to_undo() was called",
    )
    assert session.goto(0).taken_back == () and DONE.count("fails") == 1  # it is not tried again


def test_a_step_that_is_taken_back_by_the_session_takes_its_calls_back(session: Session) -> None:
    step = session.run("import os; send('ACME'); os._exit(3)")
    assert step.outcome.kind == "lost" and SENT == {} and DONE[-1] == "cancel 1 of ACME"


def test_a_branch_that_is_left_is_taken_back_and_the_other_is_not(session: Session) -> None:
    first = session.run("x = send('one')")
    session.undo()
    session.run("y = send('two')")
    back = session.goto(first.id)
    assert back.taken_back == ("send(customer='two')",)
    assert [line.partition(" was")[0] for line in back.stands] == ["send(customer='one')"]


def test_what_cannot_be_undone_stands_and_what_reads_does_not(session: Session) -> None:
    session.run("post('hello'); draw()")
    assert session.undo().stands == ("post(text='hello') was called",)


def test_an_action_that_is_run_again_is_answered_from_the_record(session: Session) -> None:
    """A kernel that died wakes its twin; one whose twin is gone runs the actions again."""
    session.run(
        "drawn = [draw() for _ in range(3)]; posted = post('hello')\ntry: post(1)\nexcept TypeError: pass"
    )
    session.run("large = len(str(draw()))")
    done = list(DONE)
    session._story.confined.sandbox.stop()  # as if the machine had
    outcome = session.run("print(drawn, posted, large)").outcome
    assert done == DONE
    assert outcome.output.stdout == f"{[1000, 2000, 3000]} 4 4\n"


def test_a_call_whose_answer_is_not_on_record_is_not_made_again_and_that_is_said(any_isolation: str) -> None:
    calls: list[int] = []

    def large(size: int) -> str:
        calls.append(size)
        return "x" * size

    with mulligan.open(isolation=any_isolation, tools=[large]) as session:
        session.run("from tools import large")
        session.run("try: text = large(100_000)\nexcept RuntimeError as error: text = str(error)")
        session.run("pass")
        session._story.confined.sandbox.stop()
        back = session.undo()
        assert calls == [100_000]
        said = (
            "1 call(s) of tools were not made again when actions were run again, and had no answer on record"
        )
        assert said in back.stands
        assert "is not recorded" in session.run("print(text)").outcome.output.stdout


def test_inverses_are_on_record_before_and_after(session: Session, opened: Session) -> None:
    step = session.run("send('ACME'); hopeless()")
    session.undo()
    with open_ledger(session.id, session.folders.root.parent.parent) as (_, ledger):
        told = [
            (each.kind, each.body["number"] - step.effects[0].number)
            for each in ledger.entries(step=step.id)
            if each.kind.startswith("tool_un")
        ]
    assert told == [("tool_undoing", 1), ("tool_undone", 1), ("tool_undoing", 0), ("tool_undone", 0)]
