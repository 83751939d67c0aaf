"""Undo, redo, goto and reset: wherever the session goes, its files and its variables agree with each other."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import mulligan
from mulligan import Session, Step
from mulligan.runtime.errors import NothingToRedo, NothingToUndo, StepUnknown
from mulligan.sandbox.messages import Event, Stream


def run(session: Session, source: str) -> Step:
    step = session.run(source, timeout=30)
    assert step.outcome.kind == "completed", step.outcome.text
    return step


def peek(session: Session, expression: str) -> Any:
    """The value of an expression in the kernel, without a step: on the session's thread."""
    said: list[str] = []

    def hear(event: Event) -> None:
        assert isinstance(event, Stream), event
        said.append(event.text)

    source = f"import json as _json; print(_json.dumps({expression}))"
    kernel = session._story.confined.kernel
    done = session._do(lambda: kernel.execute(source, hear, timeout=30)).result()
    assert done.ok, done
    return json.loads("".join(said))


def files(session: Session) -> dict[str, str]:
    top = session.workspace
    return {str(path.relative_to(top)): path.read_text() for path in top.rglob("*") if path.is_file()}


def write(session: Session, n: int) -> int:
    """A step after which x == n and file f holds n."""
    return run(session, f"x = {n}; _ = open('f', 'w').write(str(x))").id


def where(session: Session) -> int:
    """x, once x and f are known to agree."""
    x = peek(session, "globals().get('x', 0)")
    assert files(session).get("f", "0") == str(x)
    return int(x)


def test_undo_after_undo_goes_further_back(session: Session) -> None:
    for n in (1, 2, 3):
        write(session, n)
    for n in (2, 1, 0):
        session.undo()
        assert where(session) == n


def test_undo_of_several_steps_at_once(session: Session) -> None:
    for n in range(1, 6):
        write(session, n)
    session.undo(3)
    assert where(session) == 2


def test_undo_to_a_step_keeps_that_step(session: Session) -> None:
    steps = [write(session, n) for n in (1, 2, 3)]
    assert session.undo(to=steps[0]).step == steps[0]
    assert where(session) == 1
    assert session.timeline.cursor == steps[0]


def test_undo_to_a_step_that_is_not_behind_is_refused_and_moves_nothing(session: Session) -> None:
    first, second = write(session, 1), write(session, 2)
    session.undo()
    with pytest.raises(NothingToUndo, match="not behind"):
        session.undo(to=second)
    assert (where(session), session.timeline.cursor) == (1, first)


def test_redo_goes_forward_along_the_line_that_was_undone(session: Session) -> None:
    for n in (1, 2, 3):
        write(session, n)
    session.undo(3)
    session.redo()
    assert where(session) == 1
    session.redo(2)
    assert where(session) == 3


def test_redo_after_a_new_step_is_refused_and_goto_still_reaches_it(session: Session) -> None:
    write(session, 1)
    undone = write(session, 2)
    session.undo()
    write(session, 3)
    with pytest.raises(NothingToRedo):
        session.redo()
    assert where(session) == 3
    session.goto(undone)
    assert where(session) == 2


def test_goto_crosses_branches(session: Session) -> None:
    trunk = write(session, 1)
    left = write(session, 2)
    session.goto(trunk)
    right = write(session, 3)
    for step, n in ((left, 2), (right, 3), (trunk, 1), (left, 2), (0, 0), (right, 3)):
        session.goto(step)
        assert where(session) == n


def test_goto_to_where_the_session_is_takes_back_what_was_done_to_the_files_from_outside(
    session: Session,
) -> None:
    here = run(session, "x = 1; _ = open('f', 'w').write('1')")
    assert here.reach.exact  # waits for the checkpoint: what is written before it is part of it
    (session.workspace / "f").write_text("tampered with")
    back = session.goto(here.id)
    assert [str(change) for change in back.restored] == ["~ f"]
    assert where(session) == 1


def test_reset_leads_to_a_clean_kernel_and_keeps_the_timeline(session: Session) -> None:
    step = write(session, 1)
    session.reset()
    assert session.timeline.cursor == 0
    assert peek(session, "[name for name in globals() if name in ('x', 'In')]") == ["In"]
    assert files(session) == {}
    session.goto(step)
    assert where(session) == 1


