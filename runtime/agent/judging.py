"""Undo-and-retry: an answer that its judge does not accept is taken back with all that was done for it.

A judge is a function of yours, given the session and the answer, that returns True or "" for yes, and False or what is
wrong for no (a failed assertion is a no as well); or a command, which is run in the sandbox, in a kernel that knows
nothing of what the model's code left in the memory, and whose exit code is the verdict; `python` is the session's. A
command believes the files: protect those that it judges by.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from mulligan.runtime.outcome import shorten
from mulligan.runtime.session import Session
from mulligan.runtime.step import Action

Judge = Callable[[Session, Any], str | bool]

#: characters of what a judge says against an answer
SAID = 4000

_COMMAND = """
import subprocess as _subprocess, sys as _sys
_words = {words!r}
if _words[0] in ("python", "python3"):
    _words[0] = _sys.executable
_ran = _subprocess.run(_words, stdout=_subprocess.PIPE, stderr=_subprocess.STDOUT)
print(_ran.stdout.decode("utf-8", "replace"))
if _ran.returncode:
    raise RuntimeError(f"exit code {{_ran.returncode}}")
"""


def by_command(command: str, timeout: float | None) -> Judge:
    """Raises ValueError for quotes that do not close."""
    words = shlex.split(command)
    if not words:
        raise ValueError("a judge's command is not empty")

    def judge(session: Session, value: Any) -> str:
        here = session.timeline.cursor
        session.restart()
        action = Action(_COMMAND.format(words=words), proposer="judge", why=command)
        outcome = session.run(action, timeout=timeout).outcome
        session.goto(here)
        if outcome.ok:
            return ""
        said = outcome.stdout if outcome.kind == "raised" and outcome.stdout.strip() else outcome.text
        return f"{command}:\n{shorten(said, SAID)}"

    return judge


def verdict(judge: Judge, session: Session, value: Any) -> str:
    """What is wrong with the answer, or "". Raises TypeError for a judge that says neither yes nor no."""
    try:
        said = judge(session, value)
    except AssertionError as error:
        return str(error) or "an assertion of its judge failed"
    if said is True or said == "":
        return ""
    if said is False:
        return "it was not accepted"
    if not isinstance(said, str):
        raise TypeError(f"a judge returns True, or what is wrong as text, not {type(said).__name__}")
    return said
