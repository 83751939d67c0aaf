"""The timeline is a fold over ledger entries: a tree that only grows, and a cursor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulligan.runtime.errors import LedgerDamaged, NothingToRedo, NothingToUndo, StepUnknown
from mulligan.runtime.ledger import Entry, Ledger
from mulligan.runtime.timeline import Timeline, headline


class Story:
    """Entries as a session writes them."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.steps = 0
        self.add("opened", 0)

    def add(self, kind: str, step: int | None, **body: Any) -> None:
        self.entries.append(Entry(len(self.entries) + 1, 0, kind, step, body))

    @property
    def timeline(self) -> Timeline:
        return Timeline.read(self.entries)

    def propose(self, source: str = "x = 1") -> int:
        self.steps, parent = self.steps + 1, self.timeline.cursor
        self.add("proposed", self.steps, source=source, proposer="agent", why="", parent=parent)
        return self.steps

    def step(self, source: str = "x = 1", kind: str = "completed") -> int:
        step = self.propose(source)
        self.add("settled", step, outcome={"kind": kind, "duration": 0.012})
        self.add("checkpointed", step, snapshot=f"s{step}", twin=step, changes=None, reach="full")
        return step

    def move(self, to: int, by: str) -> None:
        self.add("moved", None, cursor=to, by=by)

    def undo(self, n: int = 1) -> None:
        self.move(self.timeline.undo_target(n), "undo")

    def redo(self) -> None:
        self.move(self.timeline.redo_target(), "redo")


def test_a_new_timeline_is_its_root() -> None:
    timeline = Story().timeline
    assert (timeline.cursor, timeline.path(0), timeline.children(0)) == (0, (0,), ())


def test_the_cursor_is_at_the_newest_step() -> None:
    story = Story()
    story.step("a = 1")
    story.step("b = 2")
    assert story.timeline.cursor == 2
    assert story.timeline.path(2) == (0, 1, 2)
    node = story.timeline.node(2)
    assert (node.source, node.kind, node.snapshot, node.checkpointed) == ("b = 2", "completed", "s2", True)


@pytest.mark.parametrize("kind", ["refused", "lost", "reverted"])
def test_a_step_that_left_nothing_does_not_move_the_cursor_or_forget_redo(kind: str) -> None:
    story = Story()
    story.step()
    story.step()
    story.undo()
    story.step(kind=kind)
    assert story.timeline.cursor == 1
    assert story.timeline.node(3).kind == kind
    assert story.timeline.redo_target() == 2


def test_undo_after_undo_goes_further_back_and_redo_comes_forward() -> None:
    story = Story()
    for _ in range(3):
        story.step()
    story.undo()
    story.undo()
    assert story.timeline.cursor == 1
    story.redo()
    assert story.timeline.cursor == 2
    story.redo()
    assert story.timeline.cursor == 3
    with pytest.raises(NothingToRedo):
        story.redo()


def test_several_steps_are_undone_and_redone_at_once() -> None:
    story = Story()
    for _ in range(4):
        story.step()
    story.undo(3)
    assert story.timeline.cursor == 1
    assert story.timeline.redo_target(2) == 3
    with pytest.raises(NothingToRedo, match="4 step"):
        story.timeline.redo_target(4)


def test_a_step_after_an_undo_starts_a_branch_and_forgets_redo() -> None:
    story = Story()
    story.step()
    story.step()
    story.undo()
    story.step()
    timeline = story.timeline
    assert [node.id for node in timeline.children(1)] == [2, 3]
    assert timeline.common_ancestor(2, 3) == 1
    assert timeline.distance(2, 3) == 2
    with pytest.raises(NothingToRedo):
        timeline.redo_target()


def test_going_to_an_ancestor_keeps_the_way_back_and_going_elsewhere_forgets_it() -> None:
    story = Story()
    for _ in range(3):
        story.step()
    story.move(1, "goto")
    assert story.timeline.redo_target() == 2
    story.step()
    story.move(3, "goto")
    with pytest.raises(NothingToRedo):
        story.timeline.redo_target()
    story.move(0, "reset")
    assert story.timeline.redo_target() == 1
    assert story.timeline.redo_target(3) == 3


def test_a_revert_cannot_be_redone() -> None:
    story = Story()
    story.step()
    story.step(kind="timed_out")
    story.move(1, "revert")
    assert story.timeline.cursor == 1
    with pytest.raises(NothingToRedo):
        story.timeline.redo_target()


