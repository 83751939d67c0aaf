"""A folder that lies beneath its session: which way is taken, what the user changes meanwhile, and commit."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mulligan
from mulligan import Session, Step
from mulligan.policies.exclusion import NOTHING
from mulligan.runtime import checkpoint, layering, unfolding
from mulligan.runtime.bringing import bring
from mulligan.runtime.errors import WorkspaceInvalid
from mulligan.runtime.folder import Folder
from mulligan.sandbox.snapshots import Kind, SnapshotStore
from mulligan.sandbox.snapshots.entry import is_reference
from mulligan.sandbox.snapshots.reader import StoreReader

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can mount an overlay: the sessions of others have copies"
)
BENEATH = "an overlay: nothing is copied"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    work = tmp_path / "work"
    (work / "d" / "e").mkdir(parents=True)
    for name in ("a", "b", "d/c", "d/e/f"):
        (work / name).write_text(f"{name}\n")
    (work / "large").write_bytes(b"large" * 300_000)
    os.mkfifo(work / "pipe")
    await_settled(work / "pipe")
    return work


def await_settled(path: Path) -> None:
    """A file that only just changed is not referred to."""
    settled = path.stat().st_ctime_ns + 2 * layering._SETTLED_NS
    while time.time_ns() < settled:
        time.sleep(0.005)


@pytest.fixture
def session(work: Path, tmp_path: Path) -> Iterator[Session]:
    with mulligan.open(work, isolation="bubblewrap", state=tmp_path / "state", staging="overlay") as session:
        yield session


def run(session: Session, source: str) -> Step:
    step = session.run(source, timeout=60)
    assert step.outcome.kind == "completed", step.outcome.text
    assert step.reach is not None  # its checkpoint is there
    return step


@pytest.fixture
def by_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a large folder: nothing is looked at that no watch leads to."""
    monkeypatch.setattr(checkpoint, "SMALL", -1)


def changed(step: Step) -> set[str]:
    return {change.path for change in step.changes}


def contents(folder: Path) -> dict[str, str]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "large")
    return {str(path.relative_to(folder)): path.read_text() for path in found}


OPENED = {"a": "a\n", "b": "b\n", "d/c": "d/c\n", "d/e/f": "d/e/f\n"}


def test_nothing_is_copied_into_the_upper_layer_or_the_store(session: Session, work: Path) -> None:
    assert session.report.workspace == BENEATH
    assert contents(session.workspace) == OPENED and not (session.workspace / "pipe").exists()
    written = [path.name for path in (session.folders.layer / "upper").rglob("*")]
    assert written == ["pipe"]  # a whiteout
    assert [path for path in session.folders.store.rglob("*/*") if path.is_file()] == []


def test_what_was_taken_over_is_read_from_the_folder_by_others_too(session: Session) -> None:
    with StoreReader.attach(session.folders.store) as reader:
        assert reader.read(1, b"workspace/d/c") == b"d/c\n"
        assert reader.read(1, b"workspace/large", 7) == b"largela"
        assert reader.verify() == ()


def test_undo_gives_back_what_the_user_changed_only_after_the_session_did(
    session: Session, work: Path
) -> None:
    run(session, "import os; open('a', 'w').write('mine'); os.remove('large'); os.chmod('d/c', 0o600)")
    (work / "a").write_text("the user's")
    (work / "large").write_bytes(b"the user's")
    (work / "d" / "c").write_text("the user's")
    assert session.undo().stands == ()
    assert contents(session.workspace) == OPENED
    assert (session.workspace / "large").read_bytes() == b"large" * 300_000
    assert (work / "a").read_text() == "the user's"


def test_what_the_user_changed_first_stands_and_is_named(session: Session, work: Path) -> None:
    run(session, "open('new', 'w').write('x')")
    (work / "a").write_text("the user's, and longer")
    (work / "b").unlink()
    run(session, "pass")
    assert [line.split(":")[0] for line in session.reach(1).stands] == ["workspace/a", "workspace/b"]
    assert session.reach(2).stands == ()
    back = session.undo(2)
    said = [line for line in back.stands if "was changed there" in line]
    assert sorted(line.split(":")[0] for line in said) == ["workspace/a", "workspace/b"], back.stands
    assert (session.workspace / "a").read_text() == "the user's, and longer"
    assert (work / "a").read_text() == "the user's, and longer" and not (work / "b").exists()
    assert not (session.folders.layer / "upper" / "a").exists()  # nor was it opened to be written
    assert session._do(session._store.verify).result()  # and it is told to whoever asks


