"""What an undo made of git commands gets wrong: it loses what git ignores, what it does not track and what it does
not record, and it trips over repositories in repositories, commits by others, and missing identities.

Each harm is done by an action, in a workspace that is a repository and in one that lies inside another. Undo gives the
very tree back, `.git` included, redo the harmed one; and nothing of the user's folder has changed meanwhile.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import mulligan
from mulligan import Session

from .walk import Tree, walk

#: where git is not in the sandbox, its objects are written by hand
COMMIT = """
import hashlib, os, shutil, subprocess, zlib
def keep(kind, body):
    data = kind + b" %d\\0" % len(body) + body
    name = hashlib.sha1(data).hexdigest()
    folder = f".git/objects/{name[:2]}"
    os.makedirs(folder, exist_ok=True)
    if not os.path.exists(f"{folder}/{name[2:]}"):
        with open(f"{folder}/tmp_obj", "wb") as file:
            file.write(zlib.compress(data))
        os.chmod(f"{folder}/tmp_obj", 0o444)
        os.link(f"{folder}/tmp_obj", f"{folder}/{name[2:]}")
        os.unlink(f"{folder}/tmp_obj")
    return name
def commit_by_hand(path, message):
    blob = bytes.fromhex(keep(b"blob", open(path, "rb").read()))
    tree = keep(b"tree", b"100644 " + path.encode() + b"\\0" + blob)
    head = ".git/" + open(".git/HEAD").read().split()[1]
    who = "agent <agent@sandbox> 1700000000 +0000"
    parent = open(head).read().strip()
    text = f"tree {tree}\\nparent {parent}\\nauthor {who}\\ncommitter {who}\\n\\n{message}\\n"
    name = keep(b"commit", text.encode())
    with open(head + ".lock", "x") as file:
        file.write(name + "\\n")
    os.rename(head + ".lock", head)
def commit(path, message):
    if shutil.which("git") is None:
        return commit_by_hand(path, message)
    who = ["-c", "user.name=agent", "-c", "user.email=agent@sandbox"]
    subprocess.run(["git", "add", path], check=True)
    subprocess.run(["git", *who, "commit", "-q", "-m", message], check=True)
"""

HARMS = {
    "an ignored file is edited": "open('secret.env', 'w').write('KEY=lost')",
    "an ignored file is deleted": "os.unlink('secret.env')",
    "an ignored folder is deleted": "shutil.rmtree('build')",
    "an untracked file is overwritten": "open('notes.txt', 'w').write('gone')",
    "an untracked file is deleted": "os.unlink('notes.txt')",
    "what git clean and reset would remove is removed": (
        "for name in ('secret.env', 'notes.txt'): os.unlink(name)\n"
        "for name in ('build', 'empty', 'nested'): shutil.rmtree(name)\n"
        "open('tracked.txt', 'w').write('first\\n'); os.unlink('.git/index')"
    ),
    "an empty folder is removed": "os.rmdir('empty')",
    "an empty folder is made": "os.mkdir('hollow')",
    "modes change that git does not record": "os.chmod('tracked.txt', 0o600); os.chmod('empty', 0o711)",
    "a time changes": "os.utime('tracked.txt', (1, 1))",
    "line ends change in a file that git would convert": "open('dos.txt', 'wb').write(b'a\\nb\\r\\n')",
    "a file is edited in a nested repository": "open('nested/inner.txt', 'w').write('edited')",
    "a nested repository loses its history": "shutil.rmtree('nested/.git')",
    "a nested repository is deleted": "shutil.rmtree('nested')",
    "a repository is made": "os.makedirs('fresh/.git/refs'); open('fresh/.git/HEAD', 'w').write('ref: refs/heads/x')",
    "the action commits": (
        "open('tracked.txt', 'a').write('agent was here\\n')\ncommit('tracked.txt', 'a commit by the action')"
    ),
    "staged work is thrown away": "os.unlink('.git/index')",
    "a lock of git's is left behind": "open('.git/index.lock', 'w').close()",
    "the repository is deleted": "shutil.rmtree('.git')",
    "the repository is broken": "open('.git/HEAD', 'w').write('nonsense'); shutil.rmtree('.git/refs')",
}


@pytest.fixture(scope="module", autouse=True)
def no_identity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nobody has told git who they are, here or in the sandbox."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        for name in (
            "GIT_AUTHOR_NAME",
            "GIT_AUTHOR_EMAIL",
            "GIT_COMMITTER_NAME",
            "GIT_COMMITTER_EMAIL",
            "EMAIL",
        ):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="module", params=["a repository", "inside another repository"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's folder, with work in every state that git knows."""
    outer = tmp_path_factory.mktemp("user")
    if request.param == "inside another repository":
        (outer / "outer.txt").write_text("of the outer repository")
        (outer / ".gitignore").write_text("project/\n*.env\n")
        make_repository(outer, "outer.txt", ".gitignore")
    folder = outer / "project"
    folder.mkdir()
    (folder / ".gitignore").write_text("*.env\nbuild/\n")
    (folder / ".gitattributes").write_text("dos.txt text eol=crlf\n")
    (folder / "tracked.txt").write_text("first\n")
    (folder / "dos.txt").write_bytes(b"a\r\nb\r\n")
    make_repository(folder, ".gitignore", ".gitattributes", "tracked.txt", "dos.txt")
    (folder / "tracked.txt").write_text("edited, not staged\n")
    (folder / "staged.txt").write_text("staged, not committed\n")
    git(folder, "add", "staged.txt")
    (folder / "notes.txt").write_text("untracked work of days\n")
    (folder / "secret.env").write_text("KEY=only copy\n")
    (folder / "build" / "deep").mkdir(parents=True)
    (folder / "build" / "deep" / "result").write_bytes(bytes(5000))
    (folder / "empty").mkdir(0o750)
    (folder / "nested").mkdir()
    (folder / "nested" / "inner.txt").write_text("of the nested repository\n")
    make_repository(folder / "nested", "inner.txt")
    return folder


