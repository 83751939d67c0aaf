"""What a session protects, and the two that see to it: a tripwire while an action runs, a judgement at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mulligan.policies.decision import Verdict
from mulligan.policies.judge import Touched, judge_changes
from mulligan.policies.protection import Protection
from mulligan.runtime.checkpoint import Checkpoint, Checkpoints
from mulligan.runtime.tripwire import Tripwire
from mulligan.sandbox.snapshots import Change

_WORKSPACE = b"workspace/"


class Protected:
    """Used by the session's thread. `ring` wakes it from another one."""

    def __init__(self, workspace: Path, protection: Protection, ring: Callable[[], None]) -> None:
        self._protection = protection
        self.wire = Tripwire(workspace, protection, ring)

    def begin(self, checkpoints: Checkpoints) -> None:
        """Learn what there is to protect. No action that is kept ever changes that, so once is enough. The folders
        that hold it are looked into at each checkpoint: a watch does not see what is done through another name."""
        existing = [path for each in checkpoints.files(0) if (path := self._protected(each))]
        checkpoints.always = frozenset((_WORKSPACE + path).rpartition(b"/")[0] for path in existing)
        self.wire.draw(existing)

    def end(self) -> None:
        self.wire.take_down()

    def judge(self, before: Checkpoint, after: Checkpoint, changes: Sequence[Change]) -> Verdict:
        """Whether `changes`, which lead from one checkpoint to the other, may stand; so says what tripped the wire on
        the way, too."""
        touched = [Touched(_inside(each.path), each.action) for each in changes if _inside(each.path)]
        unseen = [_inside(path) for path in after.unseen if path not in before.unseen and _inside(path)]
        verdict = judge_changes(self._protection, touched, unseen)
        self.wire.settle()
        if (tripped := self.wire.tripped) is not None and verdict.decision < tripped.decision:
            return Verdict.of((tripped,))
        return verdict

    def _protected(self, path: bytes) -> bytes:
        inside = _inside(path)
        return inside if inside and self._protection.glob_of(inside) is not None else b""


def _inside(path: bytes) -> bytes:
    """A path of the store, relative to the workspace; empty for one that is elsewhere."""
    return path.removeprefix(_WORKSPACE) if path.startswith(_WORKSPACE) else b""
