"""What can go wrong in a sandbox. Each is also the builtin that a caller would guess.

MulliganError (errors of every room)
└── SandboxError
    ├── NoIsolation      (RuntimeError)       neither engine can be had
    ├── ImageMissing     (FileNotFoundError)  the image or the interpreter is not there
    ├── ImageUnusable    (RuntimeError)       it is there and cannot run the kernel
    ├── ToolInvalid      (TypeError)          a function cannot be handed over as a tool
    ├── NetworkMissing   (ImportError)        the policy has network rules, and the proxy's packages are not there
    ├── SelfTestFailed   (PermissionError)    the sandbox does not confine as promised
    ├── WarmFailed       (RuntimeError)       what every session was to begin with did not complete
    ├── SandboxLost      (ConnectionError)    it ended, or stopped answering
    ├── DoorClosed       (ConnectionError)    the supervisor never came, or hung up
    └── SnapshotError    (OSError)
        ├── SnapshotUnknown  (KeyError)       no such snapshot
        └── StoreDamaged     (OSError)        what was stored is not what comes back
"""

from __future__ import annotations


class MulliganError(Exception):
    """The base of every error that Mulligan raises on purpose. `hint` says what to do next."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class SandboxError(MulliganError):
    pass


class NoIsolation(SandboxError, RuntimeError):
    pass


class ImageMissing(SandboxError, FileNotFoundError):
    pass


class ImageUnusable(SandboxError, RuntimeError):
    pass


class ToolInvalid(SandboxError, TypeError):
    pass


class NetworkMissing(SandboxError, ImportError):
    pass


class SelfTestFailed(SandboxError, PermissionError):
    pass


class WarmFailed(SandboxError, RuntimeError):
    pass


class SandboxLost(SandboxError, ConnectionError):
    pass


class DoorClosed(SandboxError, ConnectionError):
    pass


class SnapshotError(SandboxError, OSError):
    pass


class SnapshotUnknown(SnapshotError, KeyError):
    pass


class StoreDamaged(SnapshotError):
    pass
