"""The whole matrix once more, all cases at once, where the user's folder lies beneath the session and is not copied."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import mulligan
from mulligan.runtime.workspace import stage

from . import matrix
from .test_every_change import run
from .walk import sparse, walk

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can mount an overlay: the sessions of others have copies"
)

#: pipes are not brought in: the session makes its own
PIPES = """
for name, (before, _) in CASES.items():
    if before is a_fifo:
        before(place(Path('/workspace'), name))
"""


@pytest.mark.parametrize("name", ["bubblewrap", pytest.param("docker", marks=pytest.mark.soak)])
def test_everything_is_seen_as_a_copy_would_be_and_changed_undone_and_redone(
    name: str, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    matrix.prepare(work)
    theirs, times = walk(work), moments(work)
    with mulligan.open(work, isolation=name, state=tmp_path / "state", staging="overlay") as session:
        assert session.report.workspace == "an overlay: nothing is copied"
        opened = walk(session.workspace)
        stage(work, tmp_path / "copy", uid=session._uid, gid=session._gid)
        assert apart(session.workspace) == apart(tmp_path / "copy")
        run(session, Path(matrix.__file__).read_text())
        first = run(session, PIPES)
        was, holes = walk(session.workspace), sparse(session.workspace)
        second = run(session, "change(Path('/workspace'))")
        became, later_holes = walk(session.workspace), sparse(session.workspace)
        assert len(was) > 1000 and was != became
        for step, tree, thin in ((first, was, holes), (second, became, later_holes)):
            back = session.goto(step)
            assert (back.stands, walk(session.workspace)) == ((), tree)
            assert sparse(session.workspace) == thin
        assert (session.goto(0).stands, walk(session.workspace)) == ((), opened)
        assert (walk(work), moments(work)) == (theirs, times)


def apart(root: Path) -> dict[bytes, object]:
    """A walk that names no place. Of the root only what is in it: the self-test has written there."""
    top = os.fsencode(root)
    found = {path: repr(seen).replace(repr(top)[2:-1], "") for path, seen in walk(root).items()}
    return {**found, b"": None}


def moments(folder: Path) -> dict[str, int]:
    """The change time of everything, which nobody can set back."""
    return {str(path): path.lstat().st_ctime_ns for path in folder.rglob("*")}
