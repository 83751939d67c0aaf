"""A tool's call, its round trip from inside a sandbox and back, beside calling the function."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import mulligan
from bench.measure import Aim, Turn, alternate, machine, versions

CALLS, ROUNDS = 200, 15
QUICK_CALLS, QUICK_ROUNDS = 20, 2
#: milliseconds that a call may take at the median
MOST = 1.0
PEER = "the function"
_SMALL, _LARGE = "a call", "a call that gives back 1 MB"
_INSIDE = """
import statistics, time
from tools import price, picture
def took(call, count):
    found = []
    for n in range(count):
        started = time.perf_counter()
        call(n)
        found.append(time.perf_counter() - started)
    return statistics.median(found)
"""


def price(article: int) -> float:
    return article * 1.19


def picture(article: int) -> bytes:
    return b"x" * 1_000_000


def measure(quick: bool, isolations: Sequence[str]) -> dict[str, Any]:
    """All comparisons of one run; plain data, ready for JSON."""
    facts, calls = machine(), QUICK_CALLS if quick else CALLS
    with ExitStack() as stack:
        turns: dict[str, Turn] = {name: _inside(name, calls, stack) for name in isolations}
        turns[PEER] = lambda n: {_SMALL: _took(price, calls), _LARGE: _took(picture, calls // 10)}
        found = alternate("calls", turns, QUICK_ROUNDS if quick else ROUNDS, peer=PEER)
    aims = [
        Aim("a tool's call and its answer, in ms at the median", name, each.median(name) * 1000, MOST)
        for each in found
        if each.work == _SMALL
        for name in isolations
    ]
    return {
        "benchmark": "tools",
        "quick": quick,
        "machine": facts,
        "versions": versions("mulligan", "pydantic"),
        "measures": [each.figures(who) for each in found for who in each.seconds],
        "aims": [each.figures() for each in aims],
        "left_out": {},
    }


def _inside(isolation: str, calls: int, stack: ExitStack) -> Turn:
    tools = [mulligan.tool(effect="read")(each) for each in (price, picture)]
    session = stack.enter_context(mulligan.open(isolation=isolation, tools=tools))
    session.run(_INSIDE)

    def turn(n: int) -> Mapping[str, float]:
        outcome = session.run(f"print(took(price, {calls}), took(picture, {calls // 10}))").outcome
        assert outcome.ok, outcome.text
        small, large = map(float, outcome.stdout.split())
        return {_SMALL: small, _LARGE: large}

    return turn


def _took(call: Any, count: int) -> float:
    found = []
    for n in range(count):
        started = time.perf_counter()
        call(n)
        found.append(time.perf_counter() - started)
    return statistics.median(found)
