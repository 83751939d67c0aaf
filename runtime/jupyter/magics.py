"""`%undo` and its like: lines that move the session, answered on the host.

Only a client, which has the key, can send one. Code in the sandbox that runs such a magic finds none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from mulligan.runtime.commit import Commit
from mulligan.runtime.errors import MagicMisused, NothingToRedo, NothingToUndo
from mulligan.runtime.jupyter import page
from mulligan.runtime.jupyter.page import HIDDEN, Line, Shown
from mulligan.runtime.remains import KEPT
from mulligan.runtime.session import Session

HELP = {
    "undo": ("%undo [n]", "Takes the last cell back, or the last n: files, variables and processes."),
    "redo": ("%redo [n]", "Goes forward again along what was undone."),
    "timeline": ("%timeline", "Shows the tree of steps, and where you are in it. Nothing is ever erased."),
    "goto": (
        "%goto STEP",
        "To the state after any step, or to a checkpoint that has a name. 0 is the beginning.",
    ),
    "checkpoint": ("%checkpoint NAME", "Gives the state that you are in a name, for %goto and %diff."),
    "diff": (
        "%diff [A [B]]",
        "What differs in the files between two steps: from the beginning, or A, to here, or B.",
    ),
    "commit": ("%commit", "Writes what changed to your folder. Nothing in it changes before."),
    "uncommit": ("%uncommit", "Takes the last %commit back."),
    "reach": ("%reach [STEP]", "What a return to here, or to a step, would bring back, and what not."),
    "mulligan": ("%mulligan", "This list."),
}
_LINE = re.compile(r"\?{0,2}%(?P<name>\w+)(?P<rest>[^\w].*)?", re.DOTALL)
_NAME = re.compile(r"[^\W\d][\w.-]{0,79}")


def help_text(name: str) -> str:
    usage, words = HELP[name]
    return f"{usage}\n    {words}"


def find_magic(code: str) -> Callable[[Magics], Shown] | None:
    """What a cell asks for that begins with one of our magics; None for one that is the sandbox's."""
    lines = [line.strip() for line in code.split("\n")]
    lines = [line for line in lines if line and not line.startswith("#")]
    found = _LINE.fullmatch(lines[0]) if lines else None
    if found is None or (name := found["name"]) not in HELP:
        return None
    rest = (found["rest"] or "").strip()
    if lines[0].startswith("?") or rest.strip("?") != rest:
        return lambda magics: Shown((Line(help_text(name)),))
    if len(lines) > 1:
        return partial(_refuse, f"%{name} stands alone in its cell: nothing was run")
    return lambda magics: magics.run(name, rest.split())


def _refuse(why: str, magics: Magics) -> Shown:
    raise MagicMisused(why, hint="put it in a cell of its own")


