"""stdout and stderr of the worker, written to the supervisor on the same channel as displays, so order holds."""

from __future__ import annotations

import io
import json
import os
from typing import Any

from .channel import STREAM, Writer


class Stream(io.TextIOBase):
    """What `print` writes to. In a process that user code forked it falls back to the descriptor beneath."""

    def __init__(self, name: str, fd: int, writer: Writer) -> None:
        self._name = name.encode()
        self._fd = fd
        self._writer = writer
        self._parent = b"{}"
        self._owner = os.getpid()

    name = property(lambda self: f"<{self._name.decode()}>")
    encoding = "utf-8"
    errors = "replace"

    def set_parent(self, parent: dict[str, Any]) -> None:
        """The request whose output this is from now on; called by IPython at the start of each request."""
        self._parent = json.dumps(parent.get("header", {}), default=_date).encode()

    def adopt(self, writer: Writer) -> None:
        """Called in a twin that wakes: it has a channel of its own."""
        self._writer, self._owner = writer, os.getpid()

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if text:
            data = text.encode("utf-8", "replace")
            if os.getpid() == self._owner:
                self._writer.send(STREAM, (self._name, self._parent, data))
            else:
                _write_all(self._fd, data)
        return len(text)

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
