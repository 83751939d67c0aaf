"""The newest of what a process printed, for an error message."""

from __future__ import annotations

import os
import threading
from typing import IO


class Tail:
    """The newest of what a pipe carried, read for as long as anything holds its other end open."""

    KEPT = 16 * 1024

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._kept = b""
        self._reader = threading.Thread(target=self._read, name="mulligan-tail", daemon=True)

    def start(self) -> Tail:
        self._reader.start()
        return self

    def _read(self) -> None:
        with self._pipe:
            while piece := os.read(self._pipe.fileno(), 65536):
                self._kept = (self._kept + piece)[-self.KEPT :]

    def end(self) -> None:
        """Everything that could write is dead: take what is left."""
        self._reader.join(timeout=5)

    def bytes(self) -> bytes:
        return self._kept
