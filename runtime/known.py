"""The checkpoints that can be returned to, by step. Of many few have a twin, and at each step it is asked which they
are: so that is kept apart.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mulligan.sandbox.confined import ROOT

if TYPE_CHECKING:
    from mulligan.runtime.checkpoint import Checkpoint

#: the newest twins that are kept in any case; of the older ones ever fewer
NEWEST = 32


class Known(MutableMapping[int, "Checkpoint"]):
    def __init__(self) -> None:
        self._all: dict[int, Checkpoint] = {}
        #: of steps whose twin is another than that of the fresh kernel, which is never let go
        self._twins: dict[int, str] = {}

    def __getitem__(self, step: int) -> Checkpoint:
        return self._all[step]

    def __setitem__(self, step: int, checkpoint: Checkpoint) -> None:
        self._all[step] = checkpoint
        if checkpoint.twin is None or checkpoint.twin == ROOT:
            self._twins.pop(step, None)
        else:
            self._twins[step] = checkpoint.twin

    def __delitem__(self, step: int) -> None:
        del self._all[step]
        self._twins.pop(step, None)

    def __iter__(self) -> Iterator[int]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def bury(self, dead: Sequence[str]) -> None:
        """These twins are gone."""
        steps = self._all if ROOT in dead else self._twins
        for step in [step for step in steps if self._all[step].twin in dead]:
            self[step] = replace(self[step], twin=None)

    def thin(self, keep: int) -> tuple[list[int], list[str]]:
        """Have no twin of steps that are too many: the newest `NEWEST` keep theirs, of older ones those whose distance
        from the newest is about a power of two; `keep`, where the cursor is, does too. The steps, and the twins that
        nothing needs any more."""
        crowded = _crowded(sorted(step for step in self._twins if step != keep))
        names = [self._twins[step] for step in crowded]
        for step in crowded:
            self[step] = replace(self[step], twin=None)
        return crowded, [name for name in names if name not in self._twins.values()]


def _crowded(steps: Sequence[int]) -> list[int]:
    """Of ascending steps, those that go: beyond the newest `NEWEST`, one stays for each doubling of the age."""
    if len(steps) <= NEWEST:
        return []
    newest, going, taken = steps[-1], [], set()
    for step in steps[:-NEWEST]:  # the oldest of a slot stays, or none would live to reach the next
        slot = (newest - step).bit_length()
        if slot in taken:
            going.append(step)
        taken.add(slot)
    return going
