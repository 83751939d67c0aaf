"""What a policy bounds of files and counts holds for what an action did, however it did it, and that is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import mulligan
from mulligan import Answer, Completed, Question, Reverted, Session
from mulligan.policies.loading import parse_policy

POLICY = """
files:
  writable: ["out/**", "notes.txt", "many/**"]
  read_only: ["out/fixed/**"]
  hidden: [".env", "keys/**", "out/*.pem"]
  per_action: {bytes: 1 MB, files: 20, deletions: 2}
budgets: {deletions: 3}
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("work")
    for name in ("out/fixed/a.csv", "out/b.csv", "notes.txt", "other.txt", ".env", "keys/id", "keys/deep/id"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(name)
    (work / "many").mkdir()
    for number in range(30):
        (work / "many" / str(number)).write_text(str(number))
    return work


@pytest.fixture(scope="module")
def opened(isolation: str, work: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    policy = parse_policy(POLICY, origin="my.yaml")
    with mulligan.open(
        work, isolation=isolation, state=tmp_path_factory.mktemp("state"), policy=policy
    ) as session:
        yield session


@pytest.fixture
def session(opened: Session) -> Session:
    opened.reset()
    return opened


DEEP = """
for n in range(1500):
    os.mkdir('out/m' if not n else 'm')
    os.chdir('out/m' if not n else 'm')
"""


@pytest.mark.parametrize(
    ("code", "rule", "said"),
    [
        ("open('new.txt', 'w').write('x')", "files.writable", "'new.txt' was added"),
        ("os.chmod('other.txt', 0o777)", "files.writable", "'other.txt' was changed"),
        ("os.system('rm other.txt')", "files.writable", "'other.txt' was removed"),
        ("os.symlink('/etc', 'link')", "files.writable", "'link' was added"),
        ("os.link('other.txt', 'out/x'); open('out/x', 'w')", "files.writable", "'other.txt' was changed"),
        ("open('new.txt', 'w'); raise ValueError", "files.writable", "'new.txt' was added"),
        ("open('out/fixed/a.csv', 'w')", "files.read_only", "'out/fixed/**' is read-only"),
        ("open('out/x', 'w').write('x' * 1_000_001)", "files.per_action.bytes", "the most is 1,000,000"),
        ("for n in range(21): open(f'out/{n}', 'w')", "files.per_action.files", "21 files; the most is 20"),
        ("for n in range(3): os.remove(f'many/{n}')", "files.per_action.deletions", "removed 3 files"),
        ("for n in range(3): shutil.move(f'many/{n}', '/tmp')", "files.per_action.deletions", "3 files"),
        ("for n in range(3): os.rename(f'many/{n}', f'out/{n}.pem')", "files.per_action.deletions", "3 files"),
        (DEEP, "files.unseen", "too deep"),
    ],
)  # fmt: skip
def test_what_breaks_a_bound_is_taken_back_and_said(
    session: Session, code: str, rule: str, said: str
) -> None:
    session.run("import os, shutil; kept = 1")
    outcome = session.run(code).outcome
    assert isinstance(outcome, Reverted), outcome
    assert rule in {finding.rule for finding in outcome.verdict.findings}
    assert said in outcome.text and "Instead:" in outcome.text and "as they were before" in outcome.text
    assert not session.diff()
    assert session.run("print(kept)").outcome.stdout == "1\n"


def test_what_keeps_within_them_is_kept(session: Session) -> None:
    for code in (
        "import os; open('out/new.txt', 'w').write('x'); open('notes.txt', 'w').write('x')",
        "open('/tmp/new.txt', 'w').write('x' * 2_000_000)",
        "for n in range(9): os.rename(f'many/{n}', f'out/{n}')",
        "os.remove('many/10'); os.remove('many/11')",
    ):
        assert session.run(code).outcome.kind == "completed", code


def test_a_budget_counts_the_steps_that_stand(session: Session) -> None:
    remove = "import os; os.remove('many/{}'); os.remove('many/{}')"
    assert session.run(remove.format(0, 1)).outcome.ok
    outcome = session.run(remove.format(2, 3)).outcome
    assert isinstance(outcome, Reverted) and "4 files removed in this session; the most is 3" in outcome.text
    session.undo()
    assert session.run(remove.format(2, 3)).outcome.ok


def test_what_is_hidden_is_not_there_and_what_is_not_writable_is_not_written_back(
    session: Session, work: Path
) -> None:
    seen = session.run("import os; print(os.path.exists('.env'), os.path.exists('keys/id'))").outcome.stdout
    assert seen == "False False\n"
    (session.workspace / ".env").write_text("as a process between two actions could")
    (session.workspace / "other.txt").write_text("likewise")
    try:
        done = session.commit()
    finally:
        session.reset()
    assert {b".env", b"other.txt"} <= {each.path for each in done.conflicts}
    assert not done.applied
    assert (work / ".env").read_text() == ".env" and (work / "other.txt").read_text() == "other.txt"
    assert (work / "keys/deep/id").read_text() == "keys/deep/id"


def test_files_that_went_between_two_actions_count_against_the_budget_when_they_are_committed(
    session: Session, work: Path
) -> None:
    assert session.run("import os; os.unlink('many/0')").outcome.ok
    for number in range(20, 24):
        (session.workspace / "many" / str(number)).unlink()  # as a process between two actions could
    try:
        done, again = session.commit(), session.commit()
        left = {path.name for path in (work / "many").iterdir()}
    finally:
        session.uncommit()  # the second, which had nothing to carry
        session.uncommit()
        session.reset()
    assert len(list((work / "many").iterdir())) == 30
    assert (len(done.applied), len(done.conflicts), len(left)) == (3, 2, 27)
    assert all("4 files removed in this session; the most is 3" in each.ours for each in done.conflicts)
    assert not again.applied and {each.path for each in again.conflicts} == {
        each.path for each in done.conflicts
    }


def test_where_violations_are_reported_the_step_is_kept_and_says_so(isolation: str, tmp_path: Path) -> None:
    policy = parse_policy("files: {writable: [out/**], protect: [a]}\non_violation: report")
    with mulligan.open(isolation=isolation, state=tmp_path, policy=policy) as session:
        outcome = session.run("open('new.txt', 'w').write('x')").outcome
        assert isinstance(outcome, Completed)
        assert "[Against the policy, and kept: 'new.txt' was added" in outcome.text
        assert [change.path for change in session.diff()] == ["new.txt"]
        assert session.run("open('a', 'w')").outcome.kind == "reverted"


def test_a_preset_opens_a_session(isolation: str, tmp_path: Path) -> None:
    with mulligan.open(isolation=isolation, state=tmp_path, policy="analysis") as session:
        assert session.ungranted == ()
        assert session.run("open('a.csv', 'w').write('x')").outcome.ok
    with mulligan.open(isolation=isolation, state=tmp_path, policy="locked") as session:
        assert session.run("open('a.csv', 'w').write('x')").outcome.kind == "reverted"


def test_sessions_without_bounds_have_no_judge_of_outcomes() -> None:
    import subprocess
    import sys

    code = "import sys, mulligan.runtime.session; print('mulligan.runtime.judging' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


ASKED = parse_policy("files: {writable: [out/**], protect: [a]}\non_violation: ask")


def test_a_step_that_broke_a_rule_waits_for_a_person_who_keeps_it_or_has_it_taken_back(
    isolation: str, tmp_path: Path
) -> None:
    asked: list[Question] = []

    async def approve(question: Question) -> Answer:
        asked.append(question)
        return Answer("no", "not there") if "no.txt" in str(question.paths) else Answer("once")

    work = tmp_path / "work"
    work.mkdir()
    with mulligan.open(
        work, isolation=isolation, state=tmp_path / "state", policy=ASKED, approve=approve
    ) as session:
        kept = session.run("open('new.txt', 'w').write('x'); y = 1").outcome
        assert isinstance(kept, Completed)
        assert "[Against the policy, and kept, as a person allowed it once: 'new.txt' was added" in kept.text
        back = session.run("open('no.txt', 'w').write('x'); y = 2").outcome
        assert isinstance(back, Reverted) and "a person said no: not there" in back.text
        assert session.run("import os; print(sorted(os.listdir()), y)").outcome.stdout == "['new.txt'] 1\n"
        assert (
            session.run("open('a', 'w')").outcome.kind == "reverted" and len(asked) == 2
        )  # protected: never asked
        assert [(each.about, each.paths, each.choices) for each in asked] == [
            ("step", ("added 'new.txt'",), ("once", "no")),
            ("step", ("added 'no.txt'",), ("once", "no")),
        ]
        assert [each.path for each in session.commit().applied] == [b"new.txt"]


def test_where_nobody_can_be_asked_a_step_that_broke_a_rule_is_taken_back(
    isolation: str, tmp_path: Path
) -> None:
    with mulligan.open(isolation=isolation, state=tmp_path, policy=ASKED) as session:
        outcome = session.run("open('new.txt', 'w').write('x')").outcome
    assert isinstance(outcome, Reverted) and "nobody is there to be asked" in outcome.text
    assert "mulligan.open(..., approve=...)" in outcome.text
