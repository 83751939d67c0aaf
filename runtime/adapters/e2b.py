"""For those who move over from E2B's code interpreter: its `Sandbox.run_code`, on a session here.

    with Sandbox.create(workspace="data/") as sandbox:
        execution = sandbox.run_code("x = 1; x", on_stdout=print)
        print(execution.text, execution.error)
        sandbox.undo()

What is there: `create`, `run_code` with its callbacks, `Execution` with results, logs and error, `kill`. What is not:
other languages, contexts, `files` and `commands`: code does both, and `session` has the rest of what Mulligan does.
Where an action was ended by its deadline or by the policy, `error` names that; E2B raises, and loses the sandbox.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, Self

from mulligan.runtime.checkpoint import Restoration
from mulligan.runtime.outcome import Outcome
from mulligan.runtime.session import Session, open_session
from mulligan.runtime.step import Action
from mulligan.sandbox.messages import Display, Event, Stream
from mulligan.sandbox.messages import Result as Value

_FORMATS = {
    "text/plain": "text",
    "text/html": "html",
    "text/markdown": "markdown",
    "image/svg+xml": "svg",
    "image/png": "png",
    "image/jpeg": "jpeg",
    "application/pdf": "pdf",
    "text/latex": "latex",
    "application/json": "json",
    "application/javascript": "javascript",
}


@dataclass(frozen=True, slots=True)
class OutputMessage:
    """A piece of output as it comes; `timestamp` in nanoseconds since 1970, of its arrival here."""

    line: str
    timestamp: int
    error: bool = False

    def __str__(self) -> str:
        return self.line


@dataclass(frozen=True, slots=True)
class ExecutionError:
    """An exception that left the code; or, named "TimedOut", "Refused", "Reverted" or "Lost", what ended it."""

    name: str
    value: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Result:
    """What was displayed, or the value of the last expression (`is_main_result`). Pictures are base64; what has no
    field of its own is in `extra`, by media type."""

    text: str | None = None
    html: str | None = None
    markdown: str | None = None
    svg: str | None = None
    png: str | None = None
    jpeg: str | None = None
    pdf: str | None = None
    latex: str | None = None
    json: Any = None
    javascript: str | None = None
    is_main_result: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Mapping[str, Any], *, main: bool) -> Result:
        known = {_FORMATS[kind]: _typed(kind, value) for kind, value in data.items() if kind in _FORMATS}
        extra = {kind: value for kind, value in data.items() if kind not in _FORMATS}
        return cls(**known, is_main_result=main, extra=extra)

    def formats(self) -> Iterator[str]:
        """The names of the fields that it has, and of what is in `extra`."""
        yield from (name for name in _FORMATS.values() if getattr(self, name) is not None)
        yield from self.extra

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


@dataclass(frozen=True, slots=True)
class Logs:
    """What was printed, by lines; of very much the head and the tail, as `Outcome.stdout` has it."""

    stdout: list[str] = field(default_factory=list)
    stderr: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Execution:
    """`step` is the one that the code has become."""

    results: list[Result]
    logs: Logs
    error: ExecutionError | None
    execution_count: int | None
    step: int

    @property
    def text(self) -> str | None:
        """Of the value of the last expression."""
        return next((each.text for each in self.results if each.is_main_result), None)

    def to_json(self) -> str:
        return json.dumps(asdict(self))


class Sandbox:
    """Made by `create`; a context manager."""

    def __init__(self, session: Session) -> None:
        #: undo, timeline, diff, commit
        self.session = session

    @classmethod
    def create(cls, workspace: str | os.PathLike[str] | None = None, **options: Any) -> Self:
        """`options` are those of `mulligan.open`, and so is what this raises."""
        return cls(open_session(workspace, **options))

    @property
    def sandbox_id(self) -> str:
        return self.session.id

    def run_code(
        self,
        code: str,
        language: str | None = None,
        *,
        on_stdout: Callable[[OutputMessage], object] | None = None,
        on_stderr: Callable[[OutputMessage], object] | None = None,
        on_result: Callable[[Result], object] | None = None,
        on_error: Callable[[ExecutionError], object] | None = None,
        timeout: float | None = None,
    ) -> Execution:
        """Run code; what it raises is in the answer's `error`. `timeout` is in seconds (None: the policy's).

        Output goes to the callbacks as it comes, on the session's thread; what a callback raises is raised when the
        code has ended, and until then none is called.
        """
        if language not in (None, "python"):
            raise ValueError(f"{language!r} is not run here; open a sandbox with kernel={language!r} for it")
        show = {"stdout": on_stdout, "stderr": on_stderr}
        raised: list[BaseException] = []

        def watch(event: Event) -> None:
            if not raised:
                try:
                    tell(event)
                except BaseException as error:
                    raised.append(error)

        def tell(event: Event) -> None:
            match event:
                case Stream(name=name, text=text):
                    if (callback := show.get(name)) is not None:
                        callback(OutputMessage(text, time.time_ns(), name == "stderr"))
                case Display(data=data) | Value(data=data) if on_result is not None:
                    on_result(Result.of(data, main=isinstance(event, Value)))

        step = self.session.run(Action(code, "run_code"), timeout=timeout, on_event=watch)
        if raised:
            raise raised[0]
        outcome = step.outcome
        error = _error(outcome)
        if error is not None and on_error is not None:
            on_error(error)
        results = [Result.of(each.data, main=False) for each in outcome.displays]
        if outcome.result is not None:
            results.append(Result.of(outcome.result.data, main=True))
        logs = Logs(outcome.stdout.splitlines(keepends=True), outcome.stderr.splitlines(keepends=True))
        count = outcome.result.execution_count if outcome.result is not None else None
        return Execution(results, logs, error, count, step.id)

    def undo(self, n: int = 1) -> Restoration:
        """Take back the last `n` runs of code: files and memory."""
        return self.session.undo(n)

    def kill(self) -> bool:
        """End it. `session.commit()` comes before, or its files are gone."""
        self.session.close()
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def _error(outcome: Outcome) -> ExecutionError | None:
    if outcome.kind == "raised" and outcome.error is not None:
        error = outcome.error
        return ExecutionError(error.name, error.value, "\n".join(error.traceback))
    return None if outcome.ok else ExecutionError(type(outcome).__name__, outcome.notice, "")


def _typed(kind: str, value: Any) -> Any:
    """What the code inside displays may be anything: a text is a text."""
    return value if kind == "application/json" or isinstance(value, str) else json.dumps(value)
