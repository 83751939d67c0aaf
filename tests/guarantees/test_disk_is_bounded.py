"""Whatever way an action takes to fill the disk, it is ended, told why and taken back, and costs no room twice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import mulligan
from mulligan import Reverted, Session
from mulligan.policies.policy import Resources

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.guarantees.conftest import Attacker

MIB = 1 << 20
BOUND = 100 * MIB
FILES = 5_000

#: each goes on for ever, or to three times the bound: slow enough to be met by a look
HOGS = {
    "many large files": """
for number in range(300):
    open(f"file-{number}", "wb").write(os.urandom(1 << 20)); time.sleep(0.005)
time.sleep(1000)
""",
    "a sparse file that is filled later": """
os.truncate(os.open("sparse", os.O_CREAT | os.O_RDWR), 1 << 30)
with open("sparse", "r+b") as file:
    for at in range(0, 300 << 20, 1 << 20):
        file.seek(at * 3); file.write(os.urandom(1 << 20)); time.sleep(0.005)
time.sleep(1000)
""",
    "a memory map that is filled": """
import mmap
os.truncate(os.open("mapped", os.O_CREAT | os.O_RDWR), 300 << 20)
mapped = mmap.mmap(os.open("mapped", os.O_RDWR), 300 << 20)
for at in range(0, 300 << 20, 1 << 20):
    mapped[at : at + (1 << 20)] = os.urandom(1 << 20); time.sleep(0.005)
time.sleep(1000)
""",
    "in the home": """
with open("/home/user/big", "wb") as file:
    for _ in range(300): file.write(os.urandom(1 << 20)); time.sleep(0.005)
time.sleep(1000)
""",
    "by a child": """
if os.fork() == 0:
    with open("big", "wb") as file:
        for _ in range(300): file.write(os.urandom(1 << 20)); time.sleep(0.005)
    os._exit(0)
time.sleep(1000)
""",
    "tiny files": """
os.mkdir("many")
for number in range(10**9):
    open(f"many/{number}", "w").close()
    if number > 8_000: time.sleep(0.001)
""",
    "folders": """
for number in range(10**9):
    os.mkdir(str(number))
    if number > 8_000: time.sleep(0.001)
""",
}


@pytest.fixture(scope="module")
def little_session(isolation: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    policy = mulligan.Policy(resources=Resources(disk=BOUND, files=FILES))
    with mulligan.open(isolation=isolation, state=tmp_path_factory.mktemp("state"), policy=policy) as session:
        yield session


@pytest.mark.parametrize("hog", HOGS)
def test_it_is_ended_told_why_and_taken_back(little_session: Session, hog: str) -> None:
    session = little_session
    session.reset()
    session.run("import os, time; kept = 1")
    outcome = session.run(HOGS[hog], timeout=60).outcome
    assert isinstance(outcome, Reverted), outcome
    assert {finding.rule for finding in outcome.verdict.findings} == {"resources.disk"}
    assert "the session" in outcome.text and "as they were before" in outcome.text
    assert session.run("print(kept)").outcome.stdout == "1\n"
    assert list(session.workspace.iterdir()) == []
    assert occupied(session.folders.files) < 10 * MIB
    assert occupied(session.folders.store) < 10 * MIB


def test_one_file_is_bounded_by_the_kernel(opened: Callable[..., Attacker]) -> None:
    attacker = opened(policy=mulligan.Policy(resources=Resources(file_size=8 * MIB)))
    outcome = attacker.run("open('big', 'wb').write(bytes(9 << 20))").outcome
    assert outcome.error is not None and "File too large" in outcome.error.value
    assert (attacker.session.workspace / "big").stat().st_size == 8 * MIB


def test_the_copy_of_the_users_folder_does_not_count(opened: Callable[..., Attacker], tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    with open(tmp_path / "work" / "large", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 3 * BOUND)
    attacker = opened(tmp_path / "work", mulligan.Policy(resources=Resources(disk=BOUND, files=FILES)))
    step = attacker.run("with open('more', 'wb') as file: file.write(os.urandom(70 << 20)); time.sleep(1)")
    assert step.outcome.ok, step.outcome.text


def occupied(folder: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))
