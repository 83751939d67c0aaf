"""Running actions again, and whether they end and say what they did the first time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mulligan.runtime.collector import Collector
from mulligan.runtime.outcome import digest
from mulligan.runtime.timeline import Node
from mulligan.runtime.transcript import unwritten
from mulligan.sandbox.kernel import Kernel
from mulligan.sandbox.messages import Event

#: the outcome that an execution has which ended so
_KINDS = {("done", True): "completed", ("done", False): "raised"}


@dataclass(frozen=True, slots=True)
class Replay:
    """An action to be run again, within `timeout` seconds, and how it ended the first time: `error` names the class of
    its exception; `digest` is None where none was recorded, and then nothing is said of its output. `fresh`: it
    stands for a restart, and runs nothing. `typed` is what it is given when it asks for input, None for what was not
    kept."""

    step: int
    source: str
    kind: str
    error: str
    digest: str | None
    timeout: float
    fresh: bool = False
    typed: tuple[str | None, ...] = ()

    @classmethod
    def of(cls, node: Node) -> Replay:
        """One that ran out of time does so again, after about as long."""
        error, known = node.outcome.get("error"), node.outcome.get("digest")
        return cls(
            step=node.id,
            source=node.source,
            kind=node.kind,
            error=str(error.get("name", "")) if isinstance(error, dict) else "",
            digest=known if isinstance(known, str) else None,
            timeout=max(0.1, node.duration) if node.kind == "timed_out" else max(10.0, node.duration * 3),
            fresh=node.fresh,
            typed=node.typed,
        )


#: characters of what one action was given as input that the ledger has
_TYPED = 1 << 16


def bounded_answers(typed: tuple[str | None, ...]) -> list[str | None]:
    """For the ledger. What is too much is as little kept as a password."""
    size, kept = 0, []
    for value in typed[:1000]:
        size += len(value or "")
        kept.append(value if size <= _TYPED else None)
    return kept


@dataclass(frozen=True, slots=True)
class Again:
    """What came of a replay. `deadly`: it ended the kernel; `says`: how it differed from the first time, or ""."""

    deadly: bool
    says: str = ""


def run_again(kernel: Kernel, replay: Replay, on_event: Callable[[Event], None]) -> Again:
    """Run one action on the kernel as it is. Raises SandboxLost."""
    with Collector(unwritten()) as collector:

        def observe(event: Event) -> None:
            collector.add(event)
            on_event(event)

        done = kernel.execute(replay.source, observe, timeout=replay.timeout, typed=replay.typed)
        output = collector.output()
    if done.ended in ("killed", "lost"):
        return Again(deadly=True)
    kind = _KINDS.get((done.ended, done.ok), "timed_out")
    error = None if done.ok and done.ended == "done" else collector.error_of(done.error)
    if kind != replay.kind or (error.name[:500] if error else "") != replay.error:
        return Again(deadly=False, says=f"step {replay.step} ended otherwise when it was run again")
    if None in replay.typed:
        return Again(
            deadly=False, says=f"step {replay.step} was given nothing for a password when it was run again"
        )
    if replay.digest not in (None, digest(output)):
        return Again(deadly=False, says=f"step {replay.step} gave out something else when it was run again")
    return Again(deadly=False)
