"""The benchmark of opening runs, and names what it leaves out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]


def test_a_quick_run_opens_sessions_beside_copies_and_a_clone() -> None:
    isolation = "bubblewrap"
    told = subprocess.run(
        [sys.executable, "-m", "bench", "open", "--quick", "--json", "--isolation", isolation],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    report: dict[str, Any] = json.loads(told.stdout)
    measured = {(each["work"], each["who"]): each["median_ms"] for each in report["measures"]}
    way = "copying" if "mulligan, sharing blocks" in report["left_out"] else "sharing blocks"
    assert measured["open on 200 files", "git clone"] > 0
    for work in ("open on 200 files", "open on one file of 8 MiB"):
        assert measured[work, f"mulligan, {way}, {isolation}"] > 0 < measured[work, "cp -a"]
        overlaid = (work, f"mulligan, overlay, {isolation}") in measured
        assert overlaid != ("mulligan, overlay" in report["left_out"])
