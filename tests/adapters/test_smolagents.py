"""smolagents' own agent, its loop and its tools, with its actions in a session; only the model is scripted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from smolagents import CodeAgent, Tool, tool
from smolagents.models import ChatMessage, MessageRole, Model
from smolagents.monitoring import LogLevel

from mulligan.runtime.adapters.smolagents import MulliganExecutor, Reference


class Scripted(Model):  # type: ignore[misc]  # smolagents has no types
    """Says these actions in turn, and keeps what it was told before each."""

    def __init__(self, *actions: str) -> None:
        super().__init__(model_id="scripted")
        self._actions = iter(actions)
        self.told: list[str] = []

    def generate(self, messages: list[ChatMessage], **options: Any) -> ChatMessage:
        self.told.append(str(messages[-1].content))
        return ChatMessage(MessageRole.ASSISTANT, f"Thought: go on.\n<code>\n{next(self._actions)}\n</code>")


SOLD: list[str] = []


@tool  # type: ignore[untyped-decorator]
def price_of(fruit: str, pieces: int) -> float:
    """What fruit costs.

    Args:
        fruit: Its name.
        pieces: How many.
    """
    SOLD.append(fruit)
    return {"apple": 0.5, "pear": 0.7}[fruit] * pieces


@pytest.fixture(scope="module")
def executor(any_isolation: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MulliganExecutor]:
    state = tmp_path_factory.mktemp("state")
    with MulliganExecutor(isolation=any_isolation, state=state, undo_on_error=True) as executor:
        yield executor


Solve = Callable[..., tuple[Any, Scripted]]


@pytest.fixture
def solve(executor: MulliganExecutor) -> Solve:
    def run(*actions: str, **options: Any) -> tuple[Any, Scripted]:
        model = Scripted(*actions)
        agent = CodeAgent([price_of], model, executor=executor, verbosity_level=LogLevel.OFF)
        return agent.run("Go.", max_steps=len(actions), **options), model

    return run


def test_the_agents_own_loop_solves_a_task_with_its_tools_and_what_failed_is_undone(
    solve: Solve, executor: MulliganExecutor
) -> None:
    SOLD.clear()
    answer, model = solve(
        "cost = price_of('apple', 3)\nprint('cost', cost)\nopen('a.txt', 'w').write('kept')",
        "cost = 0\nopen('a.txt', 'w').write('spoilt')\nprice_of('stone', pieces=1)",
        "total = cost + price_of('pear', 1)\nfinal_answer({'total': round(total, 2), 'file': open('a.txt').read()})",
    )
    assert answer == {"total": 2.2, "file": "kept"}
    assert SOLD == ["apple", "stone", "pear"], "the tools were called on the host"
    assert "cost 1.5" in model.told[1]
    assert "KeyError" in model.told[2] and "[Undone." in model.told[2] and "price_of" in model.told[2]
    assert executor.session.timeline.node(executor.session.timeline.cursor).kind == "raised"


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("[1, 2.5, None, True, 'é', {'a': {}}]", [1, 2.5, None, True, "é", {"a": {}}]),
        ("None", None),
        ("'x' * 100_000", "x" * 100_000),
    ],
)
def test_a_final_answer_of_json_keeps_its_types(solve: Solve, written: str, answer: Any) -> None:
    got, _ = solve(f"final_answer({written})")
    assert got == answer and isinstance(got, type(answer))  # smolagents makes its own kind of text


@pytest.mark.parametrize("answer", [(1, 2), {1: "a"}, {1, 2}, object, float("nan"), b"raw"], ids=str)
def test_a_final_answer_that_is_no_json_is_a_reference_and_is_not_made_into_something_else(
    solve: Solve, answer: object
) -> None:
    written = {"nan": "float('nan')", "<class 'object'>": "object"}.get(repr(answer), repr(answer))
    got, _ = solve(f"final_answer({written})")
    assert isinstance(got, Reference), got
    assert (got.text, got.type) == (repr(answer), type(answer).__name__)


def test_variables_go_in_and_what_is_no_json_is_refused_before_anything_runs(solve: Solve) -> None:
    assert solve("final_answer(data['n'] + 1)", additional_args={"data": {"n": 41}})[0] == 42
    with pytest.raises(TypeError, match="'data' is no JSON"):
        solve("final_answer(1)", additional_args={"data": object()})
    assert solve("final_answer(data['n'])")[0] == 41, "what was sent stays, as smolagents' own variables do"


def test_code_that_catches_every_exception_does_not_go_on_after_its_answer(solve: Solve) -> None:
    action = "try:\n    final_answer('first')\nexcept Exception:\n    pass\nfinal_answer('second')"
    assert solve(action)[0] == "first"


FORGED = {
    "no JSON": "display({TYPE: '{'}, raw=True)",
    "no object": "display({TYPE: '[1]'}, raw=True)",
    "no text": "display({TYPE: {'value': 1}}, raw=True)",
    "nested without end": "display({TYPE: '[' * 100_000}, raw=True)",
    "nothing": "pass",
}


@pytest.mark.parametrize("way", FORGED)
def test_an_answer_that_cannot_be_read_is_none(solve: Solve, way: str) -> None:
    forge = FORGED[way].replace("TYPE", "'application/vnd.mulligan.final-answer'")
    answer, model = solve(f"{forge}\nraise FinalAnswer", "final_answer('real')")
    assert answer == "real" and "FinalAnswer" in model.told[1]


def test_a_references_words_are_safe_for_a_terminal(solve: Solve) -> None:
    class_ = "type('x\\x1b[2J', (), {'__repr__': lambda self: '\\x1b]0;gone\\x07'})"
    got, _ = solve(f"final_answer({class_}())")
    assert "\x1b" not in got.text + got.type


class Other(Tool):  # type: ignore[misc]
    name = "other"
    description = "Another."
    inputs: ClassVar[dict[str, Any]] = {
        "number": {"type": "integer", "description": "Any.", "nullable": True}
    }
    output_type = "integer"

    def forward(self, number: int | None = None) -> int:
        return 7 if number is None else number


def test_other_tools_than_the_session_was_opened_with_are_refused_with_their_names(
    executor: MulliganExecutor,
) -> None:
    _ = executor.session
    with pytest.raises(ValueError, match="these differ: other, price_of"):
        executor.send_tools({"other": Other()})


def test_a_tool_may_lack_arguments_and_a_policy_judges_its_calls(any_isolation: str, tmp_path: Any) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("tools:\n  - allow: other(number=1)\n    because: it is the first\n")
    options: dict[str, Any] = {"isolation": any_isolation, "state": tmp_path / "state", "policy": policy}
    with MulliganExecutor(**options) as executor:
        model = Scripted("other(number=2)", "final_answer(other(number=1))")
        agent = CodeAgent([Other()], model, executor=executor, verbosity_level=LogLevel.OFF)
        assert agent.run("Go.", max_steps=2) == 1
        assert re.search("other was denied", model.told[1])
        agent.cleanup()
        with pytest.raises(Exception, match="closed"):
            executor("1")