@pytest.mark.parametrize("n", [3, 0, -1])
def test_undo_beyond_the_root_is_refused(n: int) -> None:
    story = Story()
    story.step()
    story.step()
    with pytest.raises(NothingToUndo, match="step 2"):
        story.timeline.undo_target(n)


def test_undo_at_the_root_says_that_it_is_the_beginning() -> None:
    with pytest.raises(NothingToUndo, match="beginning"):
        Story().timeline.undo_target()


def test_an_unknown_step_is_named_plainly_with_the_nearest() -> None:
    story = Story()
    for _ in range(12):
        story.step()
    with pytest.raises(StepUnknown) as caught:
        story.timeline.node(120)
    assert str(caught.value).startswith("no step 120\n")
    assert "nearest is 12;" in caught.value.hint
    with pytest.raises(KeyError):
        story.timeline.path(-5)


def test_a_step_that_runs_is_shown_as_running_and_one_that_never_settled_as_lost() -> None:
    story = Story()
    story.step()
    story.propose("os._exit(1)")
    assert story.timeline.node(2).kind == "running"
    story.add("opened", 0)
    assert story.timeline.node(2).kind == "lost"
    assert story.timeline.cursor == 1
    story.propose("again")
    story.propose("and again")
    assert story.timeline.node(3).kind == "lost"


def test_a_dropped_twin_is_marked() -> None:
    story = Story()
    story.step()
    story.add("discarded", 1)
    assert story.timeline.node(1).discarded


def test_reading_in_parts_is_reading_at_once() -> None:
    story = Story()
    for _ in range(4):
        story.step()
    story.undo(2)
    for cut in range(len(story.entries)):
        parts = Timeline.read(story.entries[:cut]).extended(story.entries[cut:])
        assert parts == story.timeline


def test_the_tree_is_drawn_with_its_branches_and_its_cursor() -> None:
    story = Story()
    story.step("df = load()")
    story.step("df.drop()", kind="raised")
    story.step("oops")
    story.undo(2)
    story.step("df.describe()\ndf.plot()")
    story.step("model.fit()")
    assert str(story.timeline).splitlines() == [
        "  0   opened  session opened",
        "  1   completed  12 ms  df = load()",
        "  ├─ 2   raised  12 ms  df.drop()",
        "  │  3   completed  12 ms  oops",
        "  4   completed  12 ms  df.describe() …",
        "→ 5   completed  12 ms  model.fit()",
    ]


def test_a_thousand_steps_are_drawn_without_being_indented() -> None:
    story = Story()
    entries = story.entries
    for step in range(1, 3001):
        entries.append(Entry(step, 0, "proposed", step, {"source": "pass", "parent": step - 1}))
        entries.append(Entry(step, 0, "settled", step, {"outcome": {"kind": "completed"}}))
    lines = str(story.timeline).splitlines()
    assert len(lines) == 3001
    assert lines[-1] == "→ 3000 completed  pass"


@given(st.text(alphabet=st.characters(), max_size=300))
def test_no_source_brings_a_control_character_to_the_terminal(source: str) -> None:
    shown = headline(source)
    assert shown.isprintable()
    assert len(shown) <= 62


def test_escape_codes_and_direction_marks_are_shown_dead() -> None:
    assert headline("print('\x1b[2J\u202e')") == "print('\\x1b[2J\\u202e')"
    assert headline("\ud800") == "\\ud800"
    assert headline("") == ""


@pytest.mark.parametrize(
    ("kind", "step", "body"),
    [
        ("proposed", 1, {"source": "x", "parent": 7}),
        ("proposed", 0, {"source": "x", "parent": 0}),
        ("proposed", None, {"source": "x", "parent": 0}),
        ("proposed", 1, {"parent": 0}),
        ("settled", 1, {"outcome": {"kind": "completed"}}),
        ("settled", 0, {"outcome": None}),
        ("moved", None, {"cursor": 3, "by": "goto"}),
    ],
)
def test_entries_that_make_no_tree_are_damage(kind: str, step: int | None, body: dict[str, Any]) -> None:
    with pytest.raises(LedgerDamaged, match="makes no sense"):
        Timeline.read([Entry(1, 0, kind, step, body)])


def test_it_is_read_from_a_real_ledger(tmp_path: Path) -> None:
    story = Story()
    story.step("a")
    story.step("b")
    story.undo()
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        for entry in story.entries:
            ledger.append(entry.kind, entry.step, entry.body)
        assert Timeline.read(ledger.entries()) == story.timeline
