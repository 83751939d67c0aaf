"""What can go wrong in a session. Each is also the builtin that a caller would guess.

    MulliganError (mulligan.sandbox.errors)
    ├── StepUnknown       (KeyError)      no step has that id
    ├── StepLetGo         (LookupError)   its files were let go to stay within resources.history
    ├── NothingToUndo     (LookupError)   the cursor is at the root, or too near to it
    ├── NothingToRedo     (LookupError)   nothing was undone, or a new step was taken since
    ├── SessionClosed     (RuntimeError)  you closed it
    ├── SessionBusy       (RuntimeError)  called from within its own callback, where it would wait for itself
    ├── SessionBroken     (RuntimeError)  it broke: the sandbox is gone and cannot be started again
    ├── NoLibrary         (RuntimeError)  it was opened without one
    ├── PoolClosed        (RuntimeError)  a pool outside of its block
    ├── SessionUnknown    (LookupError)   no session of that name has files to look at
    ├── SessionInUse      (RuntimeError)  a process has it open, or reads it
    ├── WorkspaceInvalid  (ValueError)    that folder cannot be a workspace
    ├── ConnectionFileInvalid  (ValueError)  what a Jupyter client wrote cannot be used to talk to it
    ├── MagicMisused      (ValueError)    a line such as %undo in a notebook asks for what there is not
    ├── CommandMisused    (ValueError)    a line such as :undo in the REPL asks for what there is not
    ├── KernelspecUnknown (LookupError)   no kernelspec of ours has that name
    ├── McpMissing        (ImportError)   the SDK of the Model Context Protocol is not installed
    ├── McpUnusable       (ConnectionError)  an MCP server does not start, answer or have what is asked of it
    ├── McpConfigInvalid  (ValueError)    a client's file cannot be read, or told of our server
    ├── TracingMissing    (ImportError)   OpenTelemetry's SDK is not installed
    ├── CommitFailed      (OSError)       writing to the user's folder failed; it was taken back
    ├── DatabaseRefused   (PermissionError)  a role or a statement that no session may use
    ├── StatementFailed   (ValueError)    the database refused it; the transaction is as it was before
    ├── DatabaseLost      (ConnectionError)  it broke: the connection is gone, and what was not committed with it
    └── LedgerDamaged     (OSError)       the record of the session cannot be read

A conflict at commit is no error: it is listed in the `Commit`.
"""

from __future__ import annotations

from mulligan.sandbox.errors import MulliganError


class TracingMissing(MulliganError, ImportError):
    pass


class StepUnknown(MulliganError, KeyError):
    pass


class StepLetGo(MulliganError, LookupError):
    pass


class NothingToUndo(MulliganError, LookupError):
    pass


class NothingToRedo(MulliganError, LookupError):
    pass


class SessionClosed(MulliganError, RuntimeError):
    pass


class SessionBusy(MulliganError, RuntimeError):
    pass


class SessionBroken(MulliganError, RuntimeError):
    pass


class NoLibrary(MulliganError, RuntimeError):
    pass


class PoolClosed(MulliganError, RuntimeError):
    pass


class SessionUnknown(MulliganError, LookupError):
    pass


class SessionInUse(MulliganError, RuntimeError):
    pass


class WorkspaceInvalid(MulliganError, ValueError):
    pass


class ConnectionFileInvalid(MulliganError, ValueError):
    pass


class MagicMisused(MulliganError, ValueError):
    pass


class CommandMisused(MulliganError, ValueError):
    pass


class KernelspecUnknown(MulliganError, LookupError):
    pass


class McpMissing(MulliganError, ImportError):
    pass


class McpUnusable(MulliganError, ConnectionError):
    pass


class McpConfigInvalid(MulliganError, ValueError):
    pass


class CommitFailed(MulliganError, OSError):
    pass


class DatabaseRefused(MulliganError, PermissionError):
    pass


class StatementFailed(MulliganError, ValueError):
    """`state` is the SQLSTATE."""

    def __init__(self, message: str, *, hint: str = "", state: str = "") -> None:
        super().__init__(message, hint=hint)
        self.state = state


class DatabaseLost(MulliganError, ConnectionError):
    pass


class LedgerDamaged(MulliganError, OSError):
    pass
