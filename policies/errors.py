"""The one error of this room: a policy that cannot be used."""

from __future__ import annotations


class PolicyError(ValueError):
    """A policy is wrong. `message` names the place, `hint` says what to write instead."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message
