"""What happens in a run, in order, as frozen values: what `Agent.events` yields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from mulligan.runtime.agent.budgets import Spent
from mulligan.runtime.checkpoint import Restoration
from mulligan.runtime.step import Step


@dataclass(frozen=True, slots=True)
class Thought:
    """What the model says around its actions in one reply."""

    turn: int
    text: str


@dataclass(frozen=True, slots=True)
class Acting:
    """An action is about to run: the `number`th of `count` in this reply."""

    turn: int
    source: str
    number: int = 1
    count: int = 1


@dataclass(frozen=True, slots=True)
class Acted:
    """An action has run."""

    turn: int
    step: Step


@dataclass(frozen=True, slots=True)
class Undone:
    """Steps were taken back, and `why`."""

    turn: int
    restoration: Restoration
    why: str


@dataclass(frozen=True, slots=True)
class Observed:
    """What the model is told; `images` are data URLs that go with it. Printable."""

    turn: int
    text: str
    images: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Spending:
    """What has been taken until now, and the rest, in words."""

    turn: int
    spent: Spent
    left: str


@dataclass(frozen=True, slots=True)
class Retrying:
    """The model could not be asked; it will be again in so many seconds."""

    turn: int
    why: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """How the run ended, the last event of each.

    "answered": the model called final_answer, whose argument is `value`. "said": it twice gave no action; `value` is
    its text. "stopped": a budget was used up, or it was told to stop. "failed": the model could not be asked, or never
    acted. `why` says more, printable; `steps` are the ids of the steps that it took, undone ones included.
    """

    kind: Literal["answered", "said", "stopped", "failed"]
    value: Any = None
    why: str = ""
    spent: Spent = field(default_factory=Spent)
    steps: tuple[int, ...] = ()

    @property
    def ok(self) -> bool:
        return self.kind in ("answered", "said")


AgentEvent = Thought | Acting | Acted | Undone | Observed | Spending | Retrying | Final
