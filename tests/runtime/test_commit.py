"""Commit writes what the action changed, never over what the user changed, never through a link, all or nothing."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mulligan.runtime.commit import Commit, commit, recover, revert
from mulligan.runtime.errors import CommitFailed, WorkspaceInvalid
from mulligan.runtime.workspace import Baseline, stage


@dataclass
class Bench:
    """A user's folder, the workspace staged from it, and the session's journal."""

    theirs: Path
    ours: Path
    journal: Path
    baseline: Baseline

    @classmethod
    def make(cls, root: Path, **files: str) -> Bench:
        theirs = root / "data"
        theirs.mkdir()
        for name, text in files.items():
            path = theirs / name.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        ours = root / "session" / "workspace"
        baseline = stage(theirs, ours, uid=os.getuid(), gid=os.getgid())
        return cls(theirs, ours, root / "session" / "commits", baseline)

    def commit(self) -> Commit:
        done = commit(self.ours, self.baseline, self.journal)
        self.baseline = done.baseline
        return done

    def revert(self, done: Commit) -> Commit:
        back = revert(done, self.baseline)
        self.baseline = back.baseline
        return back


def tree(root: Path) -> dict[str, tuple[str, int, bytes]]:
    """An independent walk: name -> (type, permissions, content)."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        mode = stat.S_IMODE(status.st_mode)
        if path.is_symlink():
            found[str(path.relative_to(root))] = ("link", 0, os.readlink(path).encode())
        elif path.is_dir():
            found[str(path.relative_to(root))] = ("folder", mode, b"")
        else:
            found[str(path.relative_to(root))] = ("file", mode, path.read_bytes())
    return found


def did(done: Commit) -> dict[bytes, str]:
    return {applied.path: applied.did for applied in done.applied}


def conflicts(done: Commit) -> set[bytes]:
    return {conflict.path for conflict in done.conflicts}


def test_added_changed_and_removed_paths_arrive(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, keep="k", edit="old", drop="d", sub__x="x")
    (bench.ours / "edit").write_text("new")
    (bench.ours / "drop").unlink()
    shutil.rmtree(bench.ours / "sub")
    (bench.ours / "fresh").mkdir()
    (bench.ours / "fresh" / "f").write_text("f")
    (bench.ours / "link").symlink_to("fresh/f")
    done = bench.commit()
    assert tree(bench.theirs) == tree(bench.ours)
    assert did(done) == {
        b"edit": "changed",
        b"drop": "removed",
        b"sub": "removed",
        b"sub/x": "removed",
        b"fresh": "added",
        b"fresh/f": "added",
        b"link": "added",
    }
    assert done.conflicts == ()


def test_nothing_changed_is_nothing_written(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, a="a")
    (bench.ours / "a").write_text("b")
    (bench.ours / "a").write_text("a")  # as an undo leaves it: another ctime, the same content
    done = bench.commit()
    assert (done.applied, done.conflicts, done.patch) == ((), (), None)
    assert list(bench.journal.iterdir()) == []


def test_a_second_commit_writes_only_what_is_new(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, a="a")
    (bench.ours / "a").write_text("b")
    bench.commit()
    (bench.ours / "c").write_text("c")
    assert did(bench.commit()) == {b"c": "added"}


def test_a_path_that_both_sides_changed_is_a_conflict_and_the_others_are_applied(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, both="base", mine="base", gone="base")
    (bench.ours / "both").write_text("action")
    (bench.ours / "mine").write_text("action")
    (bench.ours / "gone").write_text("action")
    (bench.theirs / "both").write_text("user")
    (bench.theirs / "gone").unlink()
    done = bench.commit()
    assert {(c.path, c.ours, c.theirs) for c in done.conflicts} == {
        (b"both", "changed", "changed"),
        (b"gone", "changed", "removed"),
    }
    assert (bench.theirs / "both").read_text() == "user"
    assert not (bench.theirs / "gone").exists()
    assert (bench.theirs / "mine").read_text() == "action"


def test_an_edit_that_keeps_size_and_mtime_is_noticed(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, f="base")
    before = (bench.theirs / "f").stat()
    with (bench.theirs / "f").open("r+") as file:
        file.write("user")
    os.utime(bench.theirs / "f", ns=(before.st_atime_ns, before.st_mtime_ns))
    (bench.ours / "f").write_text("mine")
    assert conflicts(bench.commit()) == {b"f"}
    assert (bench.theirs / "f").read_text() == "user"


