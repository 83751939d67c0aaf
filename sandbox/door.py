"""The host's end of the door: binds the session's sockets and hands them to the supervisor.

A folder of ours is mounted read-only at `/run/mulligan` in the sandbox, with one socket in it: the door (and a second,
for calls of tools, in sessions that have some). The five
Jupyter sockets are bound beside that folder, out of the sandbox's sight; the supervisor knocks once, gets its
orders and the listening descriptors (SCM_RIGHTS), and keeps the connection for as long as it lives. So the
session's key is never on a disk that the sandbox sees, hostile code cannot reach, unlink or replace a socket, and
when either side dies the other learns it at once (docs/decisions/0002). Where the session may use the network, one
listening socket comes the other way: that of the proxy, in the sandbox's own loopback.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from mulligan.sandbox.errors import DoorClosed, ImageUnusable
from mulligan.sandbox.isolation import PROXY_PORT

#: what the guest makes its package of tools from, and the socket on which calls come
DESCRIBED, TOOLS = "tools.json", "tools.sock"
CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
#: sun_path holds 108 bytes, and the longest of our names has eight
_LONGEST_FOLDER = 95
#: reports that wait to be heard, and that one look takes in: a flood of them holds nobody up
_KEPT = 8


class Door:
    """A short-lived folder of sockets. A context manager; `close` may be called more than once.

    `folder` holds the channels and is for us alone. Only `inner`, which holds the door itself, is mounted in the
    sandbox: code in there has no way to the channels, not even where it runs under our own uid.
    """

    def __init__(self, folder: Path, listener: socket.socket, channels: list[socket.socket]) -> None:
        self.folder = folder
        self._listener = listener
        self._channels = channels
        self._guest: socket.socket | None = None
        self._passed: list[int] = []
        #: reports that came while somebody looked whether the supervisor is there, for `hear`
        self._kept: deque[bytes] = deque(maxlen=_KEPT)

    @classmethod
    def build(cls) -> Door:
        """Make the folders and bind the sockets."""
        folder = Path(tempfile.mkdtemp(prefix="mulligan-", dir=_place()))
        channels = [_bind(folder / name, 0o600) for name in CHANNELS]
        inner = folder / "run"
        inner.mkdir()
        inner.chmod(0o755)
        return cls(folder, _bind(inner / "door.sock", 0o666, kind=socket.SOCK_SEQPACKET), channels)

    def open_for_tools(self, described: bytes) -> socket.socket:
        """Beside the door: what tools there are, and the socket for calls, which this returns."""
        (self.inner / DESCRIBED).write_bytes(described)
        (self.inner / DESCRIBED).chmod(0o644)
        return _bind(self.inner / TOOLS, 0o666, waiting=512)

    @property
    def inner(self) -> Path:
        return self.folder / "run"

    def admit(self, orders: Mapping[str, Any], timeout: float, alive: Callable[[], bool]) -> None:
        """Wait for the supervisor and hand everything over; the door then stays shut for anyone else.

        Raises DoorClosed when nobody knocks within `timeout` seconds, or the sandbox ends first.
        """
        deadline = time.monotonic() + timeout
        while not select.select([self._listener], [], [], 0.05)[0]:
            if time.monotonic() > deadline:
                raise DoorClosed(f"the sandbox did not start within {timeout:g} s")
            if not alive():
                raise DoorClosed("the sandbox ended before it had started")
        self._guest, _ = self._listener.accept()
        self._listener.close()
        (self.inner / "door.sock").unlink()
        descriptors = [channel.fileno() for channel in self._channels]
        socket.send_fds(self._guest, [json.dumps(dict(orders)).encode()], descriptors)
        for channel in self._channels:
            channel.close()

    def hear(self, timeout: float) -> Mapping[str, Any]:
        """The supervisor's next report. Raises DoorClosed when it hangs up, or says nothing for `timeout` seconds;
        ImageUnusable when it reports that the kernel cannot run."""
        try:
            data = self._kept.popleft() if self._kept else self._receive(timeout)
            told = json.loads(data) if data else None
        except (OSError, ValueError, RecursionError) as error:
            raise DoorClosed("the supervisor spoke nonsense") from error
        if not isinstance(told, dict):
            raise DoorClosed("the supervisor hung up")
        if "error" in told:
            raise ImageUnusable(
                f"{told['error']}: {_last_line(str(told.get('detail', '')))}",
                hint="the sandbox's Python needs ipykernel: python -m pip install ipykernel",
            )
        return told

    def _receive(self, timeout: float) -> bytes:
        if self._guest is None or not select.select([self._guest], [], [], timeout)[0]:
            raise DoorClosed(f"the supervisor said nothing for {timeout:g} s")
        data, passed, _, _ = socket.recv_fds(self._guest, 64 * 1024, 4)
        self._passed += passed
        return data

    def listener(self) -> socket.socket:
        """The listening end of the sandbox's own loopback that the supervisor has passed out, for the proxy to take.
        Raises DoorClosed when it passed anything else."""
        try:
            (descriptor,) = self._passed
            self._passed = []
            found = socket.socket(fileno=descriptor)
        except (OSError, ValueError) as error:
            raise DoorClosed("the supervisor passed no listening socket") from error
        if (
            found.family is not socket.AF_INET
            or found.type is not socket.SOCK_STREAM
            or not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            or found.getsockname() != ("127.0.0.1", PROXY_PORT)
        ):
            found.close()
            raise DoorClosed("the supervisor passed another socket than the proxy's")
        return found

    def fileno(self) -> int:
        """Readable when the supervisor is gone."""
        return -1 if self._guest is None else self._guest.fileno()

    def hung_up(self) -> bool:
        """Of a supervisor that speaks and speaks it is known only once all is read that it said."""
        if self._guest is None:
            return True
        try:
            for _ in range(_KEPT):
                if not (data := self._guest.recv(64 * 1024, socket.MSG_DONTWAIT)):
                    return True
                self._kept.append(data)  # of a fresh worker that is ready, later on, nobody hears
            return False
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        for each in (self._listener, self._guest, *self._channels):
            if each is not None:
                each.close()
        for descriptor in self._passed:
            os.close(descriptor)
        self._passed = []
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Door:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _place() -> str:
    """Where a socket's path is short enough, and other users cannot look."""
    for candidate in (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir()):
        if candidate and len(candidate) < _LONGEST_FOLDER - 20 and os.access(candidate, os.W_OK | os.X_OK):
            return candidate
    return "/tmp"


def _bind(path: Path, mode: int, kind: int = socket.SOCK_STREAM, waiting: int = 16) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, kind)
    listener.bind(str(path))
    path.chmod(mode)
    listener.listen(waiting)
    return listener


def _last_line(text: str) -> str:
    """Of what a failed kernel printed, made safe to show."""
    last = text.strip().rpartition("\n")[2][-500:]
    return "".join(c if c.isprintable() else "?" for c in last)