def test_a_step_that_raised_is_undone_like_any_other(session: Session) -> None:
    write(session, 1)
    step = session.run("x = 2; open('f', 'w').write('2'); raise ValueError('late')")
    assert (step.outcome.kind, where(session)) == ("raised", 2)
    session.undo()
    assert where(session) == 1
    session.redo()
    assert where(session) == 2


def test_a_step_that_was_interrupted_keeps_what_it_did_and_can_be_undone(session: Session) -> None:
    write(session, 1)
    step = session.run("x = 2; open('f', 'w').write('2')\nwhile True: pass", timeout=0.5)
    assert (step.outcome.kind, where(session)) == ("timed_out", 2)
    session.undo()
    assert where(session) == 1


@pytest.mark.parametrize("ending", ["import os; os._exit(3)", "a\0b"], ids=["lost", "refused"])
def test_a_step_that_left_no_trace_is_not_on_the_way_back(session: Session, ending: str) -> None:
    write(session, 1)
    two = write(session, 2)
    none = session.run(f"x = 9; open('f', 'w').write('9'); {ending}")
    assert none.outcome.kind in ("lost", "refused")
    assert (where(session), session.timeline.cursor) == (2, two)
    session.undo()
    assert where(session) == 1
    session.goto(none.id)
    assert where(session) == 2


def test_moving_tells_what_it_put_back(session: Session) -> None:
    run(session, "open('changed', 'w').write('1'); _ = open('removed', 'w').write('1')")
    run(
        session,
        "open('changed', 'w').write('2'); import os; os.remove('removed'); _ = open('added', 'w').write('2')",
    )
    back = session.undo()
    assert sorted(map(str, back.restored)) == ["+ removed", "- added", "~ changed"]
    assert (back.memory, back.stands, back.complete) == ("woken", (), True)


def test_files_outside_the_workspace_come_back_too(session: Session) -> None:
    made = run(
        session,
        "import os; _ = [open(os.path.join(d, 'k'), 'w').write('1') for d in ('/tmp', os.environ['HOME'], '/dev/shm')]",
    )
    assert sorted(change.path for change in made.changes) == ["/dev/shm/k", "/home/user/k", "/tmp/k"]
    assert not any(change.in_workspace for change in made.changes)
    run(session, "[os.remove(os.path.join(d, 'k')) for d in ('/tmp', os.environ['HOME'], '/dev/shm')]")
    session.undo()
    assert (
        peek(session, "[open(os.path.join(d, 'k')).read() for d in ('/tmp', os.environ['HOME'], '/dev/shm')]")
        == ["1"] * 3
    )


def test_diff_compares_any_two_steps(session: Session) -> None:
    one = write(session, 1)
    session.undo()
    two = run(session, "_ = open('g', 'w').write('g')").id
    assert sorted(map(str, session.diff(one, two))) == ["+ g", "- f"]
    assert sorted(map(str, session.diff(two, one))) == ["+ f", "- g"]
    assert session.diff(one, one) == ()
    assert [str(change) for change in session.diff()] == ["+ g"]


def test_unknown_steps_and_moves_beyond_the_ends_are_refused_and_move_nothing(session: Session) -> None:
    here = write(session, 1)
    highest = max(session.timeline.nodes)
    for move in (
        lambda: session.goto(highest + 1),
        lambda: session.undo(to=highest + 1),
        lambda: session.diff(0, -5),
    ):
        with pytest.raises(StepUnknown, match="nearest"):
            move()
    for n in (2, 0, -1):
        with pytest.raises(NothingToUndo):
            session.undo(n)
    with pytest.raises(NothingToRedo):
        session.redo()
    assert (where(session), session.timeline.cursor) == (1, here)
    session.undo()
    with pytest.raises(NothingToUndo, match="beginning"):
        session.undo()


@dataclass(slots=True)
class Model:
    """What an undoable session must be, in the simplest way: each step has copies of all."""

    states: dict[int, tuple[dict[str, int], dict[str, str]]] = field(default_factory=dict)
    parents: dict[int, int] = field(default_factory=dict)
    undone: list[int] = field(default_factory=list)
    at: int = 0

    def step(self, id: int, variables: dict[str, int], contents: dict[str, str]) -> None:
        self.parents[id], self.states[id] = self.at, (variables, contents)
        self.at, self.undone = id, []

    def path(self) -> list[int]:
        line = [self.at]
        while line[-1] != 0:
            line.append(self.parents[line[-1]])
        return line


