"""The benchmark of opening runs, and names what it leaves out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def test_a_quick_run_opens_sessions_beside_copies_and_a_clone(
    quick_run: Callable[..., Any],
) -> None:
    isolation = "bubblewrap"
    report = quick_run("open", "--isolation", isolation)
    measured = {(each["work"], each["who"]): each["median_ms"] for each in report["measures"]}
    way = "copying" if "mulligan, sharing blocks" in report["left_out"] else "sharing blocks"
    assert measured["open on 200 files", "git clone"] > 0
    for work in ("open on 200 files", "open on one file of 8 MiB"):
        assert measured[work, f"mulligan, {way}, {isolation}"] > 0 < measured[work, "cp -a"]
        overlaid = (work, f"mulligan, overlay, {isolation}") in measured
        assert overlaid != ("mulligan, overlay" in report["left_out"])
