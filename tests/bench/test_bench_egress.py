"""The benchmark of the proxy carries real requests, each way, beside direct ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def test_a_quick_run_measures_each_way_beside_a_direct_connection(
    quick_run: Callable[..., Any],
) -> None:
    report = quick_run("egress")
    measured = {(each["work"], each["who"]): each for each in report["measures"]}
    for kind in ("plain", "tunnel by host", "TLS looked into"):
        for what in ("GET of 2 bytes", "GET of 4 MB", "20 connections at once"):
            ours = measured[f"{kind}, {what}", "proxy"]
            assert ours["peer"] == "direct" and ours["median_ms"] > 0 and ours["ratio"] > 0
    assert len(report["aims"]) == 6
    assert all(each["met"] == (each["measured"] <= each["most"]) for each in report["aims"])
