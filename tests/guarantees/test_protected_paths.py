"""Whatever an action does to a path that its session protects, the path is as it was afterwards, and that is said.

The tree is large enough for changes to be found by watches, which are easier to deceive than a look at every file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.guarantees.conftest import OUT_OF_SIGHT

import mulligan
from mulligan import Reverted
from mulligan.policies.policy import Files
from mulligan.runtime.ledger import Ledger
from mulligan.runtime.tripwire import DEEPEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.guarantees.conftest import Attacker

GLOBS = ("**/data/raw/**", "*.key")  # those of the session that `guarded` attacks

ATTACKS = {
    "overwrite": "open('data/raw/a.csv', 'w').write('x')",
    "append": "open('data/raw/a.csv', 'a').write('x')",
    "one byte in place": "fd = os.open('data/raw/a.csv', os.O_WRONLY); os.pwrite(fd, b'X', 0); os.close(fd)",
    "truncate": "os.truncate('data/raw/a.csv', 0)",
    "delete": "os.unlink('data/raw/a.csv')",
    "create": "open('data/raw/new', 'w').close()",
    "create elsewhere": "open('made.key', 'w').close()",
    "create under a name that breaks lines": "os.mkdir('a\\nb'); open('a\\nb/x.key', 'w').close()",
    "create under a name that is no text": "os.mkdir(b'\\xff'); open(b'\\xff/x.key', 'w').close()",
    "new folder": "os.mkdir('data/raw/new')",
    "remove a folder": "os.rmdir('data/raw/empty')",
    "rename": "os.rename('data/raw/a.csv', 'data/raw/z.csv')",
    "take out": "os.rename('data/raw/a.csv', 'taken.csv')",
    "move in": "open('made', 'w').close(); os.rename('made', 'data/raw/made')",
    "rename over": "open('made', 'w').close(); os.rename('made', 'data/raw/a.csv')",
    "exchange": "open('made', 'w').close(); libc.renameat2(-100, b'made', -100, b'data/raw/a.csv', 2)",
    "rename the folder above": "os.rename('data', 'moved')",
    "away, written and back": """
os.rename('data', 'moved')
open('moved/raw/a.csv', 'w').write('x')
os.rename('moved', 'data')
""",
    "a link in place of the folder above": "os.rename('data', 'moved'); os.symlink('moved', 'data')",
    "through a link": "os.symlink('data/raw', 'link'); open('link/a.csv', 'w').write('x')",
    "through its descriptor": "fd = os.open('data/raw', 0); open(f'/proc/self/fd/{fd}/a.csv', 'w').write('x')",
    "second name": "os.link('data/raw/a.csv', 'second')",
    "through a second name": "os.link('data/raw/a.csv', 'second'); open('second', 'w').write('x')",
    "through a second name that is gone again": """
os.link('data/raw/a.csv', 'second')
open('second', 'r+').write('x')
os.unlink('second')
""",
    "memory map": """
import mmap
with open('data/raw/a.csv', 'r+b') as file, mmap.mmap(file.fileno(), 0) as mapped:
    mapped[0] = 88
""",
    "memory map that stays": """
import mmap
file = open('data/raw/a.csv', 'r+b')
mapped = mmap.mmap(file.fileno(), 0)
mapped[0] = 88
""",
    "mode": "os.chmod('data/raw/a.csv', 0o777)",
    "mode of the folder": "os.chmod('data/raw', 0o700)",
    "time": "os.utime('data/raw/a.csv', (1, 1))",
    "attribute": "os.setxattr('data/raw/a.csv', 'user.x', b'x')",
    "by a child": "os.system('echo x > data/raw/a.csv')",
    "by a thread": """
thread = threading.Thread(target=lambda: open('data/raw/a.csv', 'w').write('x'))
thread.start(); thread.join()
""",
    "after a flood": """
os.mkdir('flood')
for number in range(20_000):
    open(f'flood/{number}', 'w').close()
open('data/raw/a.csv', 'w').write('x')
""",
    "in a flood of its own": "for number in range(20_000):\n    open(f'data/raw/{number}', 'w').close()",
    "after thousands of folders": """
for number in range(50):
    os.makedirs(f'deep/{number}/' + '/'.join('n' * 80))
