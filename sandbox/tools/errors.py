"""What ends a call before its function is asked. None of them leaves this package."""

from __future__ import annotations


class Garbled(Exception):
    """What came is no message, or a larger one than may come."""


class Gone(Exception):
    """The other side has hung up, or takes too long."""


class Unpackable(TypeError):
    """A value that cannot travel."""


class BadArguments(TypeError):
    """Not what the signature asks for."""


class Denied(PermissionError):
    """It may not be called so."""


class Refused(RuntimeError):
    """Not now, or not once more."""
