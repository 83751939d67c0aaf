"""Mulligan runs the Python that an agent writes, and can take back what it did.

with mulligan.open(workspace="data/") as session:
    step = session.run("df = load()")
    session.undo()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mulligan.policies.policy import Policy
    from mulligan.runtime.agent.agent import Agent
    from mulligan.runtime.agent.budgets import Budgets
    from mulligan.runtime.agent.controls import agent_tools
    from mulligan.runtime.checkpoint import Restoration
    from mulligan.runtime.databases.database import Database
    from mulligan.runtime.diffs.diff import Diff
    from mulligan.runtime.mcp.servers import MCPServer
    from mulligan.runtime.outcome import Completed, Lost, Outcome, Raised, Refused, Reverted, TimedOut
    from mulligan.runtime.pool import Pool
    from mulligan.runtime.question import Answer, Question
    from mulligan.runtime.session import AsyncSession, Session
    from mulligan.runtime.session import open_async as aopen
    from mulligan.runtime.session import open_session as open
    from mulligan.runtime.step import Action, Step
    from mulligan.runtime.usage import SessionUsage
    from mulligan.sandbox.errors import MulliganError
    from mulligan.sandbox.tools.declared import tool

#: Where each name is from. It is imported when it is first asked for: the command line and what Jupyter loads of ours
#: import this package too, and have no use for all of it.
_HOMES = {
    "Action": "runtime.step",
    "Agent": "runtime.agent.agent",
    "Answer": "runtime.question",
    "AsyncSession": "runtime.session",
    "Budgets": "runtime.agent.budgets",
    "Completed": "runtime.outcome",
    "Database": "runtime.databases.database",
    "Diff": "runtime.diffs.diff",
    "Lost": "runtime.outcome",
    "MCPServer": "runtime.mcp.servers",
    "MulliganError": "sandbox.errors",
    "Outcome": "runtime.outcome",
    "Policy": "policies.policy",
    "Pool": "runtime.pool",
    "Question": "runtime.question",
    "Raised": "runtime.outcome",
    "Refused": "runtime.outcome",
    "Restoration": "runtime.checkpoint",
    "Reverted": "runtime.outcome",
    "Session": "runtime.session",
    "SessionUsage": "runtime.usage",
    "Step": "runtime.step",
    "TimedOut": "runtime.outcome",
    "agent_tools": "runtime.agent.controls",
    "aopen": "runtime.session:open_async",
    "open": "runtime.session:open_session",
    "tool": "sandbox.tools.declared",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, renamed = _HOMES[name].partition(":")
    found = getattr(import_module(f"{__name__}.{module}"), renamed or name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


__all__ = [
    "Action",
    "Agent",
    "Answer",
    "AsyncSession",
    "Budgets",
    "Completed",
    "Database",
    "Diff",
    "Lost",
    "MCPServer",
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
    "agent_tools",
    "aopen",
    "open",
    "tool",
]
