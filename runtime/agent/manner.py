"""How an agent goes about its work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from mulligan.runtime.agent.budgets import Budgets
from mulligan.runtime.agent.judging import Judge
from mulligan.runtime.agent.observing import SHOWN
from mulligan.runtime.agent.retrying import Patience


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """`on_error` says what becomes of an action that failed; `timeout` in seconds is
    each action's; `shown` are the characters of one observation. A `judge` says whether an answer is accepted, at most
    `attempts` times; `ask` puts a question of the model's to a person."""

    budgets: Budgets = field(default_factory=Budgets)
    patience: Patience = field(default_factory=Patience)
    on_error: Literal["keep", "undo"] = "keep"
    timeout: float | None = None
    shown: int = SHOWN
    judge: Judge | None = None
    attempts: int = 3
    ask: Callable[[str], str] | None = None
    proposer: str = "agent"