def test_what_only_the_user_changed_is_no_conflict(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, f="base", g="base")
    (bench.theirs / "f").write_text("user")
    (bench.ours / "g").write_text("action")
    assert bench.commit().conflicts == ()
    assert (bench.theirs / "f").read_text() == "user"


def test_the_same_change_on_both_sides_is_settled(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, f="base")
    (bench.ours / "f").write_text("same")
    (bench.theirs / "f").write_text("same")
    done = bench.commit()
    assert (done.applied, done.conflicts) == ((), ())
    (bench.ours / "f").write_text("later")
    assert did(bench.commit()) == {b"f": "changed"}


def test_a_file_becomes_a_folder_and_a_folder_a_file(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, f="f", d__x="x", d__y="y")
    start = tree(bench.theirs)
    (bench.ours / "f").unlink()
    (bench.ours / "f").mkdir()
    (bench.ours / "f" / "in").write_text("in")
    shutil.rmtree(bench.ours / "d")
    (bench.ours / "d").write_text("d")
    done = bench.commit()
    assert tree(bench.theirs) == tree(bench.ours)
    assert bench.revert(done).conflicts == ()
    assert tree(bench.theirs) == start


def test_a_folder_that_the_user_put_something_into_is_not_removed(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, d__x="x")
    (bench.theirs / "d" / "new").write_text("user")
    shutil.rmtree(bench.ours / "d")
    done = bench.commit()
    assert conflicts(done) == {b"d"}
    assert (bench.theirs / "d" / "new").read_text() == "user"


def test_what_goes_into_a_folder_that_the_user_removed_is_a_conflict(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, d__x="x")
    shutil.rmtree(bench.theirs / "d")
    (bench.ours / "d" / "deep").mkdir()
    (bench.ours / "d" / "deep" / "new").write_text("n")
    assert conflicts(bench.commit()) == {b"d/deep", b"d/deep/new"}
    assert not (bench.theirs / "d").exists()


def test_revert_gives_back_contents_modes_times_and_xattrs(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, a="a", b="b", c__d="d")
    os.setxattr(bench.theirs / "b", "user.tag", b"t")
    (bench.theirs / "b").chmod(0o640)
    os.utime(bench.theirs / "b", ns=(1, 1_000_000_001))
    shutil.rmtree(bench.ours)
    bench.baseline = stage(bench.theirs, bench.ours, uid=os.getuid(), gid=os.getgid())
    start = tree(bench.theirs)
    (bench.ours / "a").write_text("changed")
    (bench.ours / "b").unlink()
    shutil.rmtree(bench.ours / "c")
    done = bench.commit()
    back = bench.revert(done)
    assert back.conflicts == ()
    assert tree(bench.theirs) == start
    assert (bench.theirs / "b").stat().st_mtime_ns == 1_000_000_001
    assert os.getxattr(bench.theirs / "b", "user.tag") == b"t"


def test_a_revert_can_be_reverted_and_committed_again(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, a="a")
    (bench.ours / "a").write_text("b")
    done = bench.commit()
    back = bench.revert(done)
    assert (bench.theirs / "a").read_text() == "a"
    bench.revert(back)
    assert (bench.theirs / "a").read_text() == "b"
    bench.revert(done)
    assert did(bench.commit()) == {b"a": "changed"}


def test_a_path_that_the_user_changed_after_the_commit_is_not_reverted(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, a="a", b="b")
    (bench.ours / "a").write_text("action")
    (bench.ours / "b").write_text("action")
    done = bench.commit()
    (bench.theirs / "a").write_text("user")
    back = bench.revert(done)
    assert conflicts(back) == {b"a"}
    assert (bench.theirs / "a").read_text() == "user"
    assert (bench.theirs / "b").read_text() == "b"


def test_names_that_are_not_text_are_committed_and_reverted(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path)
    name = os.fsdecode(b"\xff\x80 \x1b[31m\n")
    (bench.ours / name).write_text("odd")
    done = bench.commit()
    assert (bench.theirs / name).read_text() == "odd"
    bench.revert(done)
    assert os.listdir(bench.theirs) == []


