"""Asking again where a failure may pass: a few times, longer apart each time, and not before the server wants it."""

from __future__ import annotations

import random
from dataclasses import dataclass

from mulligan.runtime.agent.errors import ModelFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """`tries` of one reply in all; between them `first` seconds, then twice as long each time, at most `longest`. A
    server that asks for a longer wait than `longest` has its way once: nobody is asked before, and so no more."""

    tries: int = 5
    first: float = 1.0
    longest: float = 60.0

    def wait(self, failure: ModelFailed, failed: int) -> float | None:
        """Seconds until the next try after so many that failed; None where there is none."""
        if not failure.passing or failed >= self.tries:
            return None
        if failure.after is not None:
            return failure.after if failure.after <= self.longest else None
        return min(self.longest, self.first * 2.0 ** (failed - 1)) * (0.5 + random.random() / 2)
