"""The doctor opens real sandboxes and tells what it found, to people and to programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from mulligan.runtime import doctor


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mulligan.runtime.cli", "doctor", *arguments]
    return subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=110,
        check=False,
    )


def test_an_isolation_that_works_is_tried_to_its_first_result(isolation: str) -> None:
    tried = doctor.trial(isolation)
    assert tried.works, tried.error
    assert tried.seconds > 0
    assert tried.probes > 20
    assert tried.bounds is not None
    assert tried.bounds["kernel"] >= 5


def test_programs_get_one_object(isolation: str, tmp_path: Path) -> None:
    ran = run("--json", "--state", str(tmp_path / "state"))
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["ok"] is True
    assert {check["name"] for check in found["checks"]} >= {
        "python",
        "bwrap",
        "engine",
        "state",
        "reflink",
        "diffs",
    }
    works = {each["isolation"]: each["works"] for each in found["isolations"]}
    assert works[isolation]


def test_what_is_missing_comes_with_the_command_that_adds_it(tmp_path: Path) -> None:
    nowhere = f"unix://{tmp_path}/no.sock"
    ran = run("--json", "--state", str(tmp_path / "state"), DOCKER_HOST=nowhere)
    assert ran.returncode == 0, "bubblewrap is left"
    found = json.loads(ran.stdout)
    (engine,) = [check for check in found["checks"] if check["name"] == "engine"]
    assert engine["state"] == "missing"
    assert "make engine" in engine["remedy"]
    (docker,) = [each for each in found["isolations"] if each["isolation"] == "docker"]
    assert not docker["works"]
    assert docker["error"]
    assert docker["remedy"]


def test_a_state_folder_that_cannot_be_made_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = run("--state", str(tmp_path / "file"))
    assert ran.returncode == 2
    assert "state folder" in ran.stderr