def test_a_replaced_file_keeps_its_mode_owner_and_xattrs(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, f="f")
    (bench.theirs / "f").chmod(0o600)
    os.setxattr(bench.theirs / "f", "user.tag", b"t")
    owner = (4321, 4322) if os.geteuid() == 0 else (os.getuid(), os.getgid())
    os.chown(bench.theirs / "f", *owner)
    shutil.rmtree(bench.ours)
    bench.baseline = stage(
        bench.theirs, bench.ours, uid=1000 if os.geteuid() == 0 else os.getuid(), gid=os.getgid()
    )
    (bench.ours / "f").write_text("new")
    bench.commit()
    status = (bench.theirs / "f").stat()
    assert (status.st_uid, status.st_gid) == owner
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert os.getxattr(bench.theirs / "f", "user.tag") == b"t"


def test_setuid_bits_are_never_carried(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, own="x")
    (bench.theirs / "own").chmod(0o4755)
    shutil.rmtree(bench.ours)
    bench.baseline = stage(bench.theirs, bench.ours, uid=os.getuid(), gid=os.getgid())
    (bench.ours / "own").write_text("hostile")
    (bench.ours / "new").write_text("hostile")
    (bench.ours / "new").chmod(0o6755)
    done = bench.commit()
    assert stat.S_IMODE((bench.theirs / "own").stat().st_mode) == 0o755
    assert stat.S_IMODE((bench.theirs / "new").stat().st_mode) == 0o755
    bench.revert(done)
    assert stat.S_IMODE((bench.theirs / "own").stat().st_mode) == 0o4755


def test_a_change_of_mode_alone_is_committed_and_reverted(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, f="f", d__x="x")
    start = tree(bench.theirs)
    (bench.ours / "f").chmod(0o755)
    (bench.ours / "d").chmod(0o700)
    done = bench.commit()
    assert did(done) == {b"f": "changed in mode", b"d": "changed in mode"}
    assert tree(bench.theirs) == tree(bench.ours)
    bench.revert(done)
    assert tree(bench.theirs) == start


def test_links_that_point_outside_are_conflicts(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, f="f", d__x="x")
    (bench.ours / "abs").symlink_to("/etc/passwd")
    (bench.ours / "up").symlink_to("../secret")
    (bench.ours / "d" / "in").symlink_to("../f")
    (bench.ours / "f").unlink()
    (bench.ours / "f").symlink_to("d/../../secret")
    done = bench.commit()
    assert conflicts(done) == {b"abs", b"up", b"f"}
    assert did(done) == {b"d/in": "added"}
    assert (bench.theirs / "f").read_text() == "f"


def test_a_link_that_pointed_outside_from_the_start_may_come_back(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, f="f")
    (bench.theirs / "out").symlink_to("/opt/data")
    shutil.rmtree(bench.ours)
    bench.baseline = stage(bench.theirs, bench.ours, uid=os.getuid(), gid=os.getgid())
    (bench.ours / "out").unlink()
    bench.commit()
    (bench.ours / "out").symlink_to("/opt/data")
    assert did(bench.commit()) == {b"out": "added"}


def test_pipes_are_conflicts_and_do_not_block(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, f="f")
    os.mkfifo(bench.ours / "pipe")
    (bench.ours / "f").unlink()
    os.mkfifo(bench.ours / "f")
    assert conflicts(bench.commit()) == {b"pipe", b"f"}
    assert (bench.theirs / "f").read_text() == "f"


def test_a_link_planted_in_the_users_folder_is_not_written_through(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, d__x="x", f="f")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text("x")
    (outside / "f").write_text("f")
    shutil.rmtree(bench.theirs / "d")
    (bench.theirs / "d").symlink_to(outside)
    (bench.theirs / "f").unlink()
    (bench.theirs / "f").symlink_to(outside / "f")
    (bench.ours / "d" / "x").write_text("attack")
    (bench.ours / "d" / "new").write_text("attack")
    (bench.ours / "f").write_text("attack")
    assert conflicts(bench.commit()) == {b"d/x", b"d/new", b"f"}
    assert tree(outside) == {"x": ("file", 0o644, b"x"), "f": ("file", 0o644, b"f")}


