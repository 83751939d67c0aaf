"""How many sessions fit: memory of each, idle and at work, and how many actions all of them do in a second.

A growing number is opened, up to a bound; what one more costs is the slope. What would fit in 24 GiB is said as what it
is: that slope, drawn on.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mulligan
from bench.measure import SAID, machine, versions
from bench.memory import processes_of_user, pss_of_user
from bench.steps import ISOLATIONS, Place, find, settle

ROOM = 24 << 30
#: an idle session has run one small action; a working one has numpy loaded and 16 MB of its own
IDLE, WORK = "x = 1", "import numpy; a = numpy.ones(2_000_000)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    counts: Sequence[int] = (2, 6, 12)
    seconds: float = 4.0


QUICK = Size(counts=(1, 2), seconds=0.3)


def measure(quick: bool, isolations: Sequence[str] = ISOLATIONS) -> dict[str, Any]:
    if os.geteuid() != 0:
        raise SystemExit(
            "density tells the processes of sessions apart by their users, which only root's sessions have"
        )
    size, facts = QUICK if quick else Size(), machine()
    with tempfile.TemporaryDirectory() as folder:
        place = find(Path(folder), isolations)
        found = [_of(place, each, size) for each in place.isolations]
    return {
        "benchmark": "density",
        "quick": quick,
        "machine": facts,
        "versions": versions("mulligan", "ipykernel", "numpy"),
        "measures": [],
        "density": found,
        "aims": [],
        "left_out": dict(place.left_out),
    }


def _of(place: Place, isolation: str, size: Size) -> dict[str, Any]:
    idle: dict[int, int] = {}
    work: dict[int, int] = {}
    with ExitStack() as stack:
        sessions: list[mulligan.Session] = []
        for count in size.counts:
            SAID.print(f"{count} sessions in {isolation}")
            while len(sessions) < count:
                sessions.append(stack.enter_context(mulligan.open(isolation=isolation, state=place.folder)))
                settle(sessions[-1].run(IDLE))
            idle[count] = sum(pss_of_user(session._uid) for session in sessions)
        for count, session in enumerate(sessions, 1):
            session.reset()
            settle(session.run(WORK))
            if count in size.counts:
                work[count] = sum(pss_of_user(each._uid) for each in sessions[:count])
        twin = _twin(sessions[0])
        rate = _rate(sessions, size.seconds)  # last: it leaves as many twins as a session keeps
    each_idle, each_work = _slope(idle), _slope(work)
    return {
        "who": isolation,
        "opened": max(size.counts),
        "idle_mb": round(each_idle / 1e6, 1),
        "working_mb": round(each_work / 1e6, 1),
        "twin_mb": round(twin / 1e6, 2),
        "idle_in_24_gib": int(ROOM / each_idle),
        "working_in_24_gib": int(ROOM / each_work),
        "actions_a_second": round(rate, 1),
        "measured_bytes": {"idle": idle, "working": work},
    }


def _slope(held: dict[int, int]) -> float:
    """Bytes that one more session costs, from the fewest to the most that were opened."""
    (few, less), *_, (many, more) = sorted(held.items())
    return (more - less) / (many - few)


def _rate(sessions: Sequence[mulligan.Session], seconds: float) -> float:
    """Small actions, each with its checkpoint, of all sessions at once."""

    def busy(session: mulligan.Session) -> int:
        done = 0
        while time.perf_counter() < end:
            settle(session.run("x = 1 + 1"))
            done += 1
        return done

    with ThreadPoolExecutor(len(sessions)) as threads:
        end = time.perf_counter() + seconds
        return sum(threads.map(busy, sessions)) / seconds


def _twin(session: mulligan.Session) -> float:
    """Bytes that one more twin answers for, over ten small actions: the slope of the session's sum."""
    before, names = pss_of_user(session._uid), len(processes_of_user(session._uid))
    for n in range(10):
        settle(session.run(f"y = {n}"))
    more = len(processes_of_user(session._uid)) - names
    return (pss_of_user(session._uid) - before) / max(1, more)
