"""A person is asked (runtime/prompt.py) while the REPL has the terminal: an action runs, or a line is being typed.

Where a line is being typed it steps aside, and is there again afterwards. A question that cannot be put is denied.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prompt_toolkit.application import Application

    from mulligan.runtime.prompt import Terminal
    from mulligan.runtime.question import Answer, Question
    from mulligan.runtime.repl.keyboard import Keyboard


class Asking:
    """`approve` is for `mulligan.open`; `typing` stands around each prompt."""

    def __init__(self, terminal: Terminal, keyboard: Keyboard) -> None:
        self._terminal, self._keyboard = terminal, keyboard
        self._state = threading.Condition()
        self._app: Application[Any] | None = None
        self._starting = False
        self._open = 0

    async def approve(self, question: Question) -> Answer:
        with self._state:
            self._state.wait_for(lambda: not self._starting)  # milliseconds
            app = self._app
            if app is None:
                self._open += 1
        if app is not None and app.loop is not None:
            aside = asyncio.run_coroutine_threadsafe(self._aside(question), app.loop)
            return await asyncio.wrap_future(aside)
        try:
            with self._keyboard.plain():
                return await self._terminal.approve(question)
        finally:
            with self._state:
                self._open -= 1
                self._state.notify_all()

    async def _aside(self, question: Question) -> Answer:
        from prompt_toolkit.application import in_terminal

        async with in_terminal():
            return await self._terminal.approve(question)

    @contextmanager
    def typing(self) -> Iterator[None]:
        """Begins when no question stands there. `began` is to be called when the application has its loop."""
        with self._state:
            self._state.wait_for(lambda: not self._open)
            self._starting = True
        try:
            yield
        finally:
            self._become(None)

    def began(self, app: Application[Any]) -> None:
        self._become(app)

    def _become(self, app: Application[Any] | None) -> None:
        with self._state:
            self._app, self._starting = app, False
            self._state.notify_all()
