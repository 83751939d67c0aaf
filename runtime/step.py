"""One action and what became of it."""

from __future__ import annotations

from collections.abc import Set
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mulligan.policies.source import Advice, advise
from mulligan.runtime.changes import FileChange, present
from mulligan.runtime.timeline import LET_GO

if TYPE_CHECKING:
    from mulligan.runtime.checkpoint import Checkpoint
    from mulligan.runtime.effects import Effect
    from mulligan.runtime.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Action:
    """Python source that somebody proposes to run, who proposed it, and why."""

    source: str
    proposer: str = "caller"
    why: str = ""

    @property
    def advice(self) -> tuple[Advice, ...]:
        """What its text seems about to do, for people. Read when it is asked for; nothing is decided by it."""
        return advise(self.source)


@dataclass(frozen=True, slots=True)
class Reach:
    """What a return to the state after this step would bring back: files "exact", memory "exact", "replayed" (by
    running actions again) or "none"; `stands` says in words what would not come back, and why. `sent` is what the step
    itself did elsewhere, which undoing it does not take back."""

    files: str
    memory: str
    stands: tuple[str, ...]
    sent: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        return self.files == self.memory == "exact" and not self.stands and not self.sent


@dataclass(frozen=True, slots=True)
class Step:
    """Its outcome is there at once; `changes` and `reach` wait for the checkpoint, which is taken while the caller
    reads the outcome (milliseconds)."""

    id: int
    action: Action
    outcome: Outcome
    settled: Future[Checkpoint | str] = field(repr=False, compare=False)
    #: the steps of the session whose files were let go; it grows
    let_go: Set[int] = field(default=frozenset(), repr=False, compare=False)
    #: the requests that it made, those that were denied among them
    effects: tuple[Effect, ...] = ()

    @property
    def duration(self) -> float:
        """Seconds that the code ran."""
        return self.outcome.duration

    @property
    def changes(self) -> tuple[FileChange, ...]:
        """Files that differ from the state before the step."""
        checkpoint = self.settled.result()
        return () if isinstance(checkpoint, str) else present(checkpoint.changes)

    @property
    def reach(self) -> Reach:
        checkpoint = self.settled.result()
        sent = tuple(str(effect) for effect in self.effects if effect.stands)
        if isinstance(checkpoint, str):
            return Reach("none", "none", (checkpoint,), sent)
        if self.id in self.let_go:
            return Reach("none", "none", (f"its files {LET_GO}",), sent)
        return replace(reach_of(checkpoint), sent=sent)


def reach_of(checkpoint: Checkpoint) -> Reach:
    memory = "exact" if checkpoint.twin and not checkpoint.rebuilt else "replayed"
    if checkpoint.anew:  # with it all processes end
        ended = tuple(f"process {child} is ended and does not come back" for child in checkpoint.children)
        return Reach("exact", "none", checkpoint.stands + ended)
    children = tuple(f"process {child} goes on as it is" for child in checkpoint.children)
    return Reach("exact", memory, checkpoint.stands + children)
