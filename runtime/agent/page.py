"""An agent's run as people see it: what the model thinks, each action with its output as it comes, what it took."""

from __future__ import annotations

import json

from rich.text import Text

from mulligan.runtime.agent.events import (
    Acted,
    Acting,
    AgentEvent,
    Final,
    Retrying,
    Spending,
    Thought,
    Undone,
)
from mulligan.runtime.agent.recording import plain
from mulligan.runtime.outcome import shorten
from mulligan.runtime.render import Page
from mulligan.sandbox.printable import one_line, printable

#: lines of an action's source that are shown
SOURCE = 40


class AgentPage(Page):
    """Its `show` is called with each event, in order; `event` with what actions give out."""

    def show(self, event: AgentEvent) -> None:
        match event:
            case Thought(text=text):
                self._print(text, "italic")
            case Acting(source=source):
                self._source(source)
            case Acted(step=step):
                self.step(step.id, step)
            case Undone(restoration=back):
                self.restored(back)
            case Retrying(why=why, seconds=seconds):
                self._print(f"{one_line(why)}; asked again in {seconds:.1f} s", "yellow")
            case Spending(left=left):
                self._print(f"  {left}", "dim")
            case Final():
                self._final(event)

    def _source(self, source: str) -> None:
        lines = source.split("\n")
        shown = lines[:SOURCE] + [f"… {len(lines) - SOURCE} more lines"] * (len(lines) > SOURCE)
        self._console.print()
        for line in shown:
            self._console.print(Text(f"  │ {printable(line)}", "cyan"), soft_wrap=True)

    def _final(self, final: Final) -> None:
        self._console.print()
        if final.ok:
            self._print(spelt(final), "bold")
        else:
            self._print(f"{final.kind}: {final.why}", "bold red")
        self._print(str(final.spent), "dim")

    def _print(self, text: str, style: str) -> None:
        self._console.print(Text(printable(text), style), soft_wrap=True)


def spelt(final: Final) -> str:
    """The answer, for people: a text as it is, all else as JSON where that says all of it."""
    if isinstance(final.value, str):
        return shorten(final.value)
    value, exact = plain(final.value)
    return shorten(json.dumps(value, indent=2, ensure_ascii=False) if exact else str(value))