def test_what_the_user_adds_is_noticed_and_is_theirs(session: Session, work: Path) -> None:
    (work / "d" / "theirs").mkdir()
    (work / "d" / "theirs" / "note").write_text("theirs")
    run(session, "pass")
    (work / "d" / "theirs" / "note").write_text("theirs, later")
    run(session, "pass")
    assert (work / "d" / "theirs" / "note").read_text() == "theirs, later"
    assert not [each for each in session.commit().applied if b"theirs" in each.path]
    session.undo()
    assert (work / "d" / "theirs" / "note").read_text() == "theirs, later"


@pytest.mark.usefixtures("by_watches")
def test_what_the_user_changes_below_a_folder_that_the_session_replaced_is_seen(
    session: Session, work: Path
) -> None:
    run(session, "import os; os.rename('d', 'g'); os.mkdir('d'); os.mkdir('d/e')")
    (work / "d" / "e" / "f").write_text("the user's, and longer")
    assert "g/e/f" in changed(run(session, "pass"))


@pytest.mark.usefixtures("by_watches")
def test_a_folder_that_the_user_makes_while_the_session_opens_is_watched(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay = layering.lay

    def slowly(*args: Any, **how: Any) -> layering.Layered:
        laid = lay(*args, **how)
        (work / "d" / "late").mkdir()
        return laid

    monkeypatch.setattr(layering, "lay", slowly)
    with mulligan.open(work, isolation="bubblewrap", state=tmp_path / "state", staging="overlay") as session:
        (work / "d" / "late" / "note").write_text("theirs")
        assert "d/late/note" in changed(run(session, "pass"))
        (work / "d" / "late" / "note").write_text("theirs, later")
        assert "d/late/note" in changed(run(session, "pass"))


def test_the_users_folder_is_found_where_they_moved_it(session: Session, work: Path) -> None:
    work.rename(work.with_name("moved"))
    run(session, "import os; open('a', 'w').write('mine'); os.remove('d/c')")
    assert session.undo().stands == () and contents(session.workspace) == OPENED


def test_a_path_that_both_changed_is_a_conflict(session: Session, work: Path) -> None:
    (work / "b").write_text("the user's, first")
    run(session, "open('a', 'w').write('mine'); open('d/c', 'w').write('mine'); open('b', 'w').write('mine')")
    (work / "a").write_text("the user's")
    done = session.commit()
    assert {conflict.path for conflict in done.conflicts} == {b"a", b"b"}
    assert contents(work) == OPENED | {"a": "the user's", "b": "the user's, first", "d/c": "mine"}


def test_a_commit_takes_nothing_from_a_session_that_renamed_folders(session: Session, work: Path) -> None:
    run(session, "import os; os.rename('d', 'g'); os.mkdir('d'); open('d/fresh', 'w').write('fresh')")
    became = {"a": "a\n", "b": "b\n", "g/c": "d/c\n", "g/e/f": "d/e/f\n", "d/fresh": "fresh"}
    assert session.commit().conflicts == ()
    assert contents(work) == became == contents(session.workspace)
    upper = session.folders.layer / "upper"
    assert (upper / "g" / "e" / "f").is_file() and "trusted.overlay.redirect" not in os.listxattr(upper / "g")
    assert session.undo().stands == () and contents(session.workspace) == OPENED
    assert session.commit().conflicts == () and contents(work) == OPENED
    assert session.redo().stands == () and contents(session.workspace) == became


def test_a_commit_keeps_what_it_overwrites_though_no_snapshot_has_seen_the_change(
    session: Session, work: Path
) -> None:
    run(session, "pass")
    (session.workspace / "a").write_text("a process wrote this after the checkpoint")
    assert [done.path for done in session.commit().applied] == [b"a"]
    assert session.undo().stands == () and contents(session.workspace) == OPENED


def test_what_a_return_copied_up_is_kept_though_what_was_there_is_not(session: Session, work: Path) -> None:
    (session.workspace / "a").write_text("to be taken back")
    head = session._store.head
    assert head is not None
    back = session._do(lambda: session._store.restore(head, keep=False)).result()
    assert back.stands == ()
    (work / "a").write_text("the user's, and longer")
    run(session, "open('a', 'w').write('mine')")
    assert session.undo().stands == () and contents(session.workspace) == OPENED


def test_a_folder_that_cannot_be_made_anew_is_whole_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    for name in ("a", "b", "e/c"):
        (tmp_path / "d" / name).write_text(name)

    def refuse(*args: object) -> None:
        raise OSError(28, "no space is left")

    monkeypatch.setattr(unfolding, "copy_xattrs", refuse)
    with Folder.open(tmp_path) as top, pytest.raises(OSError, match="no space"):
        unfolding._renew(top.descriptor, b"d")
    assert contents(tmp_path) == {"d/a": "a", "d/b": "b", "d/e/c": "e/c"} and os.listdir(tmp_path) == ["d"]
    (tmp_path / ".unfolded-0").mkdir()
    with pytest.raises(OSError, match="is left of a commit that failed"):
        unfolding.unfold(tmp_path, tmp_path)


def test_a_large_folder_lies_beneath_by_itself_and_a_small_one_is_copied(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with mulligan.open(work, isolation="bubblewrap", state=tmp_path / "state") as session:
        assert session.report.workspace == "a copy: it is small"
    monkeypatch.setattr(layering, "MANY", 3)
    with mulligan.open(work, isolation="bubblewrap", state=tmp_path / "state", keep=True) as session:
        assert session.report.workspace == "a copy: the session's files are to be kept"
    with mulligan.open(work, isolation="bubblewrap", state=tmp_path / "state") as session:
        assert session.report.workspace == BENEATH


def test_where_it_cannot_lie_beneath_it_is_copied_or_refused_and_nothing_stays_mounted(
    work: Path, tmp_path: Path
) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        (Path(name) / "a").write_text("a")
        with pytest.raises(WorkspaceInvalid, match="cannot be laid beneath the session: a filesystem"):
            mulligan.open(name, isolation="bubblewrap", state=tmp_path / "state", staging="overlay")
    with pytest.raises(WorkspaceInvalid, match="session: the session's files are to be kept") as refused:
        mulligan.open(work, isolation="bubblewrap", state=tmp_path / "state", staging="overlay", keep=True)
    assert refused.value.hint == "with staging='auto' it is copied instead"
    with pytest.raises(WorkspaceInvalid, match="staging is 'auto', 'copy', 'overlay', not 'link'"):
        mulligan.open(tmp_path, isolation="bubblewrap", state=tmp_path / "state", staging="link")
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


def test_the_command_line_says_over_what_it_works(work: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mulligan.runtime.cli", "run", "-", "--workspace", str(work)]
    command += ["--isolation", "bubblewrap", "--state", str(tmp_path / "state"), "--staging", "overlay"]
    told = subprocess.run(
        command, input="print(open('a').read())", capture_output=True, text=True, timeout=100, check=False
    )
    assert told.returncode == 0, told.stderr
    assert ", over /" in " ".join(told.stdout.split()) and "a\n" in told.stdout


def test_folders_of_several_users_are_copied(work: Path, tmp_path: Path) -> None:
    os.chown(work / "d" / "e", 1234, 1234)
    place = layering.Place(tmp_path / "files" / "workspace", tmp_path / "layer")
    place.workspace.mkdir(parents=True)
    with pytest.raises(layering.NotLayered, match="belong to several users: d/e"):
        layering.lay(work, place, user=(1000, 1000), exclude=NOTHING, only_large=False)
    assert not place.layer.exists() and not os.path.ismount(place.workspace)


def test_a_layer_of_another_overlay_is_copied(work: Path, tmp_path: Path) -> None:
    place = layering.Place(tmp_path / "files" / "workspace", tmp_path / "layer")
    place.workspace.mkdir(parents=True)
    held = sorted(os.listdir("/proc/self/fd"))
    os.setxattr(work / "d", "trusted.overlay.opaque", b"x")
    with pytest.raises(layering.NotLayered, match="a layer of another overlay: d"):
        layering.lay(work, place, user=(1000, 1000), exclude=NOTHING, only_large=False)
    assert sorted(os.listdir("/proc/self/fd")) == held  # neither watches nor the folder stay open


def test_a_file_with_attributes_is_referred_to_and_has_them_again(work: Path, tmp_path: Path) -> None:
    os.setxattr(work / "a", "user.kept", b"theirs")
    await_settled(work / "a")
    with mulligan.open(work, isolation="bubblewrap", state=tmp_path / "state", staging="overlay") as session:
        assert [path for path in session.folders.store.rglob("*/*") if path.is_file()] == []
        run(session, "import os; os.removexattr('a', 'user.kept'); os.setxattr('b', 'user.new', b'mine')")
        assert session.undo().stands == ()
        assert os.getxattr(session.workspace / "a", "user.kept") == b"theirs"
        assert os.listxattr(session.workspace / "b") == []


def test_what_was_touched_before_the_first_snapshot_is_in_it_and_the_rest_is_as_the_mount_shows_it(
    work: Path, tmp_path: Path
) -> None:
    for name in ("still/in", "up", "gone", "theirs", "moved"):
        (work / name).mkdir(parents=True)
        for number in range(3):
            (work / name / f"{number}").write_text(f"{name} {number}")
        (work / name / "link").symlink_to("1")
    os.setxattr(work / "still" / "in" / "2", "user.kept", b"theirs")
    os.link(work / "b", work / "d" / "also b")
    await_settled(work / "d")
    place = layering.Place(tmp_path / "files" / "workspace", tmp_path / "layer")
    place.workspace.mkdir(parents=True)
    laid = layering.lay(work, place, user=(1000, 1000), exclude=NOTHING, only_large=False)
    try:
        with SnapshotStore.open(tmp_path / "files", tmp_path / "store") as store:
            store.lie_on(laid.lower, laid.watches)
            ours = place.workspace
            (ours / "up" / "0").write_text("the session's")
            (ours / "gone" / "1").unlink()
            os.rename(ours / "moved", ours / "again")
            (ours / "moved").mkdir()
            (work / "theirs" / "0").write_text("the user's")
            (work / "theirs" / "new").write_text("the user's")
            first = store.snapshot()
            seen = {b"workspace/" + path: st for path, st in everything(ours)}
            entries = {
                path: each for path, each in store.entries(first.id).items() if path[:10] == b"workspace/"
            }
            assert entries.keys() == seen.keys()
            for path, st in seen.items():
                entry, found = entries[path], tmp_path / "files" / os.fsdecode(path)
                shown = (stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns)
                assert (entry.mode, entry.uid, entry.gid, entry.mtime_ns) == shown, path
                if entry.kind is Kind.FILE:
                    assert store.read(first.id, path) == found.read_bytes()
                    assert dict(entry.xattrs) == {
                        os.fsencode(name): os.getxattr(found, name) for name in os.listxattr(found)
                    }
            assert is_reference(entries[b"workspace/still/in/1"].data)
            assert (
                store.snapshot(thorough=True).id == first.id
            )  # by the keys that the first has, nothing changed
            (ours / "still" / "in" / "0").write_text("changed")
            assert {each.path for each in store.snapshot().changes} >= {b"workspace/still/in/0"}
            assert store.restore(first.id).stands == ()
            assert (ours / "still" / "in" / "0").read_text() == "still/in 0"
    finally:
        laid.close()
        layering.unlay(place)


def test_where_the_users_folders_cannot_be_watched_all_of_them_is_looked_at(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layering, "MOST_WATCHES", 1)
    place = layering.Place(tmp_path / "files" / "workspace", tmp_path / "layer")
    place.workspace.mkdir(parents=True)
    laid = layering.lay(work, place, user=(1000, 1000), exclude=NOTHING, only_large=False)
    try:
        with SnapshotStore.open(tmp_path / "files", tmp_path / "store") as store:
            store.lie_on(laid.lower, laid.watches)
            assert store.detector.why == "there are more than 1 folders"
            (work / "d" / "e" / "f").write_text("the user's")
            first = store.snapshot()
            assert store.read(first.id, b"workspace/d/e/f") == b"the user's"
            (work / "d" / "c").write_text("the user's, and longer")
            assert {each.path for each in store.snapshot().changes} == {b"workspace/d/c"}
    finally:
        laid.close()
        layering.unlay(place)


def everything(folder: Path) -> list[tuple[bytes, os.stat_result]]:
    return [(os.fsencode(path.relative_to(folder)), path.lstat()) for path in folder.rglob("*")]


def test_an_ordinary_user_has_a_copy_and_is_told_why(tmp_path: Path) -> None:
    def as_nobody() -> None:
        os.setgid(65534)
        os.setuid(65534)
        place = layering.Place(mine / "files" / "workspace", mine / "layer")
        asked: dict[str, Any] = {"obstacle": "", "user": (65534, 65534), "progress": None, "exclude": NOTHING}
        said = bring(work, place, staging="auto", **asked).how
        with pytest.raises(WorkspaceInvalid, match="without root no folder in it could be renamed"):
            bring(work, place, staging="overlay", **asked)
        (mine / "said").write_text(said + (place.workspace / "a").read_text())

    with tempfile.TemporaryDirectory() as name:
        mine, work = Path(name) / "mine", Path(name) / "work"
        mine.mkdir()
        work.mkdir()
        (work / "a").write_text("!")
        for folder in (Path(name), mine):
            os.chown(folder, 65534, 65534)
        child = multiprocessing.get_context("fork").Process(target=as_nobody)
        child.start()
        child.join(60)
        assert (mine / "said").read_text() == "a copy: without root no folder in it could be renamed!"


KILLED = """
import sys, mulligan
session = mulligan.open(sys.argv[1], isolation="bubblewrap", state=sys.argv[2], staging="overlay")
print(session.workspace, flush=True)
sys.stdin.read()
"""


def test_the_mount_of_a_killed_process_goes_when_the_next_session_opens(work: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    command = [sys.executable, "-c", KILLED, str(work), str(state)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        workspace = child.stdout.readline().strip()
        assert os.path.ismount(workspace)
        child.send_signal(signal.SIGKILL)
    with mulligan.open(isolation="bubblewrap", state=state):
        assert workspace not in Path("/proc/self/mounts").read_text() and not Path(workspace).exists()
    assert contents(work) == OPENED
