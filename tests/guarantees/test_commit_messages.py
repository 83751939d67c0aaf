"""What an action hides in a repository's own files goes nowhere by itself, and a rule about them holds."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import mulligan
from mulligan import Reverted
from mulligan.policies.policy import Files

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.guarantees.conftest import Attacker

#: the plumbing of a commit, which needs no git inside: an object whose message holds a secret, and a branch at it
COMMIT = """
import hashlib, zlib
tree, who = b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904", b"a <a> 0 +0000"
text = b"\\n".join([tree, b"author " + who, b"committer " + who, b"", b"c2VjcmV0", b""])
whole = b"commit %d\\0" % len(text) + text
name = hashlib.sha1(whole).hexdigest()
os.makedirs(f".git/objects/{name[:2]}", exist_ok=True)
open(f".git/objects/{name[:2]}/{name[2:]}", "wb").write(zlib.compress(whole))
open(".git/refs/heads/leak", "w").write(name + "\\n")
"""


def _repository(folder: Path) -> Path:
    subprocess.run(["git", "init", "-q", folder], check=True)
    return folder


def test_a_commit_message_is_in_the_diff_and_in_the_users_repository_only_after_commit(
    opened: Callable[..., Attacker], tmp_path: Path
) -> None:
    work = _repository(tmp_path / "work")
    attacker = opened(work)
    assert attacker.run(COMMIT).outcome.ok
    changed = [change.path for change in attacker.session.diff()]
    assert ".git/refs/heads/leak" in changed and any(path.startswith(".git/objects/") for path in changed)
    assert not (work / ".git/refs/heads/leak").exists()
    applied = [each.path for each in attacker.session.commit().applied]
    assert b".git/refs/heads/leak" in applied


def test_where_a_repository_is_protected_a_commit_by_an_action_is_taken_back(
    opened: Callable[..., Attacker], tmp_path: Path
) -> None:
    attacker = opened(_repository(tmp_path / "work"), mulligan.Policy(files=Files(protect=(".git/**",))))
    outcome = attacker.run(COMMIT).outcome
    assert isinstance(outcome, Reverted)
    assert {finding.rule for finding in outcome.verdict.findings} == {"protect"}
    assert not (attacker.session.workspace / ".git/refs/heads/leak").exists()
