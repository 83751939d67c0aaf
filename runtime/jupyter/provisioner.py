"""The provisioner `mulligan`: how a server of Jupyter's starts a kernel's host, and keeps it through a restart.

A restart is no new sandbox: the host that runs gives its session a fresh kernel on the files as they are, and notes a
step, so `%undo` takes the restart back. Towards jupyter_client, which waits for the end of a process before it starts
the next, the process counts as ended meanwhile. Where the server has no patience left it kills, and then everything is
new.
"""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

#: seconds that a shutdown may take: a commit may have to write many files
SHUTDOWN = 30.0


class MulliganProvisioner(LocalProvisioner):
    """Used by one kernel manager."""

    _ours: socket.socket | None = None
    #: it was asked to restart: its process lives, and passes for ended
    _parked = False

    # -- launching -----------------------------------------------------------------------------------------------

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Returns when the session is open. Raises RuntimeError with the reason where it cannot be."""
        if self._parked and self._alive() and self._ours is not None:
            self._parked = False
            assert self.parent is not None
            order = {"launch": str(self.parent.connection_file)}
            await self._send(self._ours, order)
            await self._hear(self._ours)
            return self.connection_info
        await self._bury()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            theirs.set_inheritable(True)
            command = [*cmd, "--provisioner", str(theirs.fileno())]
            info = await super().launch_kernel(command, pass_fds=(theirs.fileno(),), **kwargs)
        self._ours = ours
        try:
            await self._hear(ours)
        except BaseException:
            await self._bury()
            raise
        return info

    async def _send(self, ours: socket.socket, order: dict[str, str]) -> None:
        await asyncio.get_running_loop().sock_sendall(ours, json.dumps(order).encode() + b"\n")

    async def _hear(self, ours: socket.socket) -> None:
        """Until the host says that it is ready."""
        data = b""
        while not data.endswith(b"\n"):
            piece = await asyncio.get_running_loop().sock_recv(ours, 1 << 16)
            if not piece:
                raise RuntimeError(
                    "Mulligan's kernel ended before it was ready; its own words are in the log"
                )
            data += piece
        if "error" in (told := json.loads(data.partition(b"\n")[0])):
            raise RuntimeError(f"Mulligan's kernel cannot start: {told['error']}")

    def _alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    async def _bury(self) -> None:
        """A process that passed for ended, and has ended or is no use any more."""
        self._parked = False
        if self._alive():
            await super().kill()
        if self.process is not None:
            await super().wait()
        self._hang_up()

    def _hang_up(self) -> None:
        if self._ours is not None:
            self._ours.close()
            self._ours = None

    # -- ending --------------------------------------------------------------------------------------------------

    async def shutdown_requested(self, restart: bool = False) -> None:
        """Over sockets in the file system, whose names jupyter_client removes meanwhile, a restart is a new process."""
        self._parked = restart and self._alive() and self.connection_info.get("transport") == "tcp"

    @property
    def has_process(self) -> bool:
        return not self._parked and super().has_process

    async def poll(self) -> int | None:
        return 0 if self._parked else await super().poll()

    async def wait(self) -> int | None:
        return 0 if self._parked else await super().wait()

    async def kill(self, restart: bool = False) -> None:
        self._parked = False
        await super().kill(restart)

    async def cleanup(self, restart: bool = False) -> None:
        if not restart:
            with suppress(OSError):
                await self._bury()
        await super().cleanup(restart)

    def get_shutdown_wait_time(self, recommended: float = 5.0) -> float:
        return max(recommended, SHUTDOWN)
