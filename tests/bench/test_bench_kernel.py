"""The benchmarks of kernels and of density run, and say what they measured."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest


def test_starts_resets_talk_interrupts_and_memory_are_measured_beside_plain_ipykernel(
    quick_run: Callable[..., Any],
) -> None:
    report = quick_run("kernel", "--isolation", "bubblewrap")
    assert (report["benchmark"], report["quick"]) == ("kernel", True)
    measures = {(each["work"], each["who"]): each for each in report["measures"]}
    assert all(each["median_ms"] > 0 for each in measures.values())
    ours = {work for work, who in measures if who == "bubblewrap"}
    assert len(ours) == 10 and {"reset", "from a pool to the first result", "1,000 prints"} <= ours
    assert {work for work, who in measures if who == "plain ipykernel"} < ours
    for aim in report["aims"]:
        assert aim["met"] == (aim["measured"] <= aim["most"])
    if os.geteuid() == 0:
        assert [each["who"] for each in report["memory"]] == ["plain ipykernel", "bubblewrap"]
        assert len(report["aims"]) == 6


@pytest.mark.skipif(
    os.geteuid() != 0, reason="only root's sessions have users of their own to be told apart by"
)
def test_density_is_the_slope_of_what_a_growing_number_of_sessions_holds(
    quick_run: Callable[..., Any],
) -> None:
    report = quick_run("density", "--isolation", "bubblewrap")
    assert (report["benchmark"], report["quick"]) == ("density", True)
    (found,) = report["density"]
    assert found["opened"] == 2
    assert found["idle_in_24_gib"] == pytest.approx((24 << 30) / 1e6 / found["idle_mb"], rel=0.02)
    assert found["working_mb"] > found["idle_mb"] > 0
    assert found["actions_a_second"] > 0
