"""The worker that serves now: its process, its channel, what waits to be sent to it."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from collections import deque

from . import channel, processes
from .output import Pipe


class Active:
    def __init__(self, pid: int, sock: socket.socket, *, foreign: bool = False) -> None:
        """`foreign`: it stands before a kernel that is not ours. Raises ProcessLookupError when it has died already."""
        self.pid, self.foreign = pid, foreign
        #: of a foreign kernel: the processes that it consists of
        self.family: list[processes.Identity] = []
        #: by its own word, its event loop or a timer runs code between requests
        self.restless = False
        self.pidfd = os.pidfd_open(pid)
        self.sock = sock
        self.reader = channel.Reader(sock)
        self.outbox: deque[tuple[bytes, list[int]]] = deque()
        self._written = processes.written(pid)

    def send(self, kind: int, parts: list[bytes], fds: list[int] | None = None) -> None:
        """Queue a message and send what can be sent. `fds` are closed when they are gone."""
        for packet in channel.packets(kind, parts):
            self.outbox.append((packet, fds or []))
            fds = None
        self.flush()

    def flush(self) -> None:
        while self.outbox:
            packet, fds = self.outbox[0]
            try:
                if fds:
                    socket.send_fds(self.sock, [packet], fds, socket.MSG_DONTWAIT)
                else:
                    self.sock.send(packet, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                self._drop_outbox()  # it is dead; that is noticed by its pidfd
                return
            self.outbox.popleft()
            channel.close_all(fds)

    def newly_written(self) -> int:
        """Bytes since the last call, at least, that it has written in pages that were shared or not there."""
        before, self._written = self._written, processes.written(self.pid)
        return self._written - before

    def signal(self, number: signal.Signals) -> None:
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            pass  # its pidfd tells

    def ends_within(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def close(self) -> None:
        self._drop_outbox()
        os.close(self.pidfd)
        self.sock.close()

    def _drop_outbox(self) -> None:
        for _, fds in self.outbox:
            channel.close_all(fds)
        self.outbox.clear()


def spawn(stdout: Pipe, stderr: Pipe, kernel: str) -> Active:
    """Start a worker from nothing, the leader of a process group of its own; `kernel` names the kernelspec of one that
    is not ours."""
    ours, theirs = channel.pair()
    theirs.set_inheritable(True)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "start.py")
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-B", path, str(theirs.fileno()), *([kernel] if kernel else [])],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, stdout.write_fd, 1),
            (os.POSIX_SPAWN_DUP2, stderr.write_fd, 2),
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGPIPE, signal.SIGINT),
    )
    theirs.close()
    return Active(pid, ours, foreign=bool(kernel))
