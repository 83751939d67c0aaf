"""Running again, in a session that is new, what stood when a recording ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from mulligan.runtime.agent import prompts
from mulligan.runtime.agent.controls import find
from mulligan.runtime.agent.fence import fence
from mulligan.runtime.agent.recording import Done, Recording
from mulligan.runtime.outcome import digest
from mulligan.runtime.session import Session
from mulligan.runtime.step import Action
from mulligan.runtime.timeline import headline


def again(session: Session, standing: Sequence[Done], recording: Recording | None) -> str:
    """What the model is told of it: memory that goes back to a replay is not what it was, and where that shows is
    said."""
    with ExitStack() as stack:
        if (
            controls := find(session)
        ) is not None:  # what called final_answer calls it again, and nobody hears it
            stack.enter_context(controls.at_work(session, session.timeline.cursor, None))
        said = list(_run(session, standing, recording))
    return "\n".join([prompts.say("resumed"), *([fence("\n".join(said), "what differed")] if said else [])])


def _run(session: Session, standing: Sequence[Done], recording: Recording | None) -> Iterator[str]:
    for number, done in enumerate(standing):
        if done.sent:
            left = len(standing) - number
            yield f"the last {left} action(s) were not run again: the first of them did something elsewhere:"
            yield from done.sent
            return
        step = session.run(Action(done.source, proposer="agent", why="run again, to go on from a recording"))
        if recording is not None:
            recording.step(session, step, again=True)
        if step.outcome.kind != done.outcome:
            yield f"{headline(done.source)}: {step.outcome.kind}, and was {done.outcome}"
        elif digest(step.outcome.output) != done.digest:
            yield f"{headline(done.source)}: it gave out something else than it did"
