"""The benchmark of files runs and compares both detectors with what is installed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

PEERS = ("git", "cp -a", "tar", "rsync --link-dest", "docker commit, new container")


def test_a_quick_run_measures_both_detectors_beside_other_keepers(quick_run: Callable[..., Any]) -> None:
    report = quick_run("files")
    measured = {(each["work"], each["who"]): each["median_ms"] for each in report["measures"]}
    keepers = {"mulligan, watches", "mulligan, scan", *PEERS}
    assert {"mulligan, watches", "mulligan, scan", "cp -a", "tar"} <= keepers - report["left_out"].keys()
    for who in keepers - report["left_out"].keys():
        assert measured["snapshot of 200 files", who] > 0
        assert measured["undo in 200 files", who] > 0
    for who in {"mulligan", "cp and fdatasync", "cp --reflink"} - report["left_out"].keys():
        assert measured["snapshot of 8 MB changed in one file", who] > 0
        assert measured["snapshot of 8 MB with 4 KB changed", who] > 0
        assert measured["undo of 8 MB changed in one file", who] > 0
    assert all(report["left_out"].values()), "whoever is left out, it is said why"
    assert [aim["aim"] for aim in report["aims"]] == [
        "snapshot of 200 files, nothing changed, ms",
        "snapshot of 8 MB changed in one file, as a multiple of cp and fdatasync",
        "snapshot of 8 MB with 4 KB changed, as a multiple of cp and fdatasync",
        "undo of 8 MB changed in one file, as a multiple of cp and fdatasync",
    ]


def test_a_peer_that_is_not_there_is_named_with_the_reason(
    tmp_path: Path, quick_run: Callable[..., Any]
) -> None:
    for command in ("cp", "tar"):
        (tmp_path / command).symlink_to(shutil.which(command) or command)
    report = quick_run("files", PATH=str(tmp_path))
    missing = {"git": "git", "rsync --link-dest": "rsync", "docker commit, new container": "docker"}
    for who, command in missing.items():
        assert report["left_out"][who] == f"there is no {command} here"
        assert who not in {each["who"] for each in report["measures"]}
