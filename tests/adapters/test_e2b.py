"""E2B's shape on a session: what comes out of `run_code` and when its callbacks are called."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from mulligan.runtime.adapters.e2b import ExecutionError, OutputMessage, Sandbox


@pytest.fixture(scope="module")
def opened(any_isolation: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox.create(isolation=any_isolation, state=tmp_path_factory.mktemp("state")) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(opened: Sandbox) -> Sandbox:
    opened.session.reset()
    return opened


def test_results_logs_and_text_are_where_its_users_look(sandbox: Sandbox) -> None:
    code = "import sys\nprint('one\\ntwo')\nprint('odd', file=sys.stderr)\n"
    code += "display({'image/png': 'iVBO', 'x/y': 1}, raw=True)\n40 + 2"
    execution = sandbox.run_code(code)
    assert (execution.text, execution.error) == ("42", None)
    assert execution.logs.stdout == ["one\n", "two\n"] and execution.logs.stderr == ["odd\n"]
    shown, main = execution.results
    assert (shown.png, shown.extra, shown.is_main_result) == ("iVBO", {"x/y": 1}, False)
    assert (main["text"], list(main.formats()), main.is_main_result) == ("42", ["text"], True)
    assert json.loads(execution.to_json())["results"][1]["text"] == "42"


def test_callbacks_are_called_as_it_comes_and_an_error_is_no_exception(sandbox: Sandbox) -> None:
    out: list[OutputMessage] = []
    seen: list[Any] = []
    code = (
        "import sys\nprint('a', flush=True)\nprint('b', file=sys.stderr, flush=True)\ndisplay('shown')\n1 / 0"
    )
    execution = sandbox.run_code(
        code, on_stdout=out.append, on_stderr=out.append, on_result=seen.append, on_error=seen.append
    )
    assert "".join(each.line for each in out) == "a\nb\n"  # in as many pieces as it came
    assert {each.line.strip(): each.error for each in out if each.line.strip()} == {"a": False, "b": True}
    assert all(each.timestamp > 10**18 for each in out)
    assert seen[0].text == "'shown'" and seen[1] is execution.error
    assert isinstance(execution.error, ExecutionError)
    assert (execution.error.name, execution.error.value) == ("ZeroDivisionError", "division by zero")
    assert "1 / 0" in execution.error.traceback and execution.text is None


def test_a_callback_that_raises_does_so_here_and_the_code_has_run(sandbox: Sandbox) -> None:
    def refuse(message: OutputMessage) -> None:
        raise KeyError(message.line.strip())

    with pytest.raises(KeyError, match="first"):
        sandbox.run_code("print('first', flush=True)\nx = 7", on_stdout=refuse)
    assert sandbox.run_code("x").text == "7"


def test_code_without_end_is_ended_and_named_and_undo_goes_behind_what_was_run(sandbox: Sandbox) -> None:
    sandbox.run_code("x = 1; open('kept.txt', 'w').close()")
    late = sandbox.run_code("x = 2\nwhile True: pass", timeout=0.5).error
    assert late is not None and late.name == "TimedOut" and "0.5 s" in late.value
    lost = sandbox.run_code("import os; os.remove('kept.txt'); os._exit(1)").error
    assert lost is not None and lost.name == "Lost"
    assert sandbox.undo().complete
    assert sandbox.run_code("import os; (x, os.listdir())").text == "(1, ['kept.txt'])"


def test_another_language_is_refused_with_what_to_do(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="kernel='bash'"):
        sandbox.run_code("ls", language="bash")


ODD = ["{'text/plain': ['a']}", "{'application/json': {'a': 1}}", "{'text/html': 7, '': ''}"]


@pytest.mark.parametrize("data", ODD)
def test_displays_of_odd_types_are_results_all_the_same(sandbox: Sandbox, data: str) -> None:
    execution = sandbox.run_code(f"display({data}, raw=True)")
    assert execution.error is None and len(execution.results) == 1
    assert all(
        isinstance(each, str) for each in [execution.results[0].text or "", execution.results[0].html or ""]
    )
    execution.to_json()
