"""The benchmark of files runs and compares both detectors with what is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_a_quick_run_measures_both_detectors_beside_other_keepers() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "bench", "files", "--quick", "--json"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    report = json.loads(told.stdout)
    measured = {(each["work"], each["who"]): each["median_ms"] for each in report["measures"]}
    for who in ("mulligan, watches", "mulligan, scan", "cp -a", "tar"):
        assert measured["snapshot of 200 files", who] > 0
        assert measured["undo in 200 files", who] > 0
    assert [aim["aim"] for aim in report["aims"]] == ["snapshot of 200 files, nothing changed, ms"]
