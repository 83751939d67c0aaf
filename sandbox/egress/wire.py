"""One side of a conversation: a socket, what was read too far, and how long may be waited."""

from __future__ import annotations

import select
import socket
import time
from contextlib import suppress

from mulligan.sandbox.egress.tls import TlsSocket

PIECE = 256 * 1024


class Gone(Exception):
    """The other side has hung up, or says nothing more."""


class Wire:
    """Used by one thread; only `cut` may be called from any."""

    def __init__(self, sock: socket.socket | TlsSocket, quiet: float, whole: float) -> None:
        self.sock = sock
        #: beneath TLS too
        self.raw = sock.raw if isinstance(sock, TlsSocket) else sock
        self.quiet = quiet
        self.end = time.monotonic() + whole
        self.kept = bytearray()
        self.is_cut = False
        self._room = memoryview(bytearray(0))

    def fill(self, deadline: float | None = None) -> bool:
        """Read some more into `kept`; False at its end. Raises Gone."""
        piece = self._receive(deadline)
        self.kept += piece
        return bool(piece)

    def some(self, most: int) -> memoryview:
        """At most so many bytes, valid until the next call; none at the end. Raises Gone."""
        if self.kept:
            piece = memoryview(bytes(self.kept[:most]))
            del self.kept[:most]
            return piece
        return self._receive(None, most)

    def _receive(self, deadline: float | None, most: int = PIECE) -> memoryview:
        if not len(self._room):
            self._room = memoryview(bytearray(PIECE))
        self._wait_at_most(deadline)
        try:
            return self._room[: self.sock.recv_into(self._room, min(most, PIECE))]
        except OSError as error:
            raise Gone(str(error)) from error

    def send(self, *pieces: bytes | bytearray | memoryview) -> None:
        """Raises Gone."""
        self._wait_at_most(None)
        try:
            for piece in pieces:
                self.sock.sendall(piece)
        except OSError as error:
            raise Gone(str(error)) from error

    def wait(self, event: int) -> None:
        """Until the kernel says so. Raises Gone."""
        left = min(self.end - time.monotonic(), self.quiet)
        poll = select.poll()
        try:
            poll.register(self.raw, event)
            if left <= 0 or not poll.poll(left * 1000):
                raise Gone("it took too long")
        except (OSError, ValueError) as error:
            raise Gone(str(error)) from error

    def _wait_at_most(self, deadline: float | None) -> None:
        now = time.monotonic()
        left = min(self.end, now + self.quiet if deadline is None else deadline) - now
        if left <= 0:
            raise Gone("it took too long")
        try:
            self.sock.settimeout(left)
        except OSError as error:
            raise Gone(str(error)) from error

    def stale(self) -> bool:
        """Whether something has come that nobody waits for: its end, most likely."""
        if self.kept or self.is_cut:
            return True
        try:
            if isinstance(self.sock, TlsSocket):
                return self.sock.look()
            self.sock.settimeout(0)
            return len(self.sock.recv(1)) >= 0
        except BlockingIOError:
            return False
        except OSError:
            return True

    def hung_up(self) -> bool:
        """Whether nobody listens any more, as far as can be told without reading."""
        if self.is_cut:
            return True
        poll = select.poll()
        try:
            poll.register(self.raw, select.POLLRDHUP)
            return bool(poll.poll(0))
        except (OSError, ValueError):
            return True

    def ready(self) -> bool:
        """Whether something can be had that the kernel does not tell of."""
        return bool(self.kept) or (isinstance(self.sock, TlsSocket) and self.sock.pending())

    def secured(self, sock: TlsSocket) -> Wire:
        """The same wire, spoken on through TLS."""
        wire = Wire(sock, self.quiet, 0.0)
        wire.end = self.end
        return wire

    def finish(self) -> None:
        """Say that nothing more will come."""
        with suppress(OSError, ValueError):
            if isinstance(self.sock, TlsSocket):
                self.sock.settimeout(0)
                self.sock.say_end()
        with suppress(OSError):
            self.raw.shutdown(socket.SHUT_WR)

    def linger(self, most: int = 1 << 20, patience: float = 2.0) -> None:
        """Before closing on somebody who still sends: the answer would be lost with what was not read."""
        self.finish()
        deadline = time.monotonic() + patience
        with suppress(Gone):
            while most > 0 and (piece := self._receive(deadline)):
                most -= len(piece)

    def cut(self) -> None:
        self.is_cut = True
        with suppress(OSError):  # not through TLS, which another thread may be in
            self.raw.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.sock.close()
