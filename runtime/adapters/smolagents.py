"""smolagents' `CodeAgent` on a session: `CodeAgent(tools, model, executor=MulliganExecutor("data/"))`.

The agent's loop stays smolagents' own. Its tools stay on the host, and are called from inside through the session's
door for tools; only a policy with rules for tools narrows that. Nothing is pickled in either direction: variables go in
as JSON, and a final answer comes out as JSON, or as its repr where it is none.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from smolagents import PythonExecutor
from smolagents.local_python_executor import CodeOutput

from mulligan.runtime.outcome import Outcome, left_by, shorten
from mulligan.runtime.session import Session, open_session
from mulligan.runtime.step import Action, Step
from mulligan.sandbox.errors import MulliganError
from mulligan.sandbox.printable import one_line, printable
from mulligan.sandbox.tools.declared import declared, tool

#: how an answer comes out: as a display of this type, of which JSON text is the value
ANSWER = "application/vnd.mulligan.final-answer"
#: what smolagents' tool for that is called
_FINAL = "final_answer"
_TYPES: dict[str, Any] = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": float,
    "array": list,
    "object": dict,
}

#: the exception is no Exception: code that catches those must not go on after its answer
_SETUP = f"""
class FinalAnswer(BaseException):
    "The end of the task."

def {_FINAL}(answer=None):
    "Ends the task with this answer."
    import json
    from IPython.display import display
    try:
        told = {{"value": answer}} if json.loads(json.dumps(answer, allow_nan=False)) == answer else None
    except (TypeError, ValueError, RecursionError):
        told = None
    if told is None:
        told = {{"repr": repr(answer)[:1_000_000], "type": type(answer).__name__}}
    display({{"text/plain": repr(answer)[:1000], {ANSWER!r}: json.dumps(told)}}, raw=True)
    raise FinalAnswer
"""


class ActionFailed(MulliganError, RuntimeError):
    """Code that did not complete; smolagents shows this text to the model."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A final answer that is no JSON. It stays in the session: `type` is its class there, `text` its repr."""

    type: str
    text: str

    def __str__(self) -> str:
        return self.text


class MulliganExecutor(PythonExecutor):  # type: ignore[misc]  # smolagents has no types
    """Runs the actions of one agent in one session, which is opened with the first of them and lives until `cleanup`.

    `options` are those of `mulligan.open`, but for `tools`, which the agent brings. With `undo_on_error` an action
    that fails leaves nothing behind, in files or in memory. `timeout` is in seconds, for each action (None: the
    policy's). A context manager; `CodeAgent.cleanup` ends it too.
    """

    def __init__(
        self,
        workspace: str | os.PathLike[str] | None = None,
        *,
        undo_on_error: bool = False,
        timeout: float | None = None,
        **options: Any,
    ) -> None:
        if "tools" in options:
            raise ValueError("the tools are the agent's: CodeAgent(tools=[...])")
        self._workspace, self._options = workspace, options
        self._undo_on_error, self._timeout = undo_on_error, timeout
        self._tools: Mapping[str, Any] = {}
        self._bridged: Mapping[str, inspect.Signature] = {}
        self._variables: dict[str, str] = {}
        self._session: Session | None = None

    @property
    def session(self) -> Session:
        """What the actions run in: its timeline, undo, diff and commit are the host's. Opened here at the latest."""
        if self._session is None:
            bridges = {
                name: _bridge(name, each, self._find) for name, each in self._tools.items() if name != _FINAL
            }
            self._bridged = {name: inspect.signature(each) for name, each in bridges.items()}
            self._session = open_session(self._workspace, tools=bridges, **self._options)
            names = "".join(f"from tools import {name}\n" for name in bridges)
            self._begin(names + _SETUP)
        return self._session

    # -- for smolagents --------------------------------------------------------------------------------------------

    def send_tools(self, tools: Mapping[str, Any]) -> None:
        """What the agent may call, before each of its runs. Raises ValueError for others than at first."""
        if self._session is not None:
            wanted = {name: _signature(each) for name, each in tools.items() if name != _FINAL}
            if wanted != self._bridged:
                differing = sorted(
                    name for name in {*wanted, *self._bridged} if wanted.get(name) != self._bridged.get(name)
                )
                raise ValueError(
                    f"a session keeps the tools that it was opened with; these differ: {', '.join(differing)}. "
                    "Make another MulliganExecutor"
                )
        self._tools = dict(tools)

    def send_variables(self, variables: Mapping[str, Any]) -> None:
        """`CodeAgent.run(additional_args=...)`: as JSON. Raises TypeError for what is none."""
        for name, value in variables.items():
            if not name.isidentifier():
                raise ValueError(f"{name!r} is no name for a variable")
            try:
                self._variables[name] = json.dumps(value)
            except (TypeError, ValueError, RecursionError) as error:
                raise TypeError(
                    f"the variable {name!r} is no JSON ({error}): put it into a file of the workspace"
                ) from error

    def __call__(self, code_action: str) -> CodeOutput:
        """Raises ActionFailed with all that the model is to read."""
        session = self.session
        if self._variables:
            sent, self._variables = self._variables, {}
            lines = "".join(f"{name} = json.loads({text!r})\n" for name, text in sent.items())
            self._begin(f"import json\n{lines}")
        step = session.run(Action(code_action, "smolagents"), timeout=self._timeout)
        answered, answer = _answer(step)
        if not (answered or step.outcome.ok):
            raise ActionFailed(self._failed(step))
        result = step.outcome.result
        value = answer if answered else result and shorten(str(result.data.get("text/plain", "")))
        return CodeOutput(output=value, logs=_logs(step.outcome), is_final_answer=answered)

    def cleanup(self) -> None:
        """End the session. `session.commit()` comes before, or its files are gone."""
        if self._session is not None:
            self._session.close()

    # ----------------------------------------------------------------------------------------------------------------

    def _find(self, name: str) -> Any:
        return self._tools[name]

    def _begin(self, source: str) -> None:
        """Code of ours, which is a step like any other. Raises ActionFailed."""
        assert self._session is not None
        outcome = self._session.run(Action(source, "smolagents", "to begin with")).outcome
        if not outcome.ok:
            raise ActionFailed(f"the session could not be prepared: {outcome.text}")

    def _failed(self, step: Step) -> str:
        """What the model reads of a step that did not complete; it is taken back first, where that is wanted."""
        session, text = self.session, step.outcome.text
        if self._undo_on_error and session.timeline.cursor == step.id:
            back = session.undo()
            ours = not self._options.get("kernel")
            text += f"\n[Undone. {left_by(back.memory, ours=ours)}]"
            text += "".join(f"\n[What stands: {one_line(line)}]" for line in back.stands)
        return text

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cleanup()


