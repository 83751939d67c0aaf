"""The benchmark of the library runs, and its answers are right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_a_quick_run_searches_and_opens(quick_run: Callable[..., Any], tmp_path: Path) -> None:
    report = quick_run("library", "--isolation", "bubblewrap", XDG_DATA_HOME=str(tmp_path))
    assert {each["who"] for each in report["measures"]} == {
        *("mulligan", "without a library", "10 routines", "the whole library"),
    }
    assert report["recall"]["at_10"] > 0.9
    assert report["recall"]["silent_where_nothing_fits"] == 1.0
