"""What the kernel's guard asks while an action runs: whether it must end at once, and by which rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mulligan.policies.decision import Finding
from mulligan.runtime.quota import DiskQuota

if TYPE_CHECKING:
    from mulligan.runtime.protected import Protected  # watchdog is for sessions that protect something


class Guard:
    """Of one execution. `found` is what ended it."""

    def __init__(self, quota: DiskQuota, protected: Protected | None) -> None:
        self._quota = quota
        self._protected = protected
        self.found: Finding | None = None

    def ask(self) -> str | None:
        tripped = self._protected.wire.tripped if self._protected is not None else None
        self.found = tripped or self._quota.exceeded()
        return self.found.reason if self.found is not None else None
