"""The benchmarks run, and say what they measured in the shape that docs/benchmarks.md promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def test_a_quick_run_measures_ours_beside_plain_ipykernel_and_says_which_aims_were_met(
    quick_run: Callable[..., Any],
) -> None:
    report = quick_run("steps", "--isolation", "bubblewrap")
    assert report["benchmark"] == "steps"
    assert report["quick"] is True
    assert report["left_out"] == {}
    assert report["machine"]["cores"] > 0
    assert report["versions"]["ipykernel"] != "none"
    measures = {(each["work"], each["who"]): each for each in report["measures"]}
    assert all(each["median_ms"] > 0 and each["rounds"] > 0 for each in measures.values())
    step = measures["a small action and its checkpoint, back to back", "bubblewrap"]
    assert step["peer"] == "plain ipykernel" and step["ratio"] > 0
    for what in ("checkpoint", "undo"):
        kinds = [work for work, _ in measures if work.startswith(f"{what} with")]
        assert len(kinds) == 3, kinds
    assert len(report["aims"]) == 2
    for aim in report["aims"]:
        assert aim["met"] == (aim["measured"] <= aim["most"])
