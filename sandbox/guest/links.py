"""Counts the hard links that are made in the sandbox, as the kernel tells of each before it is made.

A file that gets a second name, is written through it and loses it again has changed behind the back of the folder
that a watch reports on. So the syscall filter passes each link(2) and linkat(2) by us: the caller waits until we have
counted it, and then goes on. A thread does that, for the supervisor may be busy, and a caller should not wait for
more than this. Of what other calls do nothing is looked at, and nothing that the caller says is trusted.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading

_RECEIVE, _ANSWER = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV and _SEND
_NOTIFICATION_SIZE = 80
_ANSWER_FORMAT = "=QqiI"  # id, value, error, flags
_CONTINUE = 1
_CALLER_GONE = (errno.ENOENT, errno.EINTR)


class Links:
    """`count`: how many links were asked for so far; -1 where that cannot be known."""

    def __init__(self, listener: int) -> None:
        self._listener = listener
        self.count = 0 if listener >= 0 else -1

    def start(self) -> None:
        if self._listener >= 0:
            threading.Thread(target=self._serve, name="links", daemon=True).start()

    def _serve(self) -> None:
        try:
            while True:
                self._next()
        except OSError:
            self.count = -1
            os.close(self._listener)  # from now on the kernel refuses links, with ENOSYS

    def _next(self) -> None:
        notification = bytearray(_NOTIFICATION_SIZE)
        try:
            fcntl.ioctl(self._listener, _RECEIVE, notification, True)
            self.count += 1
            (number,) = struct.unpack_from("=Q", notification)
            answer = bytearray(struct.pack(_ANSWER_FORMAT, number, 0, 0, _CONTINUE))
            fcntl.ioctl(self._listener, _ANSWER, answer, True)
        except OSError as error:
            if error.errno not in _CALLER_GONE:
                raise