def test_a_link_planted_before_a_revert_is_not_written_through(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, d__x="x")
    (bench.ours / "d" / "x").write_text("y")
    done = bench.commit()
    outside = tmp_path / "outside"
    (bench.theirs / "d").rename(outside)
    (bench.theirs / "d").symlink_to(outside)
    assert conflicts(bench.revert(done)) == {b"d/x"}
    assert (outside / "x").read_text() == "y"


def test_a_workspace_folder_swapped_for_a_link_brings_nothing_in(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, d__x="x")
    shutil.rmtree(bench.ours / "d")
    (bench.ours / "d").symlink_to("/etc")
    done = bench.commit()
    assert conflicts(done) == {b"d"}
    assert not (bench.theirs / "d").is_symlink()
    assert not (bench.theirs / "d" / "passwd").exists()


def test_a_users_folder_that_was_replaced_is_refused(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, f="f")
    (bench.ours / "f").write_text("new")
    bench.theirs.rename(tmp_path / "moved")
    (tmp_path / "other").mkdir()
    bench.theirs.symlink_to(tmp_path / "other")
    with pytest.raises(WorkspaceInvalid):
        bench.commit()
    bench.theirs.unlink()
    bench.theirs.mkdir()
    with pytest.raises(WorkspaceInvalid, match="another folder"):
        bench.commit()
    assert list((tmp_path / "other").iterdir()) == []
    assert list(bench.theirs.iterdir()) == []


def test_folders_deeper_than_can_be_walked_are_conflicts_not_a_crash(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, f="f")
    at = os.open(bench.ours, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=at)
        inner = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    done = bench.commit()
    assert len(done.conflicts) == 1
    assert done.conflicts[0].path.count(b"/") > 200
    subprocess.run(["rm", "-rf", str(tmp_path)], check=True)


def test_a_failure_takes_everything_back(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, **{f"f{i}": "base" for i in range(6)})
    start = tree(bench.theirs)
    for i in range(6):
        (bench.ours / f"f{i}").write_text("action")

    def damage(done: int, total: int) -> None:
        if done == 3:  # what a bad disk would do to the copy that is about to be written
            (kept,) = bench.journal.glob("*/after/4")
            kept.write_text("rubble")

    with pytest.raises(CommitFailed, match="taken back"):
        commit(bench.ours, bench.baseline, bench.journal, progress=damage)
    assert tree(bench.theirs) == start
    assert list(bench.journal.iterdir()) == []


def test_an_edit_by_the_user_while_the_commit_runs_is_kept(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, a="base", b="base")
    (bench.ours / "a").write_text("action")
    (bench.ours / "b").write_text("action")

    def edit(done: int, total: int) -> None:
        if done == 1:
            (bench.theirs / "b").write_text("user")

    done = commit(bench.ours, bench.baseline, bench.journal, progress=edit)
    assert conflicts(done) == {b"b"}
    assert (bench.theirs / "b").read_text() == "user"
    assert did(done) == {b"a": "changed"}


CUT_SHORT = """
import os, sys
from pathlib import Path
from mulligan.runtime.commit import commit
from mulligan.runtime.workspace import stage

theirs, ours, journal, at = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
baseline = stage(theirs, ours, uid=os.getuid(), gid=os.getgid())
for i in range(8):
    (ours / f"f{i}").write_text("action")
(ours / "kind").unlink()
(ours / "kind").mkdir(mode=0o750)
(ours / "kind" / "new").write_text("n")
os.rename(ours / "folder" / "in", ours / "moved")
os.rmdir(ours / "folder")
(ours / "folder").write_text("now a file")

def reached(done, total):
    if done == at:
        print("there", flush=True)
        sys.stdin.readline()

commit(ours, baseline, journal, progress=reached)
print("finished", flush=True)
"""


