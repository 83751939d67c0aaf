"""Bytes from one socket to another that never come into this process: the kernel hands their pages over."""

from __future__ import annotations

import fcntl
import os
import select
from collections.abc import Iterator
from contextlib import closing, suppress

from mulligan.sandbox.egress.tls import TlsSocket
from mulligan.sandbox.egress.wire import Gone, Wire

#: bytes in a pipe at once; pipes of one user may hold 64 MB altogether before all get small ones
ROOM = 512 * 1024
_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK if hasattr(os, "SPLICE_F_MOVE") else 0x03


def can_splice(source: Wire, target: Wire) -> bool:
    return not (isinstance(source.sock, TlsSocket) or isinstance(target.sock, TlsSocket) or source.kept)


class Pipe:
    """What lies between two wires without TLS. Used by one thread, and closed by it."""

    def __init__(self) -> None:
        """Raises OSError."""
        self._out, self._in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        with suppress(OSError):
            fcntl.fcntl(self._in, fcntl.F_SETPIPE_SZ, ROOM)

    def fill(self, source: Wire, most: int = ROOM) -> int:
        """At most so many bytes into the pipe, which is empty; 0 at the end. Raises Gone."""
        while True:
            try:
                return os.splice(source.raw.fileno(), self._in, most, flags=_FLAGS)
            except BlockingIOError:
                source.wait(select.POLLIN)
            except OSError as error:
                raise Gone(str(error)) from error

    def drain(self, target: Wire, count: int) -> None:
        """So many bytes out of the pipe. Raises Gone."""
        while count:
            try:
                count -= os.splice(self._out, target.raw.fileno(), count, flags=_FLAGS)
            except BlockingIOError:
                target.wait(select.POLLOUT)
            except OSError as error:
                raise Gone(str(error)) from error

    def close(self) -> None:
        os.close(self._out)
        os.close(self._in)


def spliced(source: Wire, target: Wire, length: int) -> Iterator[int]:
    """So many bytes from wire to wire; each piece's size before the target has it. Raises Gone."""
    with closing(Pipe()) as pipe:
        while length:
            count = pipe.fill(source, min(length, ROOM))
            if not count:
                raise Gone("it ended within its body")
            length -= count
            yield count
            pipe.drain(target, count)
