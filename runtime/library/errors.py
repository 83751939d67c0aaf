"""What can go wrong with a library. Each is also the builtin that a caller would guess.

MulliganError (mulligan.sandbox.errors)
├── RoutineBroken     (ValueError)       a file on a shelf is no routine; the others are not concerned
├── RoutineUnknown    (LookupError)      no shelf has one of that name
├── RoutineRefused    (PermissionError)  it may not be shelved, tried or trusted, and why
└── ShelfUnusable     (OSError)          a folder that cannot be read or written; nothing was changed
"""

from __future__ import annotations

from mulligan.sandbox.errors import MulliganError


class RoutineBroken(MulliganError, ValueError):
    pass


class RoutineUnknown(MulliganError, LookupError):
    pass


class RoutineRefused(MulliganError, PermissionError):
    pass


class ShelfUnusable(MulliganError, OSError):
    pass
