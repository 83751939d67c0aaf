"""Asking a person in the terminal that `mulligan run` was started in.

The terminal is opened by itself: standard input may be the program that is run. While a question stands there, nothing
that the action prints is shown, so it cannot write beside the question or over it. What was typed before the question
had stood there for a moment is thrown away: it was meant for another, which code can withdraw while it is read.
"""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, TextIO

from mulligan.runtime.question import Answer, Question, fits, shown

#: characters that are kept back while a person is asked
KEPT = 1 << 20
#: seconds that a question stands there before it can be answered, and between two looks whether the last has ended
SETTLES, _LOOK = 1.5, 0.02
_SAYS = {"o": "once", "once": "once", "s": "session", "session": "session", "a": "always", "always": "always"}
_SAYS |= {"n": "no", "no": "no"}


class Curtain:
    """A text stream that keeps back what is written to it while it is drawn. From any thread."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._drawn = 0
        self._kept: list[str] = []
        self._size = self._left_out = 0

    def write(self, text: str) -> int:
        with self._lock:
            if not self._drawn:
                return self._stream.write(text)
            if self._size + len(text) <= KEPT:
                self._kept.append(text)
                self._size += len(text)
            else:
                self._left_out += len(text)
            return len(text)

    def flush(self) -> None:
        with self._lock:
            if not self._drawn:
                self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @property
    def is_drawn(self) -> bool:
        with self._lock:
            return self._drawn > 0

    @contextmanager
    def drawn(self) -> Iterator[None]:
        with self._lock:
            self._drawn += 1
            self._stream.flush()
        try:
            yield
        finally:
            with self._lock:
                self._drawn -= 1
                if not self._drawn:
                    self._open()

    def _open(self) -> None:
        self._stream.write("".join(self._kept))
        if self._left_out:
            self._stream.write(f"[{self._left_out:,} characters were left out here while you were asked]\n")
        self._stream.flush()
        self._kept, self._size, self._left_out = [], 0, 0


class Terminal:
    """`approve` is for `mulligan.open`. A context manager."""

    def __init__(self, descriptor: int, curtain: Curtain) -> None:
        self._descriptor = descriptor
        self._curtain = curtain
        self._rest = b""
        #: held while a question stands there: the next begins when it has gone
        self._one = threading.Lock()

    @classmethod
    def open(cls, curtain: Curtain) -> Terminal | None:
        """None where nobody is there to be asked: no terminal, or one that others have."""
        try:
            descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            return None
        with suppress(OSError):
            if os.tcgetpgrp(descriptor) == os.getpgrp():
                return cls(descriptor, curtain)
        os.close(descriptor)
        return None

    async def approve(self, question: Question) -> Answer:
        while not self._one.acquire(blocking=False):  # noqa: ASYNC110  # others wait on loops of their own
            await asyncio.sleep(_LOOK)
        try:
            return await self._approve(question)
        finally:
            self._one.release()

    async def _approve(self, question: Question) -> Answer:
        with self._curtain.drawn():
            try:
                self._say(_asked(question, self._width()))
                await asyncio.sleep(SETTLES)
                self._begin()
                answer = await self._answer(question)
                self._say(f"  {answer.says}\n")
                return answer
            except asyncio.CancelledError:
                self._say("\n  this question is withdrawn: it was denied\n")
                raise

    async def _answer(self, question: Question) -> Answer:
        if not fits(f"- {question.scope}", self._width()):
            question = replace(question, scope="", file=None)
        while True:
            self._say(_choices(question, self._width()))
            line = await self._line()
            if line is None:
                return Answer("no", "the terminal ended")
            says = _SAYS.get(line.strip().lower())
            if says == "no":
                self._say("  why, for the agent (return: nothing): ")
                return Answer("no", (await self._line() or "").strip())
            if says == "always" and question.file is not None and not await self._sure(question):
                continue
            if says in question.choices:
                return Answer(says)  # type: ignore[arg-type]

    async def _sure(self, question: Question) -> bool:
        """The rule is shown before it is written."""
        width = self._width()
        told = "\n".join((*shown(question.file or "", width), "  under approvals: always:"))
        line = "\n".join(shown(f"- {question.scope}", width))
        self._say(f"  this would be written to\n{told}\n{line}\n  write it? [y/N] ")
        return (await self._line() or "").strip().lower() in ("y", "yes")

    async def _line(self) -> str | None:
        """The next line that is typed; None where there will be no more."""
        loop = asyncio.get_running_loop()
        while b"\n" not in self._rest:
            ready = asyncio.Event()
            loop.add_reader(self._descriptor, ready.set)
            try:
                await ready.wait()
            finally:
                loop.remove_reader(self._descriptor)
            try:
                piece = os.read(self._descriptor, 4096)
            except OSError:
                return None
            if not piece:
                return None
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode("utf-8", "replace")

    def _begin(self) -> None:
        """What was typed before is no answer to it."""
        self._rest = b""
        with suppress(OSError, termios.error):
            termios.tcflush(self._descriptor, termios.TCIFLUSH)

    def _say(self, text: str) -> None:
        data = text.encode(sys.getfilesystemencoding(), "backslashreplace")
        with suppress(OSError):
            while data:
                data = data[os.write(self._descriptor, data) :]

    def _width(self) -> int:
        try:
            return os.get_terminal_size(self._descriptor).columns or 80
        except OSError:
            return 80

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _asked(question: Question, width: int) -> str:
    return f"\n{'─' * max(10, width - 1)}\nMulligan asks: {question.text(width)}\n"


def _choices(question: Question, width: int) -> str:
    scope = "\n".join(shown(question.scope, width))
    words = {
        "once": "o = once" if question.about != "step" else "o = keep it",
        "session": f"s = for this session:\n{scope}",
        "always": "a = always (the rule is shown before it is written)",
        "no": "n = no" if question.about != "step" else "n = no, take it back",
    }
    lines = "".join(f"  {words[choice]}\n" for choice in question.choices)
    return f"{lines}  within {question.timeout:g} s, or it is no: "
