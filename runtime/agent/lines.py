"""An agent's run for programs: the objects of runtime/jsonlines.py, a line each, and besides these

thought      turn, text
acting       turn, number, count, source
observed     turn, text (what the model was told), images (how many)
spent        turn, turns, tokens, cost (null where it is not known), wall, left (in words)
retrying     turn, why, seconds
undone       turn, why; the restoration follows
final        kind ("answered", "said", "stopped" or "failed"), value, exact, why, steps, turns, tokens, cost, wall
"""

from __future__ import annotations

from dataclasses import asdict

from mulligan.runtime.agent.events import (
    Acted,
    Acting,
    AgentEvent,
    Final,
    Observed,
    Retrying,
    Spending,
    Thought,
    Undone,
)
from mulligan.runtime.agent.recording import plain
from mulligan.runtime.jsonlines import JsonLines


class AgentLines(JsonLines):
    def show(self, event: AgentEvent) -> None:
        match event:
            case Thought(turn=turn, text=text):
                self._write("thought", turn=turn, text=text)
            case Acting(turn=turn, source=source, number=number, count=count):
                self._action = number
                self._write("acting", turn=turn, number=number, count=count, source=source)
            case Acted(step=step):
                self.step(self._action, step)
            case Observed(turn=turn, text=text, images=images):
                self._write("observed", turn=turn, text=text, images=len(images))
            case Undone(turn=turn, restoration=back, why=why):
                self._write("undone", turn=turn, why=why)
                self.restored(back)
            case Spending(turn=turn, spent=spent, left=left):
                self._write("spent", turn=turn, **asdict(spent), left=left)
            case Retrying(turn=turn, why=why, seconds=seconds):
                self._write("retrying", turn=turn, why=why, seconds=seconds)
            case Final(kind=kind, why=why, spent=spent, steps=steps):
                value, exact = plain(event.value)
                spending = asdict(spent)
                self._write(
                    "final", how=kind, value=value, exact=exact, why=why, steps=list(steps), **spending
                )
