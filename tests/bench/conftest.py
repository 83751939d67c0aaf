"""A benchmark as a program that is run quickly, and what it reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Report = dict[str, Any]


@pytest.fixture
def quick_run() -> Callable[..., Report]:
    def run(which: str, *words: str, **environment: str) -> Report:
        told = subprocess.run(
            [sys.executable, "-m", "bench", which, "--quick", "--json", *words],
            cwd=Path(__file__).parents[2],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert told.returncode == 0, told.stderr
        report: Report = json.loads(told.stdout)
        return report

    return run
