"""Commands that move the session, or write to the user's folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mulligan.runtime.errors import CommandMisused
from mulligan.runtime.repl.commands import Command, count_of, step_of, words_of

if TYPE_CHECKING:
    from mulligan.runtime.checkpoint import Restoration
    from mulligan.runtime.repl.desk import Desk


def _undo(desk: Desk, rest: str) -> None:
    _moved(desk, desk.session.undo(count_of(words_of(rest, ":undo [n]", 1), ":undo 2")))


def _redo(desk: Desk, rest: str) -> None:
    _moved(desk, desk.session.redo(count_of(words_of(rest, ":redo [n]", 1), ":redo 2")))


def _goto(desk: Desk, rest: str) -> None:
    (word,) = words_of(rest, ":goto STEP", 1, 1)
    _moved(desk, desk.session.goto(step_of(word, ":goto 3")))


def _reset(desk: Desk, rest: str) -> None:
    words_of(rest, ":reset", 0)
    _moved(desk, desk.session.reset())


def _restart(desk: Desk, rest: str) -> None:
    words_of(rest, ":restart", 0)
    step = desk.session.restart()
    desk.screen.say(
        f"step {step}: a fresh kernel on the files as they are; :undo has the variables back", "green"
    )


def _moved(desk: Desk, back: Restoration) -> None:
    desk.screen.restored(back)
    desk.mark()


def _commit(desk: Desk, rest: str) -> None:
    words_of(rest, ":commit", 0)
    folder = _folder(desk)
    done = desk.commit()
    if not (done.applied or done.conflicts or done.sent or done.held):
        return desk.screen.say(f"nothing to write: {folder} has all of it", "dim")
    desk.screen.committed(done, folder)
    if done.applied:
        desk.screen.say("  :uncommit takes it back", "dim")


def _uncommit(desk: Desk, rest: str) -> None:
    words_of(rest, ":uncommit", 0)
    desk.screen.committed(desk.uncommit(), f"{_folder(desk)}, as it was before the commit")


def _folder(desk: Desk) -> str:
    if desk.folder is None:
        raise CommandMisused(
            "there is no folder to write to: the session began with an empty one",
            hint="start it with `mulligan repl FOLDER`",
        )
    return str(desk.folder)


COMMANDS = (
    Command(":undo [n]", "takes the last step back, or the last n: files, variables, processes", _undo),
    Command(":redo [n]", "goes forward again along what was undone", _redo),
    Command(":goto STEP", "to the state after any step; 0 is the beginning", _goto, "step"),
    Command(":reset", "a clean kernel and the files as they were at the beginning", _reset),
    Command(":restart", "a fresh kernel on the files as they are; a step, which :undo takes back", _restart),
    Command(":commit", "writes what changed to your folder; nothing in it changes before", _commit),
    Command(":uncommit", "takes the last :commit back", _uncommit),
)
