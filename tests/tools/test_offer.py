"""Which functions can be handed over, and what is said of one that cannot."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

import mulligan
from mulligan.runtime.tools import offer
from mulligan.sandbox.errors import ToolInvalid


def send(to: str) -> str:
    return to


def send_unread(to: Nothing) -> str:  # type: ignore[name-defined]  # noqa: F821
    return ""


class Server:
    def ask(self, what: str) -> str:
        return what

    def __call__(self, what: int) -> int:
        return what


def test_methods_callables_and_functions_under_other_names_can_be_tools() -> None:
    renamed = mulligan.tool(name="post", effect="irreversible")(functools.partial(send, "a"))
    server = Server()
    tools: dict[str, Callable[..., Any]] = {"call": server, "ask": server.ask}
    made = offer(tools)
    assert made is not None and [*made.tools] == ["call", "ask"]
    assert [each["name"] for each in made.described["tools"][0]["parameters"]] == ["what"]
    assert made.described["tools"][0]["parameters"][0]["type"] == "int"
    again = offer([renamed])
    assert again is not None and [*again.tools] == ["post"]
    assert offer([]) is None


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        (send, "tools is a list of functions"),
        ("send", "tools is a list of functions"),
        ([3], "is no function"),
        ([Server], "is no function"),
        ([lambda: 1], "is no name for a tool"),
        ({"_hidden": send}, "is no name for a tool"),
        ({"class": send}, "is no name for a tool"),
        ({"a\x1b[0m": send}, r"is no name for a tool"),
        ([send, send], "two tools are called send"),
        ([send_unread], "cannot be read: name 'Nothing' is not defined"),
    ],
)
def test_what_cannot_be_a_tool_is_said_before_a_sandbox_is_started(tools: Any, said: str) -> None:
    with pytest.raises(ToolInvalid, match=said) as caught:
        mulligan.open(tools=tools)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "undo"),
    [
        ("there is no effect", lambda: mulligan.tool(effect="maybe")),  # type: ignore[call-overload]
        ("has no undo", lambda: mulligan.tool(effect="read", undo=send)),
        ("number of seconds above 0", lambda: mulligan.tool(timeout=0)),
        ("asks for 'who'", lambda: offer([mulligan.tool(undo=lambda who: None)(_fresh())])),
        ("by position", lambda: offer([mulligan.tool(undo=lambda *who: None)(_fresh())])),
    ],
)
def test_what_is_declared_of_a_tool_must_fit_it(said: str, undo: Callable[[], object]) -> None:
    with pytest.raises(ToolInvalid, match=said):
        undo()


def _fresh() -> Callable[[str], str]:
    def fresh(to: str) -> str:
        return to

    return fresh
