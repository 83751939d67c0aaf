"""The terminal's modes: while an action runs, what is typed is not shown in its output, and waits for the prompt."""

from __future__ import annotations

import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Keyboard:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._usual = termios.tcgetattr(descriptor)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Keys are kept as they are, for the next prompt; Ctrl-C and Ctrl-Z act."""
        modes = list(self._usual)
        modes[0] &= ~(termios.ICRNL | termios.INLCR | termios.IGNCR)
        modes[3] = (modes[3] & ~(termios.ICANON | termios.ECHO | termios.IEXTEN)) | termios.ISIG
        with self._in(modes):
            yield

    @contextmanager
    def plain(self) -> Iterator[None]:
        """Lines are typed and seen, as when the program began."""
        with self._in(self._usual):
            yield

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Lines are typed and not seen: a password."""
        modes = list(self._usual)
        modes[3] &= ~termios.ECHO
        with self._in(modes):
            yield

    @contextmanager
    def _in(self, modes: list[object]) -> Iterator[None]:
        with suppress(termios.error):  # it is gone: reading from it will say so
            before = termios.tcgetattr(self._descriptor)
            termios.tcsetattr(self._descriptor, termios.TCSANOW, modes)  # type: ignore[arg-type]
        try:
            yield
        finally:
            with suppress(termios.error, UnboundLocalError):
                termios.tcsetattr(self._descriptor, termios.TCSANOW, before)
