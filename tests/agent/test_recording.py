"""Recordings: what is written as it happens is enough to go on from, and no more is believed of a file than it says."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mulligan import Session
from mulligan.runtime.agent.agent import Agent
from mulligan.runtime.agent.errors import RecordingInvalid
from mulligan.runtime.agent.events import Final
from mulligan.runtime.agent.model import Message
from mulligan.runtime.agent.notebook import notebook
from mulligan.runtime.agent.recording import Recording, read
from mulligan.runtime.agent.scripted import Script

ONE = "```python\nx = 1\nprint('one')\n```"
BROKEN = "```python\nx = 9\n1 / 0\n```"
TWO = "```python\nx += 1\nprint('two')\n```"


def keeping(asked: list[str], reply: str) -> Callable[[Sequence[Message]], str]:
    def answer(messages: Sequence[Message]) -> str:
        asked.append(str(messages))
        return reply

    return answer


def record(session: Session, path: Path, *replies: str) -> Final:
    with Recording.open(path) as recording:
        agent = Agent(session, Script(replies), recording=recording, on_error="undo")
        return agent.run("count")


def test_what_stands_is_run_again_and_what_was_undone_is_not(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    assert record(session, path, ONE, BROKEN, TWO).kind == "failed"  # its script has no further reply
    recorded = read(path)
    assert [each.source.split("\n")[0] for each in recorded.standing] == ["x = 1", "x += 1"]
    assert recorded.task == "count"
    session.reset()
    with Recording.open(path) as recording:
        asked: list[str] = []
        model = Script([keeping(asked, "```python\nprint(x)\n```"), "2"])
        *_, final = Agent(session, model, recording=recording).resume(recorded)
    assert isinstance(final, Final)
    assert final.value == "2"
    assert "What stood of your earlier actions was run again" in asked[0]
    assert "what differed" not in asked[0]
    again = read(path)
    assert [each.source.split("\n")[0] for each in again.standing] == ["x = 1", "x += 1", "print(x)"]
    assert again.ended


def test_what_a_replay_gives_out_otherwise_is_told(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    record(session, path, "```python\nimport os; print(os.urandom(8))\n```")
    session.reset()
    asked: list[str] = []
    list(Agent(session, Script([keeping(asked, "Done.")])).resume(read(path)))
    assert "what differed" in asked[0]
    assert "it gave out something else than it did" in asked[0]


def test_what_was_done_elsewhere_is_not_done_again(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    record(session, path, ONE, TWO)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line["type"] == "step" and "two" in line["source"]:
            line["stands"] = ["POST https://example.org/: sent"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    session.reset()
    asked: list[str] = []
    list(Agent(session, Script([keeping(asked, "Done.")])).resume(read(path)))
    assert "the last 1 action(s) were not run again" in asked[0]
    assert session.run("x").outcome.text == "1"


@pytest.mark.parametrize("cut", [1, 20, 200])
def test_a_recording_that_a_crash_cut_off_is_read(session: Session, tmp_path: Path, cut: int) -> None:
    path = tmp_path / "run.jsonl"
    record(session, path, ONE)
    path.write_bytes(path.read_bytes()[:-cut])
    assert read(path).task == "count"
    record(session, path, TWO)  # what comes after is not lost to it
    assert [each.source for each in read(path).standing] == [
        TWO.removeprefix("```python\n").removesuffix("\n```")
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}\n",
        '{"type": "session"}\n',
        '{"type": "begun", "format": 2}\n',
        '{"type": "begun", "format": 1, "model": "m"}\nnot json\n{}\n',
        '{"type": "begun", "format": 1, "model": "m"}\n{"no": "type"}\n',
        '{"type": "begun", "format": 1, "model": "m"}\n{"type": "message", "role": "system", "content": "x"}\n',
        '{"type": "begun", "format": 1, "model": "m"}\n{"type": "message", "role": "user", "content": 7}\n',
        '{"type": "begun", "format": 1, "model": "m"}\n{"type": "cursor"}\n',
        "[" * 100_000,
        "\x00\xff",
    ],
)
def test_what_is_no_recording_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(RecordingInvalid):
        read(path)


def test_steps_that_go_round_in_a_circle_end(tmp_path: Path) -> None:
    step = {"type": "step", "source": "1", "outcome": "completed", "digest": "d", "stands": []}
    lines = [
        {"type": "begun", "format": 1, "model": "m"},
        {**step, "step": 1, "parent": 2},
        {**step, "step": 2, "parent": 1},
        {"type": "cursor", "step": 2},
    ]
    path = tmp_path / "run.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    assert len(read(path).standing) <= 3


def test_a_notebook_shows_no_escape_codes(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    record(
        session,
        path,
        "\x1b[31mred\n```python\nprint('\\x1b]0;title\\x07')\nraise ValueError('\\x1b[2J')\n```",
    )
    text = json.dumps(notebook(read(path).lines))
    assert "\\u001b" not in text
    assert "ValueError" in text