open('data/raw/a.csv', 'w').write('x')
""",
    "and it raises": "os.unlink('data/raw/a.csv'); raise ValueError",
    "and it exits": "os.unlink('data/raw/a.csv'); os._exit(1)",
    "a name with escape codes": "open('data/raw/\\x1b[31m\\nred', 'w').close()",
}


#: long, and meant for the tripwire
FLOODS = {"after a flood", "in a flood of its own", "after thousands of folders"}


def state_of(workspace: Path) -> dict[str, tuple[object, ...]]:
    """All that is protected: kinds, contents, modes, times, names and attributes."""
    found: dict[str, tuple[object, ...]] = {"names": tuple(sorted(os.listdir(workspace)))}
    for path in sorted([workspace / "data", *(workspace / "data").rglob("*")]):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        attributes = tuple(os.listxattr(path, follow_symlinks=False))
        found[str(path.relative_to(workspace))] = (
            (status.st_mode, status.st_nlink, status.st_mtime_ns) if path.is_file() else (status.st_mode,),
            content,
            attributes,
        )
    return found


@pytest.mark.parametrize(
    ("attack", "where"),
    [(attack, "in the tripwire's sight") for attack in ATTACKS]
    + [(attack, "out of its sight") for attack in ATTACKS if attack not in FLOODS],
)
def test_what_is_protected_is_as_it_was(guarded: Attacker, attack: str, where: str) -> None:
    session = guarded.session
    place = Path() if where.startswith("in") else Path(*"n" * (DEEPEST + 20))
    session.run("kept = 1")
    before = state_of(session.workspace / place)
    outcome = guarded.run(f"os.chdir('{place}')\n" + ATTACKS[attack]).outcome
    assert state_of(session.workspace / place) == before
    assert session.run("print(kept)").outcome.stdout == "1\n"
    if attack == "and it exits":  # its death alone takes it back, if that is noticed first
        assert outcome.kind in ("lost", "reverted")
    else:
        assert isinstance(outcome, Reverted), outcome
        assert {finding.rule for finding in outcome.verdict.findings} == {"protect"}
        assert any(repr(glob) in outcome.text for glob in GLOBS), outcome.text
    assert "\x1b" not in outcome.text and "\nred" not in outcome.text


def test_the_path_and_the_glob_are_named_and_what_to_do_instead(guarded: Attacker) -> None:
    outcome = guarded.run("open('data/raw/a.csv', 'w').write('x')").outcome
    for said in ("'data/raw/a.csv'", "'**/data/raw/**'", "Instead:", "as they were before"):
        assert said in outcome.text


def test_the_first_write_ends_the_action_while_it_runs(guarded: Attacker) -> None:
    outcome = guarded.run(
        "open('data/raw/a.csv', 'w').write('x')\nwhile True: time.sleep(1)", timeout=60
    ).outcome
    assert outcome.kind == "reverted"


@pytest.mark.parametrize(
    "code",
    [
        "text = open('data/raw/a.csv').read(); os.listdir('data/raw'); os.stat('data/raw/a.csv')",
        "import shutil; shutil.copytree('data/raw', 'copy'); open('copy/a.csv', 'w').write('x')",
        "open('data/other.csv', 'w').write('x')",
        "import mmap; mapped = mmap.mmap(os.open('data/raw/a.csv', 0), 0, prot=mmap.PROT_READ); mapped[:]",
        "open('/tmp/x.key', 'w').write('outside the workspace')",
    ],
)
def test_reading_and_writing_beside_it_is_free(guarded: Attacker, code: str) -> None:
    for _ in range(2):
        assert guarded.run("import shutil; shutil.rmtree('copy', ignore_errors=True)\n" + code).outcome.ok
    guarded.session.undo()
    guarded.session.redo()
    assert guarded.run("pass").outcome.ok


def test_a_process_that_writes_between_actions_is_ended_and_its_write_put_back(guarded: Attacker) -> None:
    session = guarded.session
    before = state_of(session.workspace)
    child = guarded.said("""
child = os.fork()
if child == 0:
    while not os.path.exists("go"):
        time.sleep(0.01)
    while True:
        open("data/raw/a.csv", "a").write("x"); time.sleep(0.01)
