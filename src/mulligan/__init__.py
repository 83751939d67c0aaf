"""Mulligan runs the Python that an agent writes, and can take back what it did.

with mulligan.open(workspace="data/") as session:
    step = session.run("df = load()")
    session.undo()
"""

from mulligan.policies.policy import Policy
from mulligan.runtime.checkpoint import Restoration
from mulligan.runtime.diffs.diff import Diff
from mulligan.runtime.outcome import Completed, Lost, Outcome, Raised, Refused, Reverted, TimedOut
from mulligan.runtime.pool import Pool
from mulligan.runtime.question import Answer, Question
from mulligan.runtime.session import AsyncSession, Session
from mulligan.runtime.session import open_async as aopen
from mulligan.runtime.session import open_session as open
from mulligan.runtime.step import Action, Step
from mulligan.runtime.usage import SessionUsage
from mulligan.sandbox.errors import MulliganError

__all__ = [
    "Action",
    "Answer",
    "AsyncSession",
    "Completed",
    "Diff",
    "Lost",
    "MulliganError",
    "Outcome",
    "Policy",
    "Pool",
    "Question",
    "Raised",
    "Refused",
    "Restoration",
    "Reverted",
    "Session",
    "SessionUsage",
    "Step",
    "TimedOut",
    "aopen",
    "open",
]
