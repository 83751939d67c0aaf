"""What a run of an agent may take, and what it has taken."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """`turns`: replies of the model; `tokens`: of prompts and replies together; `cost` in dollars, at the prices that
    litellm knows; `wall` in seconds. None is no bound; without turns there always is one."""

    turns: int = 30
    tokens: int | None = None
    cost: float | None = None
    wall: float | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is not None and not value > 0:
                raise ValueError(f"a budget of {each.name} is above 0, not {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a run has taken until now. `cost` is None where the price of a reply is not known."""

    turns: int = 0
    tokens: int = 0
    cost: float | None = 0.0
    wall: float = 0.0

    def exceeded(self, budgets: Budgets) -> str:
        """Why there may be no further reply, or ""."""
        if self.turns >= budgets.turns:
            return f"the budget of {budgets.turns} turns is used up"
        if budgets.tokens is not None and self.tokens >= budgets.tokens:
            return f"the budget of {budgets.tokens:,} tokens is used up"
        if budgets.wall is not None and self.wall >= budgets.wall:
            return f"the budget of {budgets.wall:g} s is used up"
        if budgets.cost is None:
            return ""
        if self.cost is None:
            return f"what a reply costs is not known, so a budget of ${budgets.cost:g} cannot be kept"
        return f"the budget of ${budgets.cost:g} is used up" if self.cost >= budgets.cost else ""

    def left(self, budgets: Budgets) -> str:
        """The rest, for the model to read."""
        rest = [f"{budgets.turns - self.turns} of {budgets.turns} turns"]
        if budgets.tokens is not None:
            rest.append(f"{max(0, budgets.tokens - self.tokens):,} of {budgets.tokens:,} tokens")
        if budgets.cost is not None and self.cost is not None:
            rest.append(f"${max(0.0, budgets.cost - self.cost):.4f} of ${budgets.cost:g}")
        if budgets.wall is not None:
            rest.append(f"{max(0.0, budgets.wall - self.wall):.0f} of {budgets.wall:g} s")
        return "left: " + ", ".join(rest)

    def __str__(self) -> str:
        cost = "cost unknown" if self.cost is None else f"${self.cost:.4f}"
        return f"{self.turns} turns, {self.tokens:,} tokens, {cost}, {self.wall:.1f} s"
