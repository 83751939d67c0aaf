"""Leaving with changes that the user's folder does not have: nothing is thrown away unasked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mulligan.runtime.render import tally
from mulligan.sandbox.errors import MulliganError

if TYPE_CHECKING:
    from mulligan.runtime.changes import FileChange
    from mulligan.runtime.repl.desk import Desk

_CHOICES = "c = commit them, k = keep the session's files, d = discard them, Enter = stay: "


def may_leave(desk: Desk) -> bool:
    try:
        changes = desk.uncommitted()
    except MulliganError as error:  # what cannot be told is kept
        desk.screen.failed(error)
        _keep(desk)
        return True
    if not changes:
        desk.mark(False)
        return True
    if desk.reads is None:
        _keep(desk)
        return True
    return _asked(desk, changes)


def _asked(desk: Desk, changes: list[FileChange]) -> bool:
    assert desk.reads is not None
    what = "not in your folder:" if desk.folder is not None else "in the workspace:"
    desk.screen.line(tally(changes).__class__(what).append_text(tally(changes)))
    choices = _CHOICES if desk.folder is not None else _CHOICES.removeprefix("c = commit them, ")
    answer = desk.reads(choices)
    match (answer or "").strip().lower():
        case "c" | "commit" if desk.folder is not None:
            done = desk.commit()
            desk.screen.committed(done, str(desk.folder))
            return not done.conflicts
        case "d" | "discard":
            desk.mark(False)
            return True
        case "k" | "keep":
            _keep(desk)
            return True
    if answer is None:  # the terminal ended, or a second Ctrl-D
        _keep(desk)
        return True
    return False


def _keep(desk: Desk) -> None:
    desk.mark(True)
    id = desk.session.id
    desk.screen.say(
        f"kept: {desk.session.workspace}\n"
        f"  `mulligan diff {id}` shows what changed, `mulligan forget {id}` removes it",
        "dim",
    )
