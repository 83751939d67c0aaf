"""stdout and stderr of the worker, written to the supervisor on the same channel as displays, so order holds."""

from __future__ import annotations

import fcntl
import io
import json
import os
import termios
import time
from typing import Any

from .channel import STREAM, Writer


class Pipes:
    """The writing ends of descriptors 1 and 2. What C code and subprocesses have written there comes before what is
    written here now: so we wait, a little, until the supervisor has taken it."""

    def __init__(self) -> None:
        self._patient_from = 0.0

    def await_empty(self) -> None:
        if not self._waiting():
            return
        began = time.monotonic()
        if began < self._patient_from:
            return
        while self._waiting():
            if time.monotonic() > began + PATIENCE:
                self._patient_from = began + 1.0  # something floods the pipe: order is no longer to be had
                return
            time.sleep(0.0002)

    def _waiting(self) -> bool:
        for fd in (1, 2):
            try:
                if fcntl.ioctl(fd, termios.FIONREAD, _NOTHING) != _NOTHING:
                    return True
            except OSError:
                continue  # user code has closed it, or put something else there
        return False


PATIENCE = 0.05
#: characters that are sent at once: a text of any length is many messages
AT_ONCE = 1 << 18
_NOTHING = bytes(4)


class Stream(io.TextIOBase):
    """What `print` writes to. In a process that user code forked it falls back to the descriptor beneath."""

    def __init__(self, name: str, fd: int, writer: Writer, pipes: Pipes) -> None:
        self._name = name.encode()
        self._pipes = pipes
        self._fd = fd
        self._writer = writer
        self._parent = b"{}"
        self._owner = os.getpid()

    name = property(lambda self: f"<{self._name.decode()}>")
    encoding = "utf-8"
    errors = "replace"

    def set_parent(self, parent: dict[str, Any]) -> None:
        """The request whose output this is from now on; called by IPython at the start of each request."""
        header = parent.get("header", {})
        self._parent = getattr(header, "raw", None) or json.dumps(header, default=_date).encode()

    def adopt(self, writer: Writer) -> None:
        """Called in a twin that wakes: it has a channel of its own."""
        self._writer, self._owner = writer, os.getpid()

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        for start in range(0, len(text), AT_ONCE):
            self._write(text[start : start + AT_ONCE].encode("utf-8", "replace"))
        return len(text)

    def _write(self, data: bytes) -> None:
        if os.getpid() == self._owner:
            self._pipes.await_empty()
            self._writer.send(STREAM, (self._name, self._parent, data))
        else:
            _write_all(self._fd, data)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._fd


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _date(value: Any) -> str:
    return str(value.isoformat())
