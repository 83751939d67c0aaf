"""Whatever an action makes of its files, restore and commit neither follow, hang nor crash; what cannot be put
back is listed, and a later undo still works."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.guarantees.conftest import Attacker

#: what is done to a file `a.txt` and a folder `d` with a file in it
DEEDS = {
    "locked": "os.chmod('a.txt', 0); os.chmod('d/x', 0); os.chmod('d', 0)",
    "pipe_in_place_of_a_file": "os.unlink('a.txt'); os.mkfifo('a.txt')",
    "folder_in_place_of_a_file": "os.unlink('a.txt'); os.makedirs('a.txt/b/c')",
    "file_in_place_of_a_folder": "os.unlink('d/x'); os.rmdir('d'); open('d', 'w').close()",
    "socket_in_place_of_a_file": "os.unlink('a.txt'); socket.socket(socket.AF_UNIX).bind('a.txt')",
    "link_in_place_of_a_file": "os.unlink('a.txt'); os.symlink('/etc/passwd', 'a.txt')",
    "link_in_place_of_a_folder": "os.unlink('d/x'); os.rmdir('d'); os.symlink('/etc', 'd')",
    "link_in_a_circle": "os.unlink('a.txt'); os.symlink('a.txt', 'a.txt'); os.symlink('..', 'up')",
    "hard_links": "os.link('a.txt', 'b.txt'); os.link('a.txt', 'd/c'); os.unlink('a.txt')",
    "hard_link_to_the_system": "print(attempt(os.link, '/etc/passwd', 'passwd'))",
    "setuid": "os.chmod('a.txt', 0o6777); os.chmod('d', 0o7777)",
    "names": "[open(n, 'w').close() for n in (b'\\n', b'\\x1b[2J', b'\\xff\\xfe', b'n' * 255, b' ', b'-rf', b'~')]",
    "far_apart": "f = open('a.txt', 'r+b'); f.seek((8 << 30) - 1); f.write(b'x'); f.close()",
    "far_apart_many": "[os.truncate(os.open(f's{i}', os.O_CREAT | os.O_RDWR), 8 << 30) for i in range(50)]",
    "odd_times": "os.utime('a.txt', ns=(0, -(1 << 62))); os.utime('d', ns=(0, (1 << 62)))",
    "attributes": "[os.setxattr('a.txt', f'user.{i}', b'x' * 100) for i in range(20)]",
    "many": "[open(f'd/{i}', 'w').close() for i in range(300)]",
    "deep_500": "[(os.mkdir('n'), os.chdir('n')) for _ in range(500)]; os.chdir('/workspace')",
    "deep_990": "[(os.mkdir('n'), os.chdir('n')) for _ in range(990)]; os.chdir('/workspace')",
    "deep_4000": "[(os.mkdir('n'), os.chdir('n')) for _ in range(4000)]; os.chdir('/workspace')",
    "deep_names": "[(os.mkdir('n' * 255), os.chdir('n' * 255)) for _ in range(50)]; os.chdir('/workspace')",
}


@pytest.mark.parametrize("deed", DEEDS)
def test_files_come_back_or_are_listed(opened: Callable[..., Attacker], tmp_path: Path, deed: str) -> None:
    work = tmp_path / "work"
    work.mkdir()
    attacker = opened(work)
    attacker.run("open('a.txt', 'w').write('a' * 100); os.mkdir('d'); open('d/x', 'w').write('x')")
    marked = attacker.mark()
    step = attacker.run(DEEDS[deed])
    assert step.outcome.kind == "completed", step.outcome.text
    committed = attacker.session.commit()
    for _, _, names, folder in os.fwalk(work):  # by descriptors: paths may be longer than a path may be
        for name in names:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            inner_link = stat.S_ISLNK(status.st_mode) and os.readlink(name, dir_fd=folder) == "a.txt"
            assert inner_link or (stat.S_ISREG(status.st_mode) and not status.st_mode & 0o7000), name
    attacker.undo_to(marked)
    assert (
        attacker.said("print(open('a.txt').read() == 'a' * 100, os.listdir('d'), open('d/x').read())")
        == "True ['x'] x"
    )
    if committed.patch is not None:
        attacker.session.uncommit()
    attacker.session.close()
    assert not attacker.session.folders.files.exists(), "nothing of it may stay on the host"


def test_a_folder_that_flips_to_a_link_during_undo_leads_nothing_outside(
    attacker: Attacker, tmp_path: Path
) -> None:
    """The flipper was there at the checkpoint, so it is kept; its files may be listed, but nothing is followed."""
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o777)
    outside.chmod(0o777)
    (outside / "x").write_text("of the host")
    attacker.run(f"""
os.makedirs("d/e"); open("d/e/x", "w").write("mine")
if os.fork() == 0:
    while True:
        for target in ({str(outside)!r}, "/etc", "../../store"):
            try:
                os.rename("d", "hidden"); os.symlink(target, "d")
                os.unlink("d"); os.rename("hidden", "d")
            except OSError:
                pass
""")
    marked = attacker.session.run("y = 1").id
    for _ in range(15):
        attacker.session.run("import os\ntry: open('d/e/x', 'w').write('other')\nexcept OSError: pass")
        attacker.session.undo(to=marked)
    assert [path.name for path in outside.iterdir()] == ["x"]
    assert (outside / "x").read_text() == "of the host"
    assert attacker.session._do(attacker.session._store.verify).result() == ()


@pytest.mark.alone
def test_files_that_change_while_they_are_read_do_not_break_the_store(attacker: Attacker) -> None:
    marked = attacker.mark()
    attacker.run("""
for number in range(3):
    if os.fork() == 0:
        while True:
            try:
                with open(f"f{number}", "wb") as file:
                    file.write(os.urandom(100_000 * (number + 1)))
                os.truncate(f"f{number}", 10); os.unlink(f"f{number}"); os.mkdir(f"f{number}"); os.rmdir(f"f{number}")
                os.mkfifo(f"f{number}"); os.unlink(f"f{number}")
            except OSError:
                pass
""")
    for count in range(10):
        assert attacker.session.run(f"z = {count}").outcome.ok
    attacker.undo_to(marked)
    assert attacker.session._do(attacker.session._store.verify).result() == ()


def test_a_commit_follows_no_planted_link(opened: Callable[..., Attacker], tmp_path: Path) -> None:
    work, outside = tmp_path / "work", tmp_path / "outside"
    (work / "d").mkdir(parents=True)
    (work / "d" / "x").write_text("x")
    outside.mkdir()
    (outside / "x").write_text("of the host")
    attacker = opened(work)
    attacker.said(f"""
os.unlink("d/x"); os.rmdir("d"); os.symlink({str(outside)!r}, "d")
os.symlink("/etc/shadow", "shadow"); os.symlink("../../../../store", "store"); os.symlink("d/x", "inner")
print()
""")
    done = attacker.session.commit()
    assert {conflict.path for conflict in done.conflicts} >= {b"shadow", b"store"}
    assert (outside / "x").read_text() == "of the host"
    assert not (work / "shadow").exists() and not (work / "store").is_symlink()
    assert not (work / "d").is_symlink()
