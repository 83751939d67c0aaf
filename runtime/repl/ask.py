"""`:ask`: the place of the agent in the REPL. What it does are steps of this session, which `:undo` takes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mulligan.runtime.errors import CommandMisused
from mulligan.runtime.repl.commands import Command

if TYPE_CHECKING:
    from mulligan.runtime.repl.desk import Desk


def _ask(desk: Desk, rest: str) -> None:
    raise CommandMisused(
        ":ask has no agent to hand the task to yet", hint="the agent loop is planned, not there"
    )


COMMANDS = (Command(":ask TEXT", "hands a task to a model (not there yet)", _ask),)
