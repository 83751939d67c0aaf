"""A session as LangChain's tools, for LangGraph's agents and all else that calls them.

    with mulligan.open("data/") as session:
        agent = create_react_agent(model, tools_of(session))

A model reads what an outcome's `text` says; the step itself is the tool message's `artifact`, which no model sees.
"""

from __future__ import annotations

from langchain_core.tools import BaseTool, StructuredTool

from mulligan.runtime.checkpoint import Restoration
from mulligan.runtime.errors import NothingToUndo
from mulligan.runtime.session import Session
from mulligan.runtime.step import Action, Step
from mulligan.sandbox.errors import MulliganError
from mulligan.sandbox.printable import one_line


def tools_of(session: Session, *, timeout: float | None = None) -> list[BaseTool]:
    """`run_python` and `undo`, on one session, in the order of their calls. `timeout` is in seconds, for each action
    (None: the policy's). The session stays the caller's, who closes it."""

    def run_python(code: str) -> tuple[str, Step | None]:
        try:
            step = session.run(Action(code, "langchain"), timeout=timeout)
        except MulliganError as error:
            return _said(error), None
        return f"[step {step.id}: {step.outcome.kind}]\n{step.outcome.text}", step

    def undo(steps: int = 1) -> tuple[str, Restoration | None]:
        try:
            if steps < 1:
                raise NothingToUndo(f"{steps} steps cannot be undone", hint="give a number from 1 on")
            back = session.undo(steps)
        except MulliganError as error:
            return _said(error), None
        return _restored(back), back

    return [
        StructuredTool.from_function(
            run_python, description=_RUN, response_format="content_and_artifact", parse_docstring=False
        ),
        StructuredTool.from_function(
            undo, description=_UNDO, response_format="content_and_artifact", parse_docstring=False
        ),
    ]


_RUN = (
    "Runs Python in a sandbox. Variables, imports and files stay for the next call. Returns what was printed, the "
    "value of the last expression, or the traceback. Each call is a step that `undo` can take back."
)
_UNDO = (
    "Takes back the last steps of run_python: files and variables are again as they were before them. Returns what "
    "came back, and what did not."
)


def _restored(back: Restoration) -> str:
    paths = ", ".join(one_line(str(change)) for change in back.restored[:50])
    more = f" and {len(back.restored) - 50} more" if len(back.restored) > 50 else ""
    lines = [f"[back at step {back.step}; memory: {back.memory}; files put back: {paths or 'none'}{more}]"]
    return "\n".join([*lines, *(f"[what stands: {one_line(line)}]" for line in back.stands)])


def _said(error: MulliganError) -> str:
    return f"[{one_line(error.message)}" + (f"; {one_line(error.hint)}]" if error.hint else "]")
