"""`mulligan agent`: a task for a model, in the terminal or for programs.

The exit code is 0 where it was answered, and 1 where it was not. What it did is written to the folder with --commit,
and only where it was answered.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from mulligan.runtime.agent import served
from mulligan.runtime.agent.agent import Agent
from mulligan.runtime.agent.budgets import Budgets
from mulligan.runtime.agent.controls import agent_tools
from mulligan.runtime.agent.errors import AgentMisused, RecordingInvalid
from mulligan.runtime.agent.events import AgentEvent, Final
from mulligan.runtime.agent.lines import AgentLines
from mulligan.runtime.agent.notebook import notebook
from mulligan.runtime.agent.page import AgentPage
from mulligan.runtime.agent.recording import Recorded, Recording, read
from mulligan.runtime.agent.served import Served
from mulligan.runtime.jsonlines import JsonLines
from mulligan.runtime.prompt import Curtain
from mulligan.runtime.question import Approve
from mulligan.runtime.render import Page
from mulligan.runtime.session import Session
from mulligan.sandbox.printable import printable

DONE, FAILED = 0, 1


@dataclass(frozen=True, slots=True)
class Means:
    """What the command line has for all of its commands that open a session."""

    opened: Callable[[argparse.Namespace, Approve | None, Sequence[Callable[..., Any]]], Session]
    asking: Callable[[argparse.Namespace, Curtain], AbstractContextManager[Approve | None]]
    console: Callable[[Curtain], Console]
    finish: Callable[[Session, argparse.Namespace, Page | JsonLines, int], int]


def main(chosen: argparse.Namespace, means: Means) -> int:
    """Raises AgentMisused, RecordingInvalid and ModelUnusable, and what opening a session raises."""
    recorded = None if chosen.resume is None else read(chosen.resume)
    task, model = _task(chosen, recorded), _model(chosen, recorded)
    served.get_ready()  # litellm is imported while the session is opened
    curtain = Curtain(sys.stdout)
    console = means.console(curtain)
    view = AgentLines(sys.stdout) if chosen.json else AgentPage(console)
    started = time.monotonic()
    with ExitStack() as stack:
        approve = stack.enter_context(means.asking(chosen, curtain))
        session = stack.enter_context(means.opened(chosen, approve, agent_tools()))
        view.opened(session, chosen.workspace, time.monotonic() - started)
        path = chosen.resume or chosen.record
        recording = None if path is None else stack.enter_context(Recording.open(path))
        agent = Agent(
            session,
            model,
            on_output=view.event,
            recording=recording,
            ask=_asker(chosen, curtain),
            **_manner(chosen),
        )
        final = _play(agent, task, recorded, view.show)
        code = DONE if final.ok else FAILED
        if chosen.workspace is not None:
            code = means.finish(session, chosen, view, code)
        if chosen.keep:
            view.kept(session.id)
        view.ended(code)
    if chosen.notebook is not None and path is not None:
        _write_notebook(chosen.notebook, path)
    return code


def _play(agent: Agent, task: str, recorded: Recorded | None, show: Callable[[AgentEvent], None]) -> Final:
    with _stopping(agent):
        events = agent.events(task) if recorded is None else agent.resume(recorded, task)
        final = Final(kind="stopped")
        for event in events:
            show(event)
            if isinstance(event, Final):
                final = event
    return final


@contextmanager
def _stopping(agent: Agent) -> Iterator[None]:
    """A Ctrl-C stops the run; a second one ends this program at once."""
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: FrameType | None) -> None:
        agent.stop()
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _task(chosen: argparse.Namespace, recorded: Recorded | None) -> str:
    task = sys.stdin.read() if chosen.task == "-" else chosen.task or ""
    if chosen.notebook is not None and chosen.record is None and chosen.resume is None:
        raise AgentMisused("a notebook is made from a recording", hint="name one too: --record run.jsonl")
    if not task.strip() and (recorded is None or recorded.ended):
        ended = "its last task has ended" if recorded else "there is no task"
        raise AgentMisused(
            ended, hint='say what is to be done: mulligan agent "make totals.csv from sales.csv"'
        )
    return str(task)


def _model(chosen: argparse.Namespace, recorded: Recorded | None) -> Served:
    name = chosen.model or (recorded.model if recorded else "")
    if not name:
        hint = "--model gpt-4o, or --model openai/NAME --api-base http://localhost:8000/v1"
        raise AgentMisused("no model was named", hint=hint)
    return Served(name, api_base=chosen.api_base, stream=not chosen.no_stream)


def _manner(chosen: argparse.Namespace) -> dict[str, Any]:
    budgets = Budgets(turns=chosen.turns, tokens=chosen.tokens, cost=chosen.cost, wall=chosen.wall)
    how = {"on_error": chosen.on_error, "judge": chosen.judge, "attempts": chosen.attempts}
    return {"budgets": budgets, "timeout": chosen.timeout, **how}


def _asker(chosen: argparse.Namespace, curtain: Curtain) -> Callable[[str], str] | None:
    """Puts a question to whoever sits at the terminal; None where nobody does. What was typed before is thrown away."""
    if chosen.json or not sys.stdin.isatty():
        return None

    def ask(question: str) -> str:
        with curtain.drawn():
            print(f"\nThe agent asks: {printable(question)}", file=sys.__stderr__)
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
            return input("> ")

    return ask


def _write_notebook(path: Path, recording: Path) -> None:
    try:
        path.write_text(json.dumps(notebook(read(recording).lines), indent=1), encoding="utf-8")
    except OSError as error:
        raise RecordingInvalid(f"{path}: {error.strerror}", hint="name a file that you can write") from error
