"""What a command works on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mulligan.runtime.remains import KEPT

if TYPE_CHECKING:
    from mulligan.runtime.agent.agent import Agent
    from mulligan.runtime.agent.model import Model
    from mulligan.runtime.changes import FileChange
    from mulligan.runtime.commit import Commit
    from mulligan.runtime.repl.screen import Screen
    from mulligan.runtime.session import Session
    from mulligan.runtime.step import Step


@dataclass
class Desk:
    """`folder` is the user's, None where the session began with an empty one; `policy` what it was opened under.
    `run` plays an action; `reads` has a line typed, with some words before it, and is None where nobody types."""

    session: Session
    screen: Screen
    folder: Path | None
    policy: str | None
    run: Callable[[str], Step]
    reads: Callable[[str], str | None] | None = None
    #: what :ask hands its tasks to, where a model was named
    model: Model | None = None
    agent: Agent | None = None
    last: Step | None = None
    leaving: bool = False
    #: the steps at which the user's folder was as the session's
    _committed: list[int] = field(default_factory=lambda: [0])

    def uncommitted(self) -> list[FileChange]:
        """What the user's folder does not have, as far as the session has changed it."""
        return [change for change in self.session.diff(self._committed[-1]) if change.in_workspace]

    def commit(self) -> Commit:
        done = self.session.commit()
        self._committed.append(self._committed[-1] if done.conflicts else self.session.timeline.cursor)
        self.mark()
        return done

    def uncommit(self) -> Commit:
        done = self.session.uncommit()
        if len(self._committed) > 1:
            self._committed.pop()
        self.mark()
        return done

    def mark(self, uncommitted: bool | None = None) -> None:
        """Have the session's files outlive it, however it ends, while they hold what was not committed."""
        mark = self.session.folders.root / KEPT
        if bool(self.uncommitted()) if uncommitted is None else uncommitted:
            mark.touch(mode=0o600)
        else:
            mark.unlink(missing_ok=True)


def unplayed(text: str) -> Step:
    """Stands where `run` will."""
    raise RuntimeError(f"nothing plays {text!r}")