def random_step(dice: random.Random, model: Model, session: Session) -> None:
    variables, contents = dict(model.states[model.at][0]), dict(model.states[model.at][1])
    name, number = dice.choice("abcef"), dice.randrange(10**6)
    match dice.choice(["set", "write", "write", "remove", "append", "folder", "raise", "die"]):
        case "set":
            source, variables[name] = f"v[{name!r}] = {number}", number
        case "write":
            source, contents[name] = f"_ = open({name!r}, 'w').write('{number}')", str(number)
        case "remove":
            source = f"import os; os.path.exists({name!r}) and os.remove({name!r}); v.pop({name!r}, None)"
            contents.pop(name, None)
            variables.pop(name, None)
        case "append":
            source = f"_ = open({name!r}, 'a').write('+'); v[{name!r}] = v.get({name!r}, 0) + 1"
            contents[name] = contents.get(name, "") + "+"
            variables[name] = variables.get(name, 0) + 1
        case "folder":
            source = (
                f"import os; os.makedirs('d', exist_ok=True); _ = open('d/{name}', 'w').write('{number}')"
            )
            contents[f"d/{name}"] = str(number)
        case "raise":
            source, variables[name] = f"v[{name!r}] = {number}; 1 / 0", number
        case _:
            source = f"v.clear(); _ = open({name!r}, 'w').write('lost'); import os; os._exit(1)"
            assert session.run(source).outcome.kind == "lost"
            model.undone = []
            return
    step = session.run(source, timeout=30)
    assert step.outcome.kind in ("completed", "raised"), step.outcome.text
    model.step(step.id, variables, contents)


def random_move(dice: random.Random, model: Model, session: Session) -> None:
    line = model.path()
    match dice.choice(["step", "step", "step", "undo", "undo to", "redo", "goto", "reset"]):
        case "undo" if len(line) > 2:
            n = dice.randrange(1, min(4, len(line) - 1))
            session.undo(n)
            model.undone = line[:n][::-1] + model.undone
            model.at = line[n]
        case "undo to" if len(line) > 2:
            n = dice.randrange(1, len(line) - 1)
            session.undo(to=line[n])
            model.undone = line[:n][::-1] + model.undone
            model.at = line[n]
        case "redo" if model.undone:
            session.redo()
            model.at = model.undone.pop(0)
        case "goto":
            model.at = dice.choice([id for id in model.states if id])
            session.goto(model.at)
            model.undone = []  # what redo does after a goto is for the timeline's tests to say
        case "reset" if dice.random() < 0.5:
            session.reset()
            first = line[-2]
            session.goto(first)
            model.at, model.undone = first, []
        case _:
            random_step(dice, model, session)


@pytest.mark.parametrize("seed", [1, 2])
def test_on_a_random_walk_files_and_variables_are_always_those_of_the_step(
    session: Session, seed: int
) -> None:
    dice, model = random.Random(seed), Model()
    model.step(run(session, "v = {}").id, {}, {})
    for _ in range(40):
        random_move(dice, model, session)
        assert session.timeline.cursor == model.at
        assert (peek(session, "v"), files(session)) == model.states[model.at], str(session.timeline)
    for id in model.states:
        session.goto(id)
        assert (peek(session, "v"), files(session)) == model.states[id], str(session.timeline)


def test_the_users_folder_is_untouched_until_commit_and_after_uncommit(
    isolation: str, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "a").write_text("a")
    with mulligan.open(data, isolation=isolation, state=tmp_path / "state") as session:
        run(session, "import os; os.remove('a'); _ = open('b', 'w').write('b')")
        assert [path.name for path in data.iterdir()] == ["a"]
        session.commit()
        assert [path.name for path in data.iterdir()] == ["b"]
        session.uncommit()
        assert [(path.name, path.read_text()) for path in data.iterdir()] == [("a", "a")]
        with pytest.raises(NothingToUndo):
            session.uncommit()
