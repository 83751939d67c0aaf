"""How many messages of a kernel have not come, where it numbers them.

Jupyter's own library does, and with it most kernels: a message's id is SESSION_PID_NUMBER, and the numbers go on over
all channels. What has no such id is not counted.
"""

from __future__ import annotations

import re

_ID = re.compile(r"(.{1,200})_([0-9]{1,15})")
#: more senders than a kernel has: what comes of others is not counted
_SERIES = 16


class Numbers:
    def __init__(self) -> None:
        #: of each sender: the number from which on is counted, the last, and how many messages came
        self._series: dict[str, tuple[int, int, int]] = {}

    def saw(self, id: object) -> None:
        """A message came."""
        found = _ID.fullmatch(id) if isinstance(id, str) else None
        if found is None or (found[1] not in self._series and len(self._series) >= _SERIES):
            return
        number = int(found[2])
        first, last, come = self._series.get(found[1], (number, number, 0))
        if number >= first:
            self._series[found[1]] = first, max(last, number), come + 1

    @property
    def missing(self) -> int:
        """Of each sender's messages before its last, since it was settled."""
        return sum(max(0, last - first + 1 - come) for first, last, come in self._series.values())

    def settle(self) -> int:
        """What is missing now, which will not be waited for any more."""
        missing = self.missing
        self._series = {name: (last + 1, last, 0) for name, (_, last, _) in self._series.items()}
        return missing
