"""How actions end, and that the session goes on with its variables and its files however they end."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import mulligan
from mulligan import Policy, Session, Step, TimedOut
from mulligan.policies.policy import Resources
from mulligan.sandbox.messages import Event, Stream


@pytest.fixture
def session(opened: Session) -> Session:
    opened.reset()
    step = opened.run("import os, sys, threading; kept = ['kept']; _ = open('kept.txt', 'w').write('kept')")
    assert step.outcome.kind == "completed", step.outcome.text
    return opened


def assert_all_is_as_it_was(session: Session) -> None:
    after = session.run("kept, sorted(os.listdir('.')), open('kept.txt').read()", timeout=30)
    assert after.outcome.result is not None, after.outcome.text
    assert after.outcome.result.data["text/plain"] == "(['kept'], ['kept.txt'], 'kept')"


WRECK = "kept.append('wreck'); _ = open('wreck.txt', 'w').write('x'); print('said before', flush=True)\n"


def test_an_action_that_ends_well_has_completed_with_its_result(session: Session) -> None:
    outcome = session.run("print('out'); print('err', file=sys.stderr); 6 * 7").outcome
    assert (outcome.kind, outcome.ok, outcome.stdout, outcome.stderr) == ("completed", True, "out\n", "err\n")
    assert outcome.result is not None and outcome.result.data["text/plain"] == "42"
    assert outcome.text == "out\nerr\n42"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("def :", "SyntaxError"),
        ("undefined_name", "NameError"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import sys; sys.setrecursionlimit(300)\ndef f(): f()\nf()", "RecursionError"),
        ("class E(BaseException): pass\nraise E('own')", "E"),
        ("raise type('E', (Exception,), {'__str__': lambda self: 1 / 0})()", "ZeroDivisionError"),
        ("import asyncio\nraise asyncio.CancelledError", "CancelledError"),
    ],
)
def test_an_exception_is_an_outcome_with_its_name(session: Session, source: str, name: str) -> None:
    outcome = session.run(source, timeout=30).outcome
    assert outcome.kind == "raised", outcome
    assert outcome.error is not None and outcome.error.name == name
    assert_all_is_as_it_was(session)


@pytest.mark.parametrize("source", ["exit()", "quit()", "raise SystemExit(3)", "sys.exit('bye')"])
def test_leaving_python_does_not_end_the_session(session: Session, source: str) -> None:
    outcome = session.run(source, timeout=30).outcome
    assert outcome.kind in ("completed", "raised")
    assert_all_is_as_it_was(session)


def test_an_action_that_obeys_the_interrupt_keeps_its_output_and_what_it_did(session: Session) -> None:
    outcome = session.run("kept.append('more'); print('said before')\nwhile True: pass", timeout=0.5).outcome
    assert isinstance(outcome, TimedOut)
    assert (outcome.after, outcome.restored, outcome.stdout) == (0.5, False, "said before\n")
    assert "Timed out after 0.5 s" in outcome.text
    assert session.run("print(kept)").outcome.stdout == "['kept', 'more']\n"


@pytest.mark.parametrize(
    "source",
    [
        WRECK
        + "import time\nwhile True:\n    try:\n        time.sleep(100)\n    except KeyboardInterrupt: print('no')",
        WRECK + "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
        WRECK + "import itertools; sum(itertools.repeat(1))",
    ],
    ids=["swallows it", "ignores it", "holds the interpreter in C"],
)
def test_an_action_that_does_not_obey_is_killed_and_all_is_as_before(session: Session, source: str) -> None:
    outcome = session.run(source, timeout=0.5).outcome
    assert isinstance(outcome, TimedOut) and outcome.restored, outcome
    assert outcome.stdout.startswith("said before\n")
    assert "as they were before" in outcome.text
    assert_all_is_as_it_was(session)


@pytest.mark.parametrize(
    ("ending", "cause"),
    [
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("os._exit(0)", "code 0"),
        ("os._exit(7)", "code 7"),
        ("os.abort()", "SIGABRT"),
        ("os.kill(os.getpid(), 9)", "SIGKILL"),
        ("threading.Thread(target=lambda: os._exit(5)).start(); threading.Event().wait()", "code 5"),
        ("os.execv('/bin/true', ['true'])", "code 0"),
    ],
)
def test_a_kernel_that_dies_is_a_lost_step_and_all_is_as_before(
    session: Session, ending: str, cause: str
) -> None:
    outcome = session.run(WRECK + ending, timeout=30).outcome
    assert outcome.kind == "lost", outcome
    assert cause in outcome.text
    assert outcome.stdout == "said before\n"
    assert_all_is_as_it_was(session)


def test_a_lost_step_has_neither_changes_nor_the_cursor(session: Session) -> None:
    before = session.timeline.cursor
    step = session.run(WRECK + "os.abort()")
    assert (step.changes, session.timeline.cursor) == ((), before)
    assert session.timeline.node(step.id).kind == "lost"


def test_the_cursor_is_right_as_soon_as_a_killed_step_is_there(session: Session) -> None:
    before = session.timeline.cursor
    step = session.run("import itertools; sum(itertools.repeat(1))", timeout=0.3)
    assert isinstance(step.outcome, TimedOut) and step.outcome.restored
    assert session.timeline.cursor == before


@pytest.mark.alone
def test_running_out_of_memory_is_survived(isolation: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    policy = Policy(resources=Resources(memory=600 << 20))
    with mulligan.open(isolation=isolation, state=tmp_path_factory.mktemp("state"), policy=policy) as session:
        session.run("kept = ['kept']")
        step = session.run("big = [bytearray(b'x') * (50 << 20) for _ in range(60)]", timeout=60)
        assert step.outcome.kind in ("raised", "lost"), step.outcome
        if step.outcome.kind == "raised":
            assert step.outcome.error is not None and step.outcome.error.name == "MemoryError"
        assert session.run("print(kept, 'big' in globals())", timeout=30).outcome.stdout == "['kept'] False\n"
        assert session.run("import hashlib; len(bytearray(50 << 20))", timeout=30).outcome.kind == "completed"


@pytest.mark.alone
def test_a_fork_bomb_is_bounded_and_leaves_nothing_behind(isolation: str, tmp_path: Path) -> None:
    policy = Policy(resources=Resources(pids=64))
    with mulligan.open(isolation=isolation, state=tmp_path, policy=policy) as session:
        session.run("import os; kept = ['kept']")
        step = session.run("while True:\n    try: os.fork()\n    except OSError: pass", timeout=1)
        assert step.outcome.kind in ("timed_out", "lost"), step.outcome
        if isinstance(step.outcome, TimedOut) and not step.outcome.restored:
            session.undo()
        after = session.run("print(kept)", timeout=30).outcome
        assert after.stdout == "['kept']\n", after
        assert session._do(session._story.confined.kernel.usage).result().processes == 1


def test_a_child_that_returns_from_a_fork_only_prints(session: Session) -> None:
    step = session.run(
        "child = os.fork()\nif child: os.waitpid(child, 0)\nprint('here')\n'a result'", timeout=30
    )
    assert (step.outcome.kind, step.outcome.stdout) == ("completed", "here\nhere\n")
    assert session.run("print(child != 0)").outcome.stdout == "True\n"
    assert session._do(session._story.confined.kernel.usage).result().processes == 1


def test_text_that_python_cannot_hold_is_refused_and_nothing_runs(session: Session) -> None:
    step = session.run("kept.append('wreck')\0")
    assert (step.outcome.kind, step.changes) == ("refused", ())
    assert "NUL" in step.outcome.text
    assert_all_is_as_it_was(session)


def test_an_interrupt_from_another_thread_ends_the_action(session: Session) -> None:
    begun = threading.Event()

    def hear(event: Event) -> None:
        if isinstance(event, Stream) and "begun" in event.text:
            begun.set()

    def interrupt() -> None:
        assert begun.wait(30)
        session.interrupt()

    other = threading.Thread(target=interrupt)
    other.start()
    step = session.run("print('begun')\nwhile True: pass", timeout=60, on_event=hear)
    other.join()
    assert step.outcome.kind == "raised"
    assert step.outcome.error is not None and step.outcome.error.name == "KeyboardInterrupt"
    assert_all_is_as_it_was(session)


def test_an_interrupt_when_nothing_runs_does_not_reach_the_next_action(session: Session) -> None:
    session.interrupt()
    assert_all_is_as_it_was(session)


def test_each_outcome_is_in_the_ledger_and_its_duration_is_that_of_the_code(session: Session) -> None:
    steps: list[Step] = [session.run("2"), session.run("1 / 0"), session.run("os.abort()")]
    nodes = [session.timeline.node(step.id) for step in steps]
    assert [node.kind for node in nodes] == ["completed", "raised", "lost"]
    assert [node.duration for node in nodes] == [step.duration for step in steps]
