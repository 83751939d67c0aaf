"""What is read of a reply, and what its model is told of it."""

from __future__ import annotations

import pytest

from mulligan.runtime.agent.protocol import parse

WHOLE = {
    "a fence": ("Look:\n```python\nx = 1\n```\nThat is all.", ["x = 1"]),
    "a fence of another name": ("```py\nx = 1\n```", ["x = 1"]),
    "tags": ("Look: <execute>\nx = 1\n</execute>", ["x = 1"]),
    "tags in a line": ("<execute>x = 1</execute>", ["x = 1"]),
    "a fence in tags": ("<execute>\n```python\nx = 1\n```\n</execute>", ["x = 1"]),
    "an open fence in tags": ("<execute>\n```python\nx = 1\n", ["x = 1"]),
    "a closing tag that was a stop string": ("Look:\n<execute>\nx = 1\n", ["x = 1"]),
    "a fence that nobody closed": ("```python\nx = 1", ["x = 1"]),
    "a margin": ("  ```python\n  if x:\n    y = 1\n  ```", ["if x:\n  y = 1"]),
    "lines of Windows": ("```python\r\nx = 1\r\ny = 2\r\n```\r\n", ["x = 1\ny = 2"]),
    "several": ("```python\nx = 1\n```\nthen\n```python\ny = 2\n```", ["x = 1", "y = 2"]),
    "both kinds": ("<execute>x = 1</execute>\n```python\ny = 2\n```", ["x = 1", "y = 2"]),
    "a fence in a string": ('```python\nx = """\n```\n"""\n```\nDone.', ['x = """\n```\n"""']),
    "a tag in a string": ('<execute>\nx = "</execute>"\n</execute>', ['x = "</execute>"']),
    "a longer fence": ('````python\nx = "```"\n```\n````', ['x = "```"\n```']),
    "a fence of tildes": ("~~~python\nx = 1\n~~~", ["x = 1"]),
    "magics": ("```python\n%pip list\n!ls\n```", ["%pip list\n!ls"]),
    "code that is wrong": ("```python\nx = (\n```", ["x = ("]),
    "a plan that is only thought": ("<think>```python\nx = 1\n```</think>```python\ny = 2\n```", ["y = 2"]),
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_an_action(name: str) -> None:
    reply, actions = WHOLE[name]
    parsed = parse(reply, "stop")
    assert list(parsed.actions) == actions
    assert parsed.complaints == ()


TOLD = {
    "another language": ("```bash\nrm -r /\n```", "a fence of bash was not run"),
    "no language": ("```\nx = 1\n```", "a fence without a language was not run"),
    "nothing inside": ("```python\n\n```", "an action was empty"),
    "a tag that closes nothing": ("x = 1\n</execute>", "closes nothing"),
}


@pytest.mark.parametrize("name", TOLD)
def test_what_is_no_action_is_told(name: str) -> None:
    reply, said = TOLD[name]
    parsed = parse(reply, "stop")
    assert parsed.actions == ()
    assert [each for each in parsed.complaints if said in each]


@pytest.mark.parametrize("finish", ["length", "content_filter", ""])
@pytest.mark.parametrize("opening", ["```python\n", "<execute>\n"])
def test_an_action_that_may_have_been_cut_is_not_run(opening: str, finish: str) -> None:
    parsed = parse(f"```python\na = 1\n```\n{opening}import os; os.rem", finish)
    assert parsed.actions == ("a = 1",)
    assert parsed.cut
    assert "cut off" in parsed.complaints[0]


def test_what_is_thought_is_kept_apart() -> None:
    parsed = parse("<think>hm</think>First\n```python\nx\n```\nthen", "stop")
    assert parsed.thinking.split("\n") == ["<think>hm</think>", "First", "then"]


@pytest.mark.parametrize(
    "piece", ["```python\n", "<execute>", "</execute>", "`" * 50 + "\n", "<think>", "(" * 50]
)
def test_a_reply_of_nothing_but_markers_takes_no_time(piece: str) -> None:
    parse(piece * 20_000, "stop")
