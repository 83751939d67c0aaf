"""TLS over a socket, read and written in large pieces.

The ssl module's own socket hands over one record a call, 16 KiB, with two system calls to read each and one to write
it. Here a piece of a body is one call to the kernel, and the records of it are made and opened in memory.
"""

from __future__ import annotations

import socket
import ssl

#: bytes that are read from the socket at once, and that are written to it at once
_PIECE = 256 * 1024


class TlsSocket:
    """Used by one thread, with the timeout of the socket beneath. Raises what that raises, and ssl.SSLError."""

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, *, server: bool, host: str | None = None
    ) -> None:
        """No handshake is made yet. Raises ValueError for a name that no certificate can have."""
        self.raw = sock
        self._coming, self._going = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._coming, self._going, server_side=server, server_hostname=host)
        self._read = memoryview(bytearray(_PIECE))

    def do_handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
                return self._flush()
            except ssl.SSLWantReadError:
                self._flush()
                self._fetch()
            except ssl.SSLError:
                self._flush()  # the alert that says what is wrong
                raise

    def recv_into(self, room: memoryview, most: int) -> int:
        """As many bytes as are there, and at least one; 0 at the end."""
        found = 0
        while True:
            try:
                while found < most:
                    found += (read := self._tls.read(most - found, room[found:most]))  # type: ignore[operator]
                    if not read:
                        return found
                return found
            except ssl.SSLWantReadError:
                if found:
                    return found
                self._flush()
                self._fetch()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return found

    def sendall(self, data: bytes | bytearray | memoryview) -> None:
        with memoryview(data) as view, view.cast("B") as left:
            at = 0
            while at < len(left):
                at += self._tls.write(left[at:])
                if self._going.pending >= _PIECE:
                    self._flush()
        self._flush()

    def pending(self) -> bool:
        """Whether something was read from the socket that `recv_into` has not given yet."""
        return bool(self._tls.pending() or self._coming.pending)

    def look(self) -> bool:
        """Whether something has come that is not TLS's own, or the end; waits for nothing."""
        self.raw.settimeout(0)
        with memoryview(bytearray(1)) as room:
            try:
                return self.recv_into(room, 1) >= 0
            except BlockingIOError:
                return False

    def say_end(self) -> None:
        """Its answer is not waited for."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            self._flush()

    def getpeername(self) -> tuple[str, int]:
        name: tuple[str, int] = self.raw.getpeername()
        return name

    def fileno(self) -> int:
        return self.raw.fileno()

    def settimeout(self, seconds: float) -> None:
        self.raw.settimeout(seconds)

    def close(self) -> None:
        self.raw.close()

    def _flush(self) -> None:
        if self._going.pending:
            self.raw.sendall(self._going.read())

    def _fetch(self) -> None:
        if read := self.raw.recv_into(self._read):
            self._coming.write(self._read[:read])
        else:
            self._coming.write_eof()