@pytest.fixture(scope="module")
def opened(isolation: str, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with mulligan.open(folder, isolation=isolation, state=tmp_path_factory.mktemp("state")) as session:
        yield session


@pytest.fixture
def session(opened: Session) -> Session:
    opened.reset()
    return opened


@pytest.mark.parametrize("harm", HARMS)
def test_undo_gives_the_very_tree_back_and_redo_the_harmed_one(
    session: Session, folder: Path, harm: str
) -> None:
    theirs, was = walk(folder.parent), walk(session.workspace)
    done(session, COMMIT + HARMS[harm])
    harmed = walk(session.workspace)
    assert harmed != was
    assert (session.undo().stands, walk(session.workspace)) == ((), was)
    assert (session.redo().stands, walk(session.workspace)) == ((), harmed)
    assert (session.undo().stands, walk(session.workspace)) == ((), was)
    assert walk(folder.parent) == theirs


def test_a_commit_that_an_action_made_is_in_the_history_until_it_is_undone(session: Session) -> None:
    assert subjects(session) == ["first"]
    done(session, COMMIT + HARMS["the action commits"])
    assert subjects(session) == ["a commit by the action", "first"]
    git(session.workspace, "fsck", "--strict")
    session.undo()
    assert subjects(session) == ["first"]
    git(session.workspace, "fsck", "--strict", "--unreachable")
    session.redo()
    assert subjects(session) == ["a commit by the action", "first"]


def test_sessions_write_nothing_of_their_own_into_a_repository(session: Session, folder: Path) -> None:
    for _ in range(3):
        done(session, "open('tracked.txt', 'a').write('more\\n')")
    session.undo(2)
    assert contents(walk(session.workspace / ".git")) == contents(walk(folder / ".git"))
    assert sorted(os.listdir(session.workspace)) == sorted(os.listdir(folder))


def test_after_harm_and_undo_a_commit_to_the_users_folder_changes_nothing(
    session: Session, folder: Path
) -> None:
    theirs = walk(folder.parent)
    done(session, HARMS["what git clean and reset would remove is removed"])
    session.undo()
    report = session.commit()
    assert (report.applied, report.conflicts, walk(folder.parent)) == ((), (), theirs)


def contents(tree: Tree) -> dict[bytes, object]:
    return {path: shape[-1] for path, shape in tree.items()}


def subjects(session: Session) -> list[str]:
    return git(session.workspace, "log", "--format=%s").split("\n")


def done(session: Session, source: str) -> None:
    step = session.run("import os, shutil\n" + source)
    assert step.outcome.kind == "completed", step.outcome.text
    assert step.reach.exact, step.reach


def make_repository(folder: Path, *files: str) -> None:
    git(folder, "init", "-q")
    git(folder, "add", "--force", *files)
    git(folder, "-c", "user.name=user", "-c", "user.email=user@host", "commit", "-q", "-m", "first")


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "safe.directory=*", "-c", "gc.auto=0", *arguments]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()
