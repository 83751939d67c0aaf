"""`:ask`: hands a task to a model (runtime/agent). What it does are steps of this session, which `:undo` takes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mulligan.runtime.errors import CommandMisused
from mulligan.runtime.repl.commands import Command
from mulligan.runtime.repl.running import interrupting

if TYPE_CHECKING:
    from mulligan.runtime.agent.events import AgentEvent
    from mulligan.runtime.repl.desk import Desk


def _ask(desk: Desk, rest: str) -> None:
    from mulligan.runtime.agent.agent import Agent

    if not rest:
        raise CommandMisused("there is no task", hint="write :ask TEXT, such as :ask what is in sales.csv?")
    if desk.model is None:
        raise CommandMisused("no model was named", hint="begin with `mulligan repl --model gpt-4o`")
    if desk.agent is None:
        desk.agent = Agent(desk.session, desk.model, on_output=desk.screen.event)
    before = desk.session.timeline.cursor
    with interrupting(desk.agent.stop):
        for event in desk.agent.events(rest):
            _show(desk, event)
    desk.screen.say(f"  :goto {before} takes all of it back", "dim")


def _show(desk: Desk, event: AgentEvent) -> None:
    from mulligan.runtime.agent.events import Acted, Acting, Final, Retrying, Thought, Undone
    from mulligan.runtime.agent.page import spelt

    screen = desk.screen
    match event:
        case Thought(text=text):
            screen.say(text, "italic")
        case Acting(source=source):
            screen.say("\n".join(f"  │ {line}" for line in source.split("\n")), "cyan")
            screen.begin(len(desk.session.timeline.nodes))
        case Acted(step=step):
            screen.step(step.id, step)
            desk.last = step
            if any(change.in_workspace for change in step.changes):
                desk.mark(True)
        case Undone(restoration=back):
            screen.restored(back)
            desk.mark()
        case Retrying(why=why, seconds=seconds):
            screen.say(f"{why}; asked again in {seconds:.1f} s", "yellow")
        case Final():
            screen.say(
                spelt(event) if event.ok else f"{event.kind}: {event.why}", "bold" if event.ok else "bold red"
            )
            screen.say(str(event.spent), "dim")


COMMANDS = (Command(":ask TEXT", "hands a task to a model; each of its steps can be undone", _ask),)