def _logs(outcome: Outcome) -> str:
    """What was printed, and what we have to say, bounded and printable."""
    said = [shorten(outcome.stdout), shorten(outcome.stderr), *(f"[{note}]" for note in outcome.notes)]
    return "\n".join(each.rstrip("\n") for each in said if each)


def _answer(step: Step) -> tuple[bool, Any]:
    """Whether the action gave a final answer, and which. What it says of itself is hostile text: JSON or nothing."""
    outcome = step.outcome
    if outcome.kind != "raised" or outcome.error is None or outcome.error.name != "FinalAnswer":
        return False, None  # what was taken back has answered nothing
    if not outcome.displays:
        return False, None
    packed = outcome.displays[-1].data.get(ANSWER)
    try:
        told = json.loads(packed) if isinstance(packed, str) else None
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        return False, None
    if "value" in told:
        return True, told["value"]
    return True, Reference(one_line(str(told.get("type")))[:200], printable(str(told.get("repr"))))


def _signature(agents_tool: Any) -> inspect.Signature:
    """Of a tool, or of an agent that another one manages."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [
        inspect.Parameter(name, kind, annotation=_type(each), default=_default(each))
        for name, each in agents_tool.inputs.items()
    ]
    parameters.sort(key=lambda each: each.default is not inspect.Parameter.empty)
    return inspect.Signature(parameters)


def _type(described: Mapping[str, Any]) -> Any:
    """Where a tool takes one of several types, or a picture, it checks them itself."""
    named = described.get("type")
    found = _TYPES.get(named, Any) if isinstance(named, str) else Any
    return found | None if described.get("nullable") and found is not Any else found


def _default(described: Mapping[str, Any]) -> Any:
    return None if described.get("nullable") else inspect.Parameter.empty


def _bridge(name: str, agents_tool: Any, find: Callable[[str], Any]) -> Callable[..., Any]:
    """A function of the host's for a session's `tools`; `find` gives the tool of the run at hand."""

    signature = _signature(agents_tool)

    def call(*given: Any, **named: Any) -> Any:
        arguments = signature.bind(*given, **named).arguments
        nullable = {key for key, each in agents_tool.inputs.items() if each.get("nullable")}
        return find(name)(
            **{key: value for key, value in arguments.items() if value is not None or key not in nullable}
        )

    call.__name__ = name
    call.__doc__ = "\n".join(
        [
            str(agents_tool.description),
            *(f"{key}: {each.get('description', '')}" for key, each in agents_tool.inputs.items()),
        ]
    )
    call.__signature__ = signature  # type: ignore[attr-defined]
    call.__annotations__ = {}  # an argument may be called as one of ours
    said = declared(agents_tool)
    return tool(effect=said.effect, undo=said.undo, timeout=said.timeout)(call)
