"""The session while it comes into being on a thread of its own, so that the prompt need not wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mulligan.runtime.importing import Importing
    from mulligan.runtime.session import Session


class Opening:
    """`open_session` is given a function that is told how far the folder is brought in."""

    def __init__(self, open_session: Callable[[Callable[[Importing], None]], Session]) -> None:
        self._open = open_session
        self._done: Future[Session] = Future()
        self._far: Importing | None = None
        self._begun = False
        self._thread = threading.Thread(target=self._work, name="mulligan-opening", daemon=True)

    def start(self) -> None:
        """Once; what comes later is of no effect."""
        if not self._begun:
            self._begun = True
            self._thread.start()

    def _work(self) -> None:
        try:
            self._done.set_result(self._open(self._progress))
        except BaseException as error:
            self._done.set_exception(error)

    def _progress(self, now: Importing) -> None:
        self._far = now

    def then(self, call: Callable[[], None]) -> None:
        """Call it when the session is there, or cannot be had; from whatever thread."""
        self._done.add_done_callback(lambda _: call())

    @property
    def done(self) -> bool:
        """Whether it is there, or cannot be had."""
        return self._done.done()

    @property
    def ready(self) -> Session | None:
        """The session, if it is there by now."""
        return self._done.result() if self._done.done() and self._done.exception() is None else None

    def wait(self, timeout: float | None = None) -> Session:
        """Raises whatever opening it has raised, and TimeoutError."""
        return self._done.result(timeout)

    @property
    def words(self) -> str:
        """How far it is."""
        now = self._far
        if now is None or now.done >= now.all:
            return "the sandbox is starting"
        return f"{now.doing}: {now.done:,} of {now.all:,} entries"

    def close(self) -> None:
        """End what came of it, or what will."""
        if not self._begun:
            self._done.cancel()
        self._done.add_done_callback(_close)


def _close(done: Future[Session]) -> None:
    if not done.cancelled() and done.exception() is None:
        done.result().close()