class Magics:
    """Of one session. Used by the cells' thread alone."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._names: dict[str, int] = {}
        self._committed = [0]
        self._looked_at = (0, 0)

    def run(self, name: str, words: list[str]) -> Shown:
        """Raises MulliganError."""
        most = {"diff": 2, "timeline": 0, "commit": 0, "uncommit": 0, "mulligan": 0}.get(name, 1)
        least = 1 if name in ("goto", "checkpoint") else 0
        if not least <= len(words) <= most:
            raise MagicMisused(f"that is not how it is used: {HELP[name][0]}", hint=HELP[name][1])
        work: Callable[..., Shown] = getattr(self, f"_{name}")
        return work(*words)

    # -- moving --------------------------------------------------------------------------------------------------

    def _undo(self, count: str = "1") -> Shown:
        """Cells are counted, and what programs ran unseen in between goes back with them."""
        n, timeline = _number(count, "undo"), self._session.timeline
        cells = [step for step in timeline.path(timeline.cursor)[1:] if self._is_cell(step)]
        if n > len(cells):
            raise NothingToUndo(
                f"cannot undo {n}: here are {len(cells)} to undo", hint="%timeline shows them"
            )
        target = timeline.node(cells[-n]).parent or 0
        back = self._session.undo(to=target)
        return page.show_restoration(back, self._session.timeline, f"took back {_cells(n)}")

    def _redo(self, count: str = "1") -> Shown:
        n, forward = _number(count, "redo"), self._session.timeline.forward
        places = [at for at, step in enumerate(forward) if self._is_cell(step)]
        if n > len(places):
            raise NothingToRedo(
                f"cannot redo {n}: here are {len(places)} to redo",
                hint="%goto reaches every step of %timeline",
            )
        steps = places[n] if n < len(places) else len(forward)
        back = self._session.redo(steps)
        return page.show_restoration(back, self._session.timeline, f"did {_cells(n)} again")

    def _goto(self, step: str) -> Shown:
        back = self._session.goto(self._step(step))
        return page.show_restoration(back, self._session.timeline, "went there")

    def _is_cell(self, step: int) -> bool:
        return self._session.timeline.node(step).proposer != HIDDEN

    def _step(self, word: str) -> int:
        if word in self._names:
            return self._names[word]
        if word.isdecimal() and len(word) < 10:
            return self._session.timeline.node(int(word)).id
        known = ", ".join(sorted(self._names)) or "none so far"
        raise MagicMisused(
            f"no step or checkpoint is called {word!r}", hint=f"checkpoints with names: {known}"
        )

    # -- looking -------------------------------------------------------------------------------------------------

    def _timeline(self) -> Shown:
        return page.show_timeline(self._session.timeline, self._names)

    def _checkpoint(self, name: str) -> Shown:
        if not _NAME.fullmatch(name):
            raise MagicMisused(f"{name!r} cannot be a name", hint="begin with a letter; no spaces")
        step = self._names[name] = self._session.timeline.cursor
        note = {"step": step, "name": name}
        self._session._do(lambda: self._session._story.note("named", note)).result()
        return Shown((Line(f"step {step} is called {name} now; %goto {name} returns to it"),))

    def _diff(self, *words: str) -> Shown:
        return page.show_diff(self._session.diff(*map(self._step, words)))

    def _reach(self, word: str = "") -> Shown:
        step = self._step(word) if word else self._session.timeline.cursor
        return page.show_reach(step, self._session.reach(step))

    def _mulligan(self) -> Shown:
        lines = [Line("Each cell is a step that can be taken back. Alone in a cell:", "head")]
        lines += [Line(f"  {usage:18}{words}") for usage, words in HELP.values()]
        if self._session._story.confined.other:
            lines.append(Line("This kernel is not Mulligan's own: files go back, variables do not.", "~"))
        return Shown.of(lines)

    # -- the user's folder ----------------------------------------------------------------------------------------

    def _commit(self) -> Shown:
        return page.show_commit(self.commit(), "written to your folder")

    def commit(self) -> Commit:
        done = self._session.commit()
        self._committed.append(self._committed[-1] if done.conflicts else self._session.timeline.cursor)
        return done

    def _uncommit(self) -> Shown:
        done = self._session.uncommit()
        if len(self._committed) > 1:
            self._committed.pop()
        return page.show_commit(done, "taken back from your folder")

    def keep_changes(self) -> int:
        """Have the session's files outlive it while they hold what was not committed; how many changes these are."""
        now = (self._session.timeline.cursor, self._committed[-1])
        if now != self._looked_at:
            self._looked_at = now
            mark = self._session.folders.root / KEPT
            self.uncommitted = sum(change.in_workspace for change in self._session.diff(now[1]))
            if self.uncommitted:
                mark.touch(mode=0o600)
            else:
                mark.unlink(missing_ok=True)
        return self.uncommitted

    uncommitted = 0


def _number(word: str, name: str) -> int:
    if not word.isdecimal() or int(word[:9]) == 0 or len(word) > 9:
        raise MagicMisused(f"{word!r} is not a number of cells", hint=f"%{name} 2, say")
    return int(word)


def _cells(count: int) -> str:
    return "the last cell" if count == 1 else f"{count} cells"
