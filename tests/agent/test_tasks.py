"""Twenty tasks of several steps are solved through the loop, and again with all that was done spoilt and undone before
the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

import mulligan
from mulligan import Session
from mulligan.runtime.agent.agent import Agent
from mulligan.runtime.agent.events import Final, Undone
from mulligan.runtime.agent.model import Message
from mulligan.runtime.agent.scripted import Script

from .tasks.tasks import TASKS, Reply, Task
from .tasks.world import World

CORRUPT = """
import os, shutil
for _name in [name for name in globals() if not name.startswith("_") and name not in ("In", "Out", "os", "shutil")]:
    del globals()[_name]
for _path in os.listdir():
    shutil.rmtree(_path) if os.path.isdir(_path) else os.remove(_path)
open("words.txt", "w").write("spoilt")
"""
UNDO = "from tools import undo\nundo(1)"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World() as world:
        yield world


@pytest.fixture(scope="module")
def opened(any_isolation: str, world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    tools = [*mulligan.agent_tools(), *world.tools]
    state = tmp_path_factory.mktemp("state")
    with mulligan.open(isolation=any_isolation, state=state, tools=tools) as session:
        yield session


def said(reply: Reply) -> Callable[[Sequence[Message]], str]:
    def answer(messages: Sequence[Message]) -> str:
        source = reply if isinstance(reply, str) else reply(str(messages[-1]["content"]))
        return f"```python\n{source}\n```"

    return answer


def solve(session: Session, world: World, task: Task, replies: Sequence[Reply]) -> tuple[Final, list[Undone]]:
    world.reset()
    events = list(Agent(session, Script(map(said, replies))).events(task.text))
    final = events[-1]
    assert isinstance(final, Final)
    return final, [each for each in events if isinstance(each, Undone)]


def test_there_are_twenty() -> None:
    assert len({task.name for task in TASKS}) == 20
    assert all(len(task.replies) >= 2 for task in TASKS)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_is_solved(session: Session, world: World, task: Task) -> None:
    final, _ = solve(session, world, task, task.replies)
    assert (final.kind, final.value, type(final.value)) == ("answered", task.answer, type(task.answer)), (
        final.why
    )
    assert task.left(world)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_is_solved_after_all_was_spoilt_and_undone(session: Session, world: World, task: Task) -> None:
    replies = (*task.replies[:-1], CORRUPT, UNDO, task.replies[-1])
    final, undone = solve(session, world, task, replies)
    assert [(each.restoration.memory, each.restoration.stands) for each in undone] == [("woken", ())]
    assert (final.kind, final.value, type(final.value)) == ("answered", task.answer, type(task.answer)), (
        final.why
    )
    assert task.left(world)
