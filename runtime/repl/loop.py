"""The loop: read a line, do what it says, show what came of it. No line ends it but the one that leaves."""

from __future__ import annotations

import re
from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING

from mulligan.policies.errors import PolicyError
from mulligan.runtime.repl.dumb import DumbEditor
from mulligan.runtime.repl.words import is_command, is_question
from mulligan.sandbox.errors import MulliganError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mulligan.runtime.repl.asking import Asking
    from mulligan.runtime.repl.desk import Desk
    from mulligan.runtime.repl.editor import Editor
    from mulligan.runtime.repl.keyboard import Keyboard
    from mulligan.runtime.repl.opening import Opening
    from mulligan.runtime.repl.screen import Screen
    from mulligan.runtime.session import Session
    from mulligan.runtime.step import Step

#: what people type to leave
_LEAVES = {"exit", "quit", "exit()", "quit()"}
_NAME = re.compile(r"\?{0,2}\s*([^\s?][^?]*?)\s*(\?{0,2})")


class Repl:
    """In a terminal."""

    def __init__(
        self,
        opening: Opening,
        editor: Editor | DumbEditor,
        screen_of: Callable[[], Screen],
        keyboard: Keyboard,
        asking: Asking | None,
        desk_of: Callable[[Session, Screen], Desk],
    ) -> None:
        """What is given as a function takes long to import, and is wanted only when there is something to show."""
        self._opening, self._editor, self._screen_of = opening, editor, screen_of
        self._keyboard, self._asking = keyboard, asking
        self._desk_of = desk_of
        self._desk: Desk | None = None

    def live(self) -> int:
        """Until somebody leaves; the exit code. Raises what opening the session raises."""
        with self._keyboard.quiet():
            return self._live()

    def _live(self) -> int:
        if isinstance(self._editor, DumbEditor):
            self._opening.start()
        else:
            self._opening.then(partial(self._on_opened, self._editor))
        while self._desk is None or not self._desk.leaving:
            try:
                text = self._read()
            except KeyboardInterrupt:
                continue
            except EOFError:
                text = ":quit"
            if text.strip():
                self._do(text)
        return 0

    def _read(self) -> str:
        if isinstance(self._editor, DumbEditor):
            self._desk_now()
            return self._editor.read()
        typing = self._asking.typing() if self._asking is not None else nullcontext()
        with typing:
            return self._editor.read(partial(self._began, self._editor))

    def _began(self, editor: Editor) -> None:
        if self._asking is not None:
            self._asking.began(editor.prompt.app)
        if self._desk is None:
            self._take_up(editor)

    # -- the session, which may come while a line is typed ----------------------------------------------------

    def _on_opened(self, editor: Editor) -> None:
        """On the thread that opened it."""
        app = editor.prompt.app
        if app.loop is not None and app.is_running:
            with suppress(RuntimeError):  # it is over
                app.loop.call_soon_threadsafe(self._take_up, editor)

    def _take_up(self, editor: Editor) -> None:
        """While a line is typed: show the banner above it, or end it where there will be no session."""
        from prompt_toolkit.application import run_in_terminal

        if self._desk is not None or not self._opening.done:
            return
        if self._opening.ready is None:
            editor.prompt.app.exit(exception=EOFError)
            return
        run_in_terminal(self._desk_now)
        editor.refresh()

    def _desk_now(self) -> Desk:
        """Waits for the session. The banner is shown once."""
        if self._desk is None:
            self._opening.start()
            session = self._opening.wait()
            from rich.text import Text

            from mulligan.runtime.repl import banner

            self._desk = self._desk_of(session, self._screen_of())
            self._desk.screen.print(*banner.lines(self._desk), Text())
        return self._desk

    # -- a line ------------------------------------------------------------------------------------------------

    def _do(self, text: str) -> None:
        desk = self._desk_now()
        try:
            self._one(desk, text)
        except (MulliganError, PolicyError) as error:
            desk.screen.failed(error)
        except KeyboardInterrupt:
            desk.screen.say("interrupted; what was begun is finished before the next line", "yellow")

    def _one(self, desk: Desk, text: str) -> None:
        if text.strip() in _LEAVES:
            text = ":quit"
        if is_command(text):
            from mulligan.runtime.repl import leaving
            from mulligan.runtime.repl.commands import perform

            perform(desk, text)
            if desk.leaving:
                desk.leaving = leaving.may_leave(desk)
        elif is_question(text):
            explain(desk, text)
        else:
            desk.run(text)


def explain(desk: Desk, text: str) -> None:
    found = _NAME.fullmatch(text.strip())
    name = found[1] if found else text.strip("? ")
    detail = int("??" in text)
    described = desk.session.inspect(name, detail=detail)
    if not described:
        return desk.screen.say(f"nothing is known of {name}", "yellow")
    desk.screen.described(described)


def play(desk: Desk, text: str, reads: Callable[[str, bool], str | None] | None) -> Step:
    """An action that was typed."""
    from mulligan.runtime.repl.running import run

    step = run(desk.session, text, desk.screen, reads)
    desk.last = step
    if any(change.in_workspace for change in step.changes):
        desk.mark(True)
    return step
