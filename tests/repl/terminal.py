"""The REPL as a person meets it: a real process on a real terminal, whose screen is kept by a terminal's own rules."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pexpect
import pyte

#: seconds until what is waited for must have come, on a machine that is busy
PATIENCE = 60
_CODES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()][0-9A-B]|\x1b[=>78]|\r"
)


class Terminal:
    """`folder` is where it is started, `state` where it keeps what it keeps; without that it is `mulligan` alone."""

    def __init__(
        self,
        folder: Path,
        state: Path | None,
        *arguments: str,
        size: tuple[int, int] = (24, 80),
        **environment: str,
    ) -> None:
        words = ["-m", "mulligan.runtime.main"]
        if state is not None:
            words += ["repl", "--state", str(state), *arguments]
        self._process: Any = pexpect.spawn(
            sys.executable,
            words,
            cwd=str(folder),
            env=_environment() | environment,
            dimensions=size,
            timeout=PATIENCE,
            maxread=1 << 16,
        )
        self._process.delaybeforesend = None
        self._screen: Any = _Screen(size[1], size[0], self._answer)
        self._stream: Any = pyte.ByteStream(self._screen)
        self.raw = b""
        self._mark = 0
        self.draws = True

    def _answer(self, data: str) -> None:
        self._process.send(data.encode())

    @property
    def pid(self) -> int:
        return int(self._process.pid)

    # -- what is typed -------------------------------------------------------------------------------------------

    def send(self, text: str) -> None:
        self._process.send(text.encode())

    def enter(self, text: str) -> None:
        """A line, and Enter."""
        self.send(text + "\r")

    def paste(self, text: str) -> None:
        """As terminals do that mark what is pasted."""
        self.send(f"\x1b[200~{text}\x1b[201~")

    def resize(self, rows: int, columns: int) -> None:
        self._screen.resize(rows, columns)
        self._process.setwinsize(rows, columns)

    # -- what is shown -------------------------------------------------------------------------------------------

    @property
    def display(self) -> list[str]:
        """The screen's lines, as somebody sees them."""
        self._take(0)
        return [line.rstrip() for line in self._screen.display]

    def cell(self, row: int, column: int) -> Any:
        """A character of the screen, with its colours."""
        return self._screen.buffer[row][column]

    @property
    def new(self) -> str:
        """What was written since the last `until`, without what moves and colours."""
        return _CODES.sub("", self.raw[self._mark :].decode("utf-8", "replace"))

    def until(self, text: str, patience: float = PATIENCE) -> str:
        """What came since the last call, up to and with this."""
        deadline = time.monotonic() + patience
        while (found := self.new).find(text) < 0:
            assert time.monotonic() < deadline, f"no {text!r} in:\n{found[-4000:]}\n--\n" + "\n".join(
                self.display
            )
            if not self._take(1):
                assert self._process.isalive() or self._take(0), (
                    f"it ended without {text!r}:\n{found[-4000:]}"
                )
        self._mark = len(self.raw)
        return found

    def until_shown(self, text: str) -> None:
        """On the screen."""
        deadline = time.monotonic() + PATIENCE
        while not any(text in line for line in self.display):
            assert time.monotonic() < deadline, f"no {text!r} on:\n" + "\n".join(self.display)
            self._take(1)

    def press_until_shown(self, key: str, text: str) -> None:
        """A key, again and again: the kernel may be slow to find its first completion, and is not waited for."""
        deadline = time.monotonic() + PATIENCE
        while not any(text in line for line in self.display):
            assert time.monotonic() < deadline, f"no {text!r} on:\n" + "\n".join(self.display)
            self.send(key)
            while self._take(6) and not any(text in line for line in self.display):
                pass

    def prompt(self) -> str:
        """What came until the next prompt stands on the screen's last line that says anything."""
        deadline = time.monotonic() + PATIENCE
        begun = self._mark
        while True:
            lines = [line for line in self.display if line]
            if lines and re.fullmatch(r"\[\d+\]>", lines[-1].strip()) and self._idle():
                break
            assert time.monotonic() < deadline, "no prompt on:\n" + "\n".join(self.display)
            self._take(1)
        self._mark = len(self.raw)
        return _CODES.sub("", self.raw[begun:].decode("utf-8", "replace"))

    def _idle(self) -> bool:
        return not self._take(0.2)

    def run(self, text: str) -> str:
        """A line, and what came until the next prompt."""
        self._take(0)
        self._mark = len(self.raw)
        self.enter(text)
        begun = self.until("\n").partition("\n")[2]
        return begun + self.prompt()

    def ended(self) -> int:
        """Its exit code, when it has ended."""
        deadline = time.monotonic() + PATIENCE
        while self._process.isalive():
            assert time.monotonic() < deadline, "it does not end:\n" + "\n".join(self.display)
            self._take(0.2)
        self._process.close()
        return int(self._process.exitstatus if self._process.exitstatus is not None else -1)

    def _take(self, seconds: float) -> bool:
        """Whether anything came."""
        try:
            data = self._process.read_nonblocking(1 << 16, timeout=seconds)
        except (pexpect.TIMEOUT, pexpect.EOF):
            return False
        self.raw += data
        if self.draws:
            self._stream.feed(data)
        return True

    def close(self) -> None:
        self._process.close(force=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _Screen(pyte.Screen):
    """It answers when it is asked where its cursor is."""

    def __init__(self, columns: int, lines: int, answer: Callable[[str], None]) -> None:
        super().__init__(columns, lines)
        self._answer = answer

    def write_process_input(self, data: str) -> None:
        self._answer(data)


def _environment() -> dict[str, str]:
    kept = {
        name: os.environ[name]
        for name in ("PATH", "HOME", "LANG", "DOCKER_HOST", "TMPDIR")
        if name in os.environ
    }
    return kept | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
