"""Staging copies the user's folder exactly and never follows what is in it."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mulligan.runtime.errors import WorkspaceInvalid
from mulligan.runtime.folder import Kind, points_outside
from mulligan.runtime.importing import Importing
from mulligan.runtime.workspace import Baseline, stage


def staged(source: Path | None, target: Path) -> Baseline:
    return stage(source, target, uid=os.getuid(), gid=os.getgid())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "session" / "files" / "workspace"


def test_contents_modes_times_links_and_odd_names_are_copied(source: Path, target: Path) -> None:
    odd = os.fsencode(source) + b"/\xff\xfe name\n"
    Path(os.fsdecode(odd)).write_bytes(b"odd")
    (source / "empty" / "inner").mkdir(parents=True)
    (source / "run.sh").write_text("echo")
    (source / "run.sh").chmod(0o750)
    os.utime(source / "run.sh", ns=(5, 1_234_567_890_123_456_789))
    (source / "dangling").symlink_to("/nowhere/at/all")
    os.utime(source / "empty", ns=(7, 987_654_321))
    baseline = staged(source, target)
    assert Path(os.fsdecode(os.fsencode(target) + b"/\xff\xfe name\n")).read_bytes() == b"odd"
    status = (target / "run.sh").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o750, 1_234_567_890_123_456_789)
    assert (target / "empty").stat().st_mtime_ns == 987_654_321
    assert (target / "empty" / "inner").is_dir()
    assert (target / "dangling").readlink() == Path("/nowhere/at/all")
    assert set(baseline.entries) == {b"\xff\xfe name\n", b"empty", b"empty/inner", b"run.sh", b"dangling"}
    assert baseline.outside == {(b"dangling", b"/nowhere/at/all")}


def test_a_link_out_of_the_folder_is_not_followed(source: Path, target: Path, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "key").write_text("hush")
    (source / "out").symlink_to(tmp_path / "secrets")
    baseline = staged(source, target)
    assert (target / "out").is_symlink()
    assert set(baseline.entries) == {b"out"}


def test_hard_links_stay_hard_links(source: Path, target: Path) -> None:
    (source / "a").write_text("one")
    (source / "sub").mkdir()
    (source / "sub" / "b").hardlink_to(source / "a")
    staged(source, target)
    assert (target / "a").stat().st_ino == (target / "sub" / "b").stat().st_ino
    assert (target / "a").stat().st_ino != (source / "a").stat().st_ino


def test_a_hole_stays_a_hole_and_its_digest_is_that_of_zeros(source: Path, target: Path) -> None:
    with (source / "sparse").open("wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"middle")
    (source / "zeros").write_bytes(bytes(300_000))
    with (source / "hole").open("wb") as file:
        file.truncate(300_000)
    baseline = staged(source, target)
    status = (target / "sparse").stat()
    assert status.st_size == 64 << 20
    assert status.st_blocks * 512 < 1 << 20
    assert (target / "sparse").read_bytes() == (source / "sparse").read_bytes()
    assert baseline.entries[b"zeros"].content == baseline.entries[b"hole"].content


def test_user_xattrs_are_copied(source: Path, target: Path) -> None:
    (source / "tagged").write_text("x")
    os.setxattr(source / "tagged", "user.origin", b"lab 7")
    staged(source, target)
    assert os.getxattr(target / "tagged", "user.origin") == b"lab 7"


def test_sockets_and_pipes_are_left_out_and_listed(source: Path, target: Path) -> None:
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(source / "sock"))
        baseline = staged(source, target)
    assert sorted(baseline.left_out) == [b"pipe", b"sock"]
    assert list(target.iterdir()) == []


def test_setuid_bits_do_not_enter_the_sandbox(source: Path, target: Path) -> None:
    (source / "tool").write_text("x")
    (source / "tool").chmod(0o4755)
    staged(source, target)
    assert stat.S_IMODE((target / "tool").stat().st_mode) == 0o755


def test_a_read_only_folder_is_copied_with_what_is_in_it(source: Path, target: Path) -> None:
    (source / "fixed").mkdir()
    (source / "fixed" / "file").write_text("x")
    (source / "fixed").chmod(0o555)
    staged(source, target)
    assert stat.S_IMODE((target / "fixed").stat().st_mode) == 0o555
    assert (target / "fixed" / "file").read_text() == "x"


def test_the_copy_does_not_share_later_writes(source: Path, target: Path) -> None:
    (source / "f").write_text("before")
    staged(source, target)
    (target / "f").write_text("after!")
    assert (source / "f").read_text() == "before"


def test_without_a_folder_the_workspace_is_empty(target: Path) -> None:
    baseline = staged(None, target)
    assert baseline.source is None
    assert list(target.iterdir()) == []


def test_progress_ends_at_the_number_of_entries(source: Path, target: Path) -> None:
    for name in "abc":
        (source / name).write_text(name)
    told: list[Importing] = []
    stage(source, target, uid=os.getuid(), gid=os.getgid(), progress=told.append)
    assert told == [Importing("copying", number, 3, number, 3) for number in (1, 2, 3)]


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path, target: Path) -> None:
    with pytest.raises(WorkspaceInvalid, match="does not exist"):
        staged(tmp_path / "nowhere", target)


def test_a_file_is_refused_and_its_folder_named(tmp_path: Path, target: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(WorkspaceInvalid, match="is not a folder") as caught:
        staged(tmp_path / "file", target)
    assert str(tmp_path) in caught.value.hint


def test_a_folder_that_contains_the_sessions_state_is_refused(tmp_path: Path, target: Path) -> None:
    with pytest.raises(WorkspaceInvalid, match="state folder"):
        staged(tmp_path, target)


def test_a_symlink_to_a_folder_stages_the_folder(source: Path, target: Path, tmp_path: Path) -> None:
    (source / "f").write_text("x")
    (tmp_path / "link").symlink_to(source)
    assert staged(tmp_path / "link", target).source == source


def test_an_unreadable_file_is_refused_by_its_path() -> None:
    """In a process of its own, which may read nothing that its mode forbids even where the tests are root."""
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from mulligan.runtime.workspace import stage\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: stage(Path(sys.argv[1]), Path(sys.argv[2]), uid=os.getuid(), gid=os.getgid())\n"
        "except ValueError as error: print(type(error).__name__, error)\n"
    )
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o777)
        (root / "data" / "sub").mkdir(parents=True)
        locked = root / "data" / "sub" / "locked"
        locked.write_text("x")
        locked.chmod(0)
        command = [sys.executable, "-c", code, str(root / "data"), str(root / "out")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("WorkspaceInvalid")
    assert str(locked) in done.stdout


@pytest.mark.parametrize(
    ("path", "target", "outside"),
    [
        (b"a", b"b", False),
        (b"a", b"sub/../b", True),
        (b"a", b"..", True),
        (b"a", b"/etc", True),
        (b"d/a", b"../b", False),
        (b"d/a", b"./../b", False),
        (b"d/a", b"../../b", True),
        (b"d/a", b"..", False),
        (b"d/a", b"...", False),
    ],
)
def test_a_link_points_outside_when_it_could(path: bytes, target: bytes, outside: bool) -> None:
    assert points_outside(path, target) is outside


def test_every_entry_says_its_kind(source: Path, target: Path) -> None:
    (source / "f").write_text("x")
    (source / "d").mkdir()
    (source / "l").symlink_to("f")
    kinds = {path: entry.kind for path, entry in staged(source, target).entries.items()}
    assert kinds == {b"f": Kind.FILE, b"d": Kind.FOLDER, b"l": Kind.LINK}