def cut_short(tmp_path: Path, at: int) -> tuple[Path, Path]:
    """A user's folder and a journal, after SIGKILL before the write number `at` of a commit."""
    theirs, journal = tmp_path / "data", tmp_path / "session" / "commits"
    (theirs / "folder").mkdir(parents=True)
    (theirs / "folder" / "in").write_text("in")
    (theirs / "kind").write_text("file")
    for i in range(8):
        (theirs / f"f{i}").write_text("base")
    arguments = [str(theirs), str(tmp_path / "session" / "workspace"), str(journal), str(at)]
    child = subprocess.Popen(
        [sys.executable, "-c", CUT_SHORT, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "there\n"
        child.send_signal(signal.SIGKILL)
    return theirs, journal


BASE = {
    **{f"f{i}": ("file", 0o644, b"base") for i in range(8)},
    "folder": ("folder", 0o755, b""),
    "folder/in": ("file", 0o644, b"in"),
    "kind": ("file", 0o644, b"file"),
}


@pytest.mark.parametrize("at", range(16))
def test_a_commit_that_was_killed_is_taken_back(tmp_path: Path, at: int) -> None:
    theirs, journal = cut_short(tmp_path, at)
    (back,) = recover(journal)
    assert tree(theirs) == BASE
    assert back.stands == ()
    assert bool(back.restored) is (at > 0)
    assert recover(journal) == ()


def test_recovery_leaves_what_the_user_changed_since_the_crash(tmp_path: Path) -> None:
    theirs, journal = cut_short(tmp_path, 9)
    (theirs / "f0").write_text("user")
    (back,) = recover(journal)
    assert {conflict.path for conflict in back.stands} == {b"f0"}
    assert tree(theirs) == {**BASE, "f0": ("file", 0o644, b"user")}


def test_recovery_removes_a_temporary_file(tmp_path: Path) -> None:
    theirs, journal = cut_short(tmp_path, 9)
    token = (next(journal.iterdir()) / "record.json").read_text().split('"token": "')[1].split('"')[0]
    (theirs / f".mulligan-{token}").write_text("half of")
    recover(journal)
    assert tree(theirs) == BASE


def test_recovery_says_so_when_the_record_is_damaged(tmp_path: Path) -> None:
    _, journal = cut_short(tmp_path, 9)
    (next(journal.iterdir()) / "record.json").write_text('{"source": "')
    with pytest.raises(CommitFailed, match="damaged"):
        recover(journal)


def waits_for_a_lock(folder: Path) -> bool:
    inode = f":{folder.stat().st_ino} "
    return any("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


def test_two_commits_to_one_folder_wait_for_one_another(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, f="f", g="g")
    other = tmp_path / "other" / "workspace"
    baseline = stage(bench.theirs, other, uid=os.getuid(), gid=os.getgid())
    for name in "fg":
        (bench.ours / name).write_text("one")
    for name in "fh":
        (other / name).write_text("two")
    results: list[Commit] = []
    second = threading.Thread(
        target=lambda: results.append(commit(other, baseline, tmp_path / "other" / "commits"))
    )

    def begin_second(done: int, total: int) -> None:
        if done == 1:
            second.start()
            while second.is_alive() and not waits_for_a_lock(bench.theirs):
                continue
            assert second.is_alive(), "it did not wait"

    first = commit(bench.ours, bench.baseline, bench.journal, progress=begin_second)
    second.join()
    assert first.conflicts == ()
    assert conflicts(results[0]) == {b"f"}
    assert {name: (bench.theirs / name).read_text() for name in "fgh"} == {"f": "one", "g": "one", "h": "two"}


WITHOUT_RIGHTS = """
import encodings.ascii, os, sys
from pathlib import Path
from mulligan.runtime.commit import commit
from mulligan.runtime.workspace import stage

theirs, session = Path(sys.argv[1]), Path(sys.argv[2])
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
ours = session / "workspace"
baseline = stage(theirs, ours, uid=os.getuid(), gid=os.getgid())
theirs.joinpath("fixed").chmod(0o555)
(ours / "fixed" / "new").write_text("n")
(ours / "fixed" / "x").write_text("new")
(ours / "hidden").chmod(0)
(ours / "secret").chmod(0)
(ours / "plain").write_text("new")
done = commit(ours, baseline, session / "commits")
print(sorted(applied.path.decode() for applied in done.applied))
print(sorted(conflict.path.decode() for conflict in done.conflicts))
"""


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that every user of the machine can reach; pytest's own are root's alone where the tests are root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


def test_what_may_not_be_read_or_written_is_a_conflict_and_never_a_removal(reachable: Path) -> None:
    """In a process of its own, which has no rights beyond the modes even where the tests are root."""
    theirs = reachable / "data"
    for name in ("fixed", "hidden"):
        (theirs / name).mkdir(parents=True)
        (theirs / name / "x").write_text("x")
    for name in ("secret", "plain"):
        (theirs / name).write_text("old")
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", "65534:65534", str(theirs)], check=True)
    command = [sys.executable, "-c", WITHOUT_RIGHTS, str(theirs), str(reachable / "session")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert shown == ["['plain']", "['fixed/new', 'fixed/x', 'hidden', 'secret']"]
    (theirs / "fixed").chmod(0o755)
    assert (theirs / "hidden" / "x").read_text() == "x"
    assert (theirs / "plain").read_text() == "new"


def test_a_workspace_that_is_swapped_while_it_is_read_brings_nothing_from_outside(tmp_path: Path) -> None:
    bench = Bench.make(tmp_path, d__f="f", g="g")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_text("SECRET")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (bench.ours / "d").rename(bench.ours / "away")
            (bench.ours / "d").symlink_to(outside)
            (bench.ours / "d").unlink()
            (bench.ours / "away").rename(bench.ours / "d")
            (bench.ours / "g").unlink()
            (bench.ours / "g").symlink_to(outside / "f")
            (bench.ours / "g").unlink()
            (bench.ours / "g").write_text("g2")

    hostile = threading.Thread(target=swap)
    hostile.start()
    try:
        for _ in range(40):
            bench.commit()
            assert all(b"SECRET" not in content for _, _, content in tree(bench.theirs).values())
            assert not any(kind == "link" for kind, _, _ in tree(bench.theirs).values())
    finally:
        stop.set()
        hostile.join()
    bench.commit()
    assert tree(bench.theirs) == tree(bench.ours)


def test_a_session_without_a_folder_cannot_commit(tmp_path: Path) -> None:
    baseline = stage(None, tmp_path / "ws", uid=os.getuid(), gid=os.getgid())
    with pytest.raises(WorkspaceInvalid, match="no folder"):
        commit(tmp_path / "ws", baseline, tmp_path / "commits")


names = st.sampled_from(["a", "b", "d", "d/a", "d/b", "d/e", "d/e/a"])
moves = st.lists(
    st.tuples(names, st.sampled_from(["write", "remove", "folder", "link", "chmod"])), max_size=12
)


def play(root: Path, script: list[tuple[str, str]], mark: str) -> None:
    for name, move in script:
        path = root / name
        if not path.parent.is_dir() or path.parent.is_symlink():
            continue
        is_folder = path.is_dir() and not path.is_symlink()
        if move == "chmod":
            if is_folder or path.is_file():
                path.chmod(0o700)
            continue
        if is_folder:
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        if move == "write":
            path.write_text(mark + name)
        elif move == "folder":
            path.mkdir()
        elif move == "link":
            path.symlink_to("b")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start=moves, action=moves, user=moves)
def test_whatever_both_do_the_users_changes_stand_and_a_revert_gives_them_back(
    tmp_path: Path, start: list[tuple[str, str]], action: list[tuple[str, str]], user: list[tuple[str, str]]
) -> None:
    shutil.rmtree(tmp_path)
    theirs, ours = tmp_path / "data", tmp_path / "session" / "workspace"
    theirs.mkdir(parents=True)
    play(theirs, start, "base ")
    base = tree(theirs)
    baseline = stage(theirs, ours, uid=os.getuid(), gid=os.getgid())
    play(ours, action, "action ")
    play(theirs, user, "user ")
    before = tree(theirs)
    done = commit(ours, baseline, tmp_path / "session" / "commits")
    after, mine = tree(theirs), tree(ours)
    for name in {*before, *after}:
        if after.get(name) != before.get(name):
            assert before.get(name) == base.get(name), f"{name} was the user's"
            assert after.get(name) == mine.get(name)
    unsettled = {
        name
        for name in {*base, *mine}
        if mine.get(name) != base.get(name) and mine.get(name) != after.get(name)
    }
    assert unsettled == {os.fsdecode(path) for path in conflicts(done)}
    assert revert(done, done.baseline).conflicts == ()
    assert tree(theirs) == before