print(child)
""")
    (session.workspace / "go").touch()
    with Ledger.open(session.folders.ledger) as ledger:
        while not list(ledger.entries(kind="tripped")):
            os.sched_yield()  # the test's own time limit ends this
    assert "was put back" in session.run("pass").outcome.stderr
    (session.workspace / "go").unlink(missing_ok=True)
    assert state_of(session.workspace) == before
    assert guarded.said(f"print(os.path.exists('/proc/{child}'))") == "False"


def test_a_restart_puts_back_what_a_process_changed_where_no_tripwire_is(guarded: Attacker) -> None:
    session = guarded.session
    before = state_of(session.workspace)
    guarded.said(f"""
if os.fork() == 0:
    while not os.path.exists("go"):
        time.sleep(0.01)
    open("{OUT_OF_SIGHT}/data/raw/a.csv", "a").write("x")
    time.sleep(1000)
print()
""")
    (session.workspace / "go").touch()
    changed = session.workspace / OUT_OF_SIGHT / "data" / "raw" / "a.csv"
    while "x" not in changed.read_text():
        os.sched_yield()  # the test's own time limit ends this
    session.restart()
    (session.workspace / "go").unlink(missing_ok=True)
    assert state_of(session.workspace) == before
    with Ledger.open(session.folders.ledger) as ledger:
        *_, entry = ledger.entries(kind="put_back")
    assert "is protected" in str(entry.body)


def test_what_was_printed_before_the_write_is_kept(guarded: Attacker) -> None:
    outcome = guarded.run(
        "print('said before'); open('data/raw/a.csv', 'w').write('x'); time.sleep(1000)"
    ).outcome
    assert outcome.stdout == "said before\n"


def test_a_write_spares_no_process_and_those_that_were_there_are_listed_as_ended(guarded: Attacker) -> None:
    child = guarded.said("child = os.fork()\nif child == 0: time.sleep(1000)\nprint(child)")
    step = guarded.run("os.unlink('data/raw/a.csv')")
    assert step.outcome.kind == "reverted"
    assert any(line.startswith(f"process {child} ") and "has ended" in line for line in step.reach.stands)
    assert not any("goes on" in line for line in step.reach.stands)
    assert guarded.said(f"print(os.path.exists('/proc/{child}'))") == "False"


def test_nested_too_deep_to_be_looked_into_is_not_allowed(guarded: Attacker) -> None:
    before = state_of(guarded.session.workspace)
    outcome = guarded.run(
        "for _ in range(1500):\n    os.mkdir('m'); os.chdir('m')\nopen('x.key', 'w').close()"
    ).outcome
    assert isinstance(outcome, Reverted) and "protect" in {each.rule for each in outcome.verdict.findings}
    assert state_of(guarded.session.workspace) == before


def test_a_tripwire_that_does_not_see_all_is_reported_and_the_end_is_judged(
    opened: Callable[..., Attacker], tmp_path: Path
) -> None:
    deep = tmp_path / "work" / Path(*"n" * 150)
    deep.mkdir(parents=True)
    (deep / "x.key").touch()
    policy = mulligan.Policy(files=Files(protect=("*.key",)))
    attacker = opened(tmp_path / "work", policy)
    assert "nested more than" in attacker.session.report.bounds["protect"].how
    outcome = attacker.run("open('/'.join('n' * 150) + '/x.key', 'w').write('x')").outcome
    assert outcome.kind == "reverted"
    assert (attacker.session.workspace / Path(*"n" * 150) / "x.key").read_bytes() == b""


def test_what_is_protected_is_not_committed(opened: Callable[..., Attacker], tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "x.key").write_text("secret")
    attacker = opened(work, mulligan.Policy(files=Files(protect=("*.key",))))
    (attacker.session.workspace / "x.key").write_text("as a process between two actions could")
    (attacker.session.workspace / "new").write_text("free")
    done = attacker.session.commit()
    assert [each.path for each in done.applied] == [b"new"]
    assert [each.path for each in done.conflicts] == [b"x.key"] and "'*.key'" in done.conflicts[0].ours
    assert (work / "x.key").read_text() == "secret"
