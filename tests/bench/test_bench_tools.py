"""The benchmark of tools' calls runs, and says what it aims at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def test_a_quick_run_compares_calls_from_inside_with_the_function(quick_run: Callable[..., Any]) -> None:
    report = quick_run("tools", "--isolation", "bubblewrap")
    measured = {(each["work"], each["who"]): each["median_ms"] for each in report["measures"]}
    assert measured["a call", "bubblewrap"] > measured["a call", "the function"] >= 0
    assert measured["a call that gives back 1 MB", "bubblewrap"] > 0
    (aim,) = report["aims"]
    assert (aim["who"], aim["most"]) == ("bubblewrap", 1.0)
