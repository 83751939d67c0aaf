"""Counts the hard links and the shared memory maps that are made in the sandbox, as the kernel tells of each before.

A file that gets a second name, is written through it and loses it again has changed behind the back of the folder
that a watch reports on; one that is mapped changes without any report. So the syscall filter passes each link(2) and
linkat(2), and each mmap(2) with MAP_SHARED, by us: the caller waits until we have counted it, and then goes on. A
thread does that, for the supervisor may be busy, and a caller should not wait for more than this. It needs Python's
lock, so the supervisor makes no such call itself. Which call it is the kernel says; what the caller says is not looked
at.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading

from . import seccomp

_RECEIVE, _ANSWER = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV and _SEND
_NOTIFICATION_SIZE = 80
_ANSWER_FORMAT = "=QqiI"  # id, value, error, flags
_CONTINUE = 1
_CALLER_GONE = (errno.ENOENT, errno.EINTR)
_MMAP = seccomp.number(seccomp.MMAP)


class Links:
    """`count`: how many links were asked for so far, and `maps`: how many shared maps; -1 where it cannot be known."""

    def __init__(self, listener: int) -> None:
        self._listener = listener
        self.count = self.maps = 0 if listener >= 0 else -1

    def start(self) -> None:
        if self._listener >= 0:
            threading.Thread(target=self._serve, name="links", daemon=True).start()

    def _serve(self) -> None:
        try:
            while True:
                self._next()
        except OSError:
            self.count = self.maps = -1
            os.close(self._listener)  # from now on the kernel refuses these calls, with ENOSYS

    def _next(self) -> None:
        notification = bytearray(_NOTIFICATION_SIZE)
        try:
            fcntl.ioctl(self._listener, _RECEIVE, notification, True)
            number, call = struct.unpack_from("=Q8xi", notification)
            if call == _MMAP:
                self.maps += 1
            else:
                self.count += 1
            answer = bytearray(struct.pack(_ANSWER_FORMAT, number, 0, 0, _CONTINUE))
            fcntl.ioctl(self._listener, _ANSWER, answer, True)
        except OSError as error:
            if error.errno not in _CALLER_GONE:
                raise
