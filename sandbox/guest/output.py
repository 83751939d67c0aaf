"""Stream output on its way out: pieces of one stream are put together, other messages keep their place.

A `print` is two writes. Made into Jupyter messages one by one they would cost the host fifty times what they
cost the worker, so pieces wait up to `PATIENCE` seconds, or until anything else has to go out.
"""

from __future__ import annotations

import os
import time

from .signing import Signer

PATIENCE = 0.010
ENOUGH = 64 * 1024
NAMES = (b"stdout", b"stderr")


class Output:
    """Collects text; `take` gives the Jupyter message for what was collected, and begins anew."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._name, self._parent = b"", b"{}"
        self._pieces: list[bytes] = []
        self._size = 0
        self._since = 0.0

    def fits(self, name: bytes, parent: bytes) -> bool:
        return not self._pieces or (self._name == name and self._parent == parent and self._size < ENOUGH)

    def add(self, name: bytes, parent: bytes, text: bytes) -> None:
        """Call only when it `fits`."""
        if not self._pieces:
            self._since = time.monotonic()
            self._name, self._parent, self._size = name, parent, 0
        self._pieces.append(text)
        self._size += len(text)

    def wait(self) -> float | None:
        """Seconds until what was collected is due; None when nothing was."""
        return max(0.0, self._since + PATIENCE - time.monotonic()) if self._pieces else None

    def take(self) -> list[bytes] | None:
        if not self._pieces:
            return None
        name = self._name.decode()
        text = b"".join(self._pieces).decode("utf-8", "replace")
        self._pieces = []
        return self._signer.message(
            "stream", {"name": name, "text": text}, self._parent, [b"stream." + self._name]
        )


class Pipe:
    """The reading end of a descriptor 1 or 2: output of C code and of subprocesses."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.fd, self.write_fd = os.pipe()
        os.set_blocking(self.fd, False)
        self._rest = b""

    def read(self) -> bytes:
        """What is there now; empty when nothing is. Never waits. A character cut at the end is kept for later."""
        try:
            data = self._rest + os.read(self.fd, ENOUGH)
        except BlockingIOError:
            return b""
        whole = _whole(data)
        self._rest = data[whole:]
        return data[:whole] or self.read()


def _whole(data: bytes) -> int:
    """How much of it ends with a whole UTF-8 character; all of it when it is none that ends it."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte & 0xC0 != 0x80:
            length = (
                2 if byte >> 5 == 0b110 else 3 if byte >> 4 == 0b1110 else 4 if byte >> 3 == 0b11110 else 1
            )
            return len(data) - back if length > back else len(data)
    return len(data)
