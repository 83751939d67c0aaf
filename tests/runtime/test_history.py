"""A session's past within `resources.history`: the oldest goes first, it is said, and undo does not lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import mulligan
from mulligan import Session
from mulligan.policies.policy import Policy, Resources
from mulligan.runtime.errors import StepLetGo
from mulligan.runtime.ledger import Ledger
from mulligan.runtime.past import open_past
from mulligan.runtime.step import Step

MIB = 1 << 20
BIG = """
n = {n}
open('big', 'wb').write(bytes([n]) * {size} + __import__('os').urandom({size}))
open('small', 'w').write(str(n))
"""


@pytest.fixture
def tight(isolation: str, tmp_path: Path) -> Iterator[Session]:
    policy = Policy(resources=Resources(history=13 * MIB))
    with mulligan.open(isolation=isolation, state=tmp_path, policy=policy, keep=True) as session:
        yield session


def work(session: Session, n: int, size: int = 3 * MIB // 2) -> Step:
    step = session.run(BIG.format(n=n, size=size))
    assert step.outcome.ok
    step.settled.result()
    return step


def pause(session: Session) -> None:
    """What a session does whenever nothing is asked of it for a while."""
    session._thread.submit(session._story.look).result()


def let_go(session: Session) -> list[int]:
    return [node.id for node in session.timeline.nodes.values() if node.let_go]


def content(session: Session) -> tuple[int, str]:
    return (session.workspace / "big").read_bytes()[0], (session.workspace / "small").read_text()


def test_the_oldest_steps_are_let_go_and_that_is_said(tight: Session) -> None:
    steps = [work(tight, n) for n in range(1, 6)]
    pause(tight)
    assert let_go(tight) == [1, 2]
    assert [step.reach.files for step in steps] == ["none", "none", "exact", "exact", "exact"]
    assert steps[0].reach.stands == ("its files were let go to stay within resources.history",)
    assert not steps[0].reach.exact and steps[4].reach.exact
    told = [line for line in str(tight.timeline).splitlines() if "(files let go)" in line]
    assert len(told) == 2
    with Ledger.attach(tight.folders.ledger) as ledger:
        entries = [(entry.step, entry.body["why"]) for entry in ledger.entries(kind="let_go")]
    assert entries == [(1, "resources.history"), (2, "resources.history")]
    assert tight._do(tight._store.verify).result() == ()


def test_a_way_back_to_what_was_let_go_is_refused_and_what_is_left_is_named(tight: Session) -> None:
    for n in range(1, 6):
        work(tight, n)
    pause(tight)
    for go in (
        lambda: tight.goto(2),
        lambda: tight.undo(3),
        lambda: tight.undo(to=2),
        lambda: tight.diff(2, 5),
    ):
        with pytest.raises(
            StepLetGo, match=r"step 2 were let go to stay within resources\.history"
        ) as caught:
            go()
        assert "undo(to=0)" in caught.value.hint and "goto(3)" in caught.value.hint
        assert tight.timeline.cursor == 5
        assert content(tight) == (5, "5")
    assert tight.run("print(n)").outcome.output.stdout == "5\n"


def test_undo_past_it_is_exact(tight: Session) -> None:
    for n in range(1, 6):
        work(tight, n)
    pause(tight)
    assert tight.undo(2).complete
    assert content(tight) == (3, "3")
    assert tight.run("print(n)").outcome.output.stdout == "3\n"
    back = tight.undo(to=0)
    assert back.complete and list(tight.workspace.iterdir()) == []
    assert not tight.run("n").outcome.ok
    assert tight.goto(4).complete and content(tight) == (4, "4")


def test_where_the_session_is_stays_however_old_it_is(tight: Session) -> None:
    for n in range(1, 4):
        work(tight, n)
    tight.goto(1)
    for n in range(4, 8):
        work(tight, n)
        tight.goto(1)
    pause(tight)
    assert 1 not in let_go(tight) and len(let_go(tight)) >= 3
    assert content(tight) == (1, "1")
    for node in list(tight.timeline.nodes.values()):
        if node.id and not node.let_go:
            assert tight.goto(node.id).complete
            assert content(tight) == (node.id, str(node.id))


def test_a_session_that_never_pauses_is_bounded_too(tight: Session) -> None:
    for n in range(1, 12):
        work(tight, n)
    assert let_go(tight)[:4] == [1, 2, 3, 4]
    assert tight._store.taken < 20 * MIB


def test_what_no_step_has_does_not_stay(tight: Session) -> None:
    work(tight, 1)
    before = tight._store.taken
    lost = tight.run("open('big', 'wb').write(b'x' * (6 << 20))\nimport os; os.kill(os.getpid(), 9)")
    assert lost.outcome.kind == "lost"
    pause(tight)
    assert tight._store.taken < before + MIB
    assert let_go(tight) == []
    assert content(tight) == (1, "1")
    assert tight._do(tight._store.verify).result() == ()


def test_who_looks_from_outside_is_told_too_and_keeps_it_from_going(tight: Session, tmp_path: Path) -> None:
    for n in range(1, 5):
        work(tight, n)
    with open_past(tight.id, tmp_path) as past:
        work(tight, 5)
        pause(tight)
        assert let_go(tight) == []
        assert len(past.diff(1, 2)) == 2
    pause(tight)
    assert let_go(tight) == [1, 2]
    with open_past(tight.id, tmp_path) as past:
        with pytest.raises(StepLetGo, match="step 2"):
            past.diff(2, 5)
        assert [change.path for change in past.diff(3, 5)] == ["big", "small"]
        assert past.verify() == ()


def test_a_step_that_changed_nothing_goes_with_the_files_that_it_shares(tight: Session) -> None:
    work(tight, 1)
    quiet = tight.run("print(n)")
    for n in range(3, 8):
        work(tight, n)
    pause(tight)
    assert let_go(tight)[:2] == [1, 2]
    assert quiet.reach.files == "none"
    with pytest.raises(StepLetGo, match="step 2"):
        tight.goto(2)


def test_what_is_run_again_on_other_files_than_the_first_time_says_so(tight: Session) -> None:
    """A restart forgets what was before it, but not the files: where those are let go, a replay has them no more."""
    work(tight, 1)
    restarted = tight.restart()
    assert tight.run("n = open('small').read() if __import__('os').path.exists('small') else 0").outcome.ok
    for n in range(2, 6):
        work(tight, n)
    pause(tight)
    assert restarted in let_go(tight)
    twins = [each.twin for each in tight._story._checkpoints._known.values() if each.twin]
    tight._do(lambda: tight._confined.kernel.discard(twins)).result()
    back = tight.undo()
    assert back.memory == "replayed"
    assert any(f"the restart at step {restarted} began with were let go" in line for line in back.stands)
