"""Measuring side by side: contenders take turns at the same work, so that a busy machine slows all of them alike.

A figure in milliseconds is worth what the machine was worth in that minute. A ratio is worth more: it is taken
within each round, between two runs that were neighbours in time, and the median of the rounds' ratios is given.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

#: one turn of a contender in round `n`: what was measured -> seconds
Turn = Callable[[int], Mapping[str, float]]

SAID = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One kind of work, and the seconds that each contender took in each round; `peer` is whom to compare with."""

    work: str
    seconds: Mapping[str, Sequence[float]]
    peer: str | None = None

    def figures(self, who: str) -> dict[str, Any]:
        """Median and quartiles in ms, and the ratio to the peer; at most as many digits as mean anything."""
        took = self.seconds[who]
        low, middle, high = quartiles(took)
        found: dict[str, Any] = {"work": self.work, "who": who, "rounds": len(took)}
        found |= {"median_ms": _ms(middle), "q1_ms": _ms(low), "q3_ms": _ms(high)}
        if self.peer is not None and who != self.peer:
            found |= {"peer": self.peer, "ratio": round(self.ratio(who), 3)}
        return found

    def median(self, who: str) -> float:
        """Seconds."""
        return statistics.median(self.seconds[who])

    def ratio(self, who: str) -> float:
        """The median of what `who` took, as a multiple of what the peer took in the same round."""
        assert self.peer is not None
        return statistics.median(
            ours / theirs for ours, theirs in zip(self.seconds[who], self.seconds[self.peer], strict=True)
        )


@dataclass(frozen=True, slots=True)
class Aim:
    """`measured` and `most` are in the same unit, which `what` names."""

    what: str
    who: str
    measured: float
    most: float

    def figures(self) -> dict[str, Any]:
        met = self.measured <= self.most
        return {
            "aim": self.what,
            "who": self.who,
            "most": self.most,
            "measured": round(self.measured, 3),
            "met": met,
        }


def alternate(
    title: str,
    contenders: Mapping[str, Turn],
    rounds: int,
    *,
    warmups: int = 1,
    peer: str | None = None,
) -> list[Comparison]:
    """Give each contender one turn a round, each round beginning with another one; a comparison for each thing
    that the turns measured. The first `warmups` rounds do not count."""
    took: dict[str, dict[str, list[float]]] = {}
    order = list(contenders)
    for n in track(range(warmups + rounds), description=title, console=SAID, transient=True):
        for who in order[n % len(order) :] + order[: n % len(order)]:
            for work, seconds in contenders[who](n).items():
                if n >= warmups:
                    took.setdefault(work, {}).setdefault(who, []).append(seconds)
    return [
        Comparison(work, {who: by[who] for who in order if who in by}, peer if peer in by else None)
        for work, by in took.items()
    ]


def seconds(work: Callable[[], None]) -> float:
    """How long it takes."""
    os.sync()  # what others wrote is not ours to wait for
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load": [round(each, 2) for each in os.getloadavg()],
    }


def versions(*packages: str) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


def show(report: Mapping[str, Any]) -> None:
    """The report as tables for a person."""
    out = Console(file=sys.stdout)
    figures = Table(title=report["benchmark"], title_justify="left")
    for column in ("work", "who", "median ms", "quartiles", "ratio"):
        figures.add_column(column, justify="left" if column in ("work", "who") else "right")
    last = None
    for row in report["measures"]:
        if last is not None and row["work"] != last:
            figures.add_section()
        ratio = f"{row['ratio']:.2f}" if "ratio" in row else ""
        spread = f"{row['q1_ms']:.1f} to {row['q3_ms']:.1f}"
        figures.add_row(
            row["work"] if row["work"] != last else "", row["who"], f"{row['median_ms']:.1f}", spread, ratio
        )
        last = row["work"]
    out.print(figures)
    for held in (*report.get("memory", ()), *report.get("density", ())):
        out.print(held, markup=False)
    aims = Table(title="aims", title_justify="left")
    for column in ("aim", "who", "at most", "measured", ""):
        aims.add_column(column)
    for aim in report["aims"]:
        met = "[green]met[/]" if aim["met"] else "[red]not met[/]"
        aims.add_row(aim["aim"], aim["who"], f"{aim['most']:g}", f"{aim['measured']:.2f}", met)
    out.print(aims)
    for who, why in report["left_out"].items():
        out.print(f"left out: {who}: {why}", markup=False)
    out.print(f"machine: {report['machine']}", f"versions: {report['versions']}", sep="\n", markup=False)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _processor() -> str:
    with open("/proc/cpuinfo") as info:
        named = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
    return named[0] if named else platform.machine()
