"""The wire between the provisioner in a server's process and the kernel's host that it has started.

A socket pair; a line of JSON is a message. The host says `{"ready": true}` or `{"error": ...}`, once for each launch.
The provisioner says `{"launch": connection file}` to have the same host begin anew.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mulligan.runtime.errors import ConnectionFileInvalid
from mulligan.runtime.jupyter.connection import Connection

LONGEST = 1 << 16


class Provisioner:
    """The host's end."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.set_inheritable(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def tell(self, what: Mapping[str, Any]) -> None:
        with suppress(OSError):  # it is gone, as its end of the pair will tell
            self._socket.sendall(json.dumps(what).encode() + b"\n")

    def heard(self) -> Connection | None:
        """Where it wants the kernel to be found from now on; None when it is gone or makes no sense."""
        try:
            order = json.loads(self._socket.recv(LONGEST) or b"null")
            return Connection.read(Path(order["launch"]))
        except (OSError, ValueError, TypeError, KeyError, ConnectionFileInvalid):
            return None
