"""Which extended attributes a name in an open folder has, asked without opening it. Linux 6.13 has a call for that;
before, the way leads through /proc."""

from __future__ import annotations

import ctypes
import errno
import os

_libc = ctypes.CDLL(None, use_errno=True)
_LISTXATTRAT = 465  #: the same on every architecture but Alpha
_NOFOLLOW = 0x100
_ROOM = 1024
_WITHOUT = {errno.ENOTSUP, errno.ENOENT}


class Names:
    """Lists the names; not to be used by two threads at once."""

    def __init__(self) -> None:
        self._room = ctypes.create_string_buffer(_ROOM)
        self._has_call = True

    def __call__(self, at: int, name: bytes) -> list[bytes]:
        """Empty where it is gone, or the filesystem has none. Raises OSError."""
        if self._has_call:
            size: int = _libc.syscall(_LISTXATTRAT, at, name, _NOFOLLOW, self._room, _ROOM)
            if size == 0:
                return []
            if size > 0:
                return self._room.raw[: size - 1].split(b"\0")
            self._has_call = ctypes.get_errno() not in (errno.ENOSYS, errno.EPERM)
        try:
            path = b"/proc/self/fd/%d/%s" % (at, name)
            return [os.fsencode(each) for each in os.listxattr(path, follow_symlinks=False)]
        except OSError as error:
            if error.errno in _WITHOUT:
                return []
            raise
