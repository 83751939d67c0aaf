"""One sandbox a module and isolation, reset between tests: an attack must leave nothing that a reset keeps."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mulligan
from mulligan import Restoration, Session, Step
from mulligan.policies.policy import Resources
from mulligan.runtime.checkpoint import SMALL
from mulligan.runtime.tripwire import DEEPEST

#: what each attack may begin with: who else is here
PRELUDE = """
import ctypes, os, signal, socket, struct, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def everyone():
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
def called(pid):
    try:
        return open(f"/proc/{pid}/comm").read().strip()
    except OSError:
        return ""
def twins():
    return [pid for pid in everyone() if called(pid) == "mulligan-twin"]
def attempt(what, *arguments):
    try:
        return ("done", what(*arguments))
    except BaseException as error:
        return ("refused", type(error).__name__)
"""

#: state that only a waking twin can bring back: a generator that is half used
MARK = (
    "kept = {'a': [1, 2]}\ncounting = iter(range(10)); next(counting)\nopen('kept.txt', 'w').write('kept')\n"
)
SHOW = "print(kept, next(counting), open('kept.txt').read(), 'planted' in globals())"

#: a folder that lies too deep for a tripwire
OUT_OF_SIGHT = Path(*"n" * (DEEPEST + 20))


class Attacker:
    """A session, and how it is attacked."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def run(self, code: str, *, timeout: float = 20) -> Step:
        """Run hostile code after the prelude, and wait until its checkpoint is taken."""
        step = self.session.run(PRELUDE + code, timeout=timeout)
        assert step.reach is not None
        return step

    def said(self, code: str) -> str:
        """What code prints that must succeed."""
        outcome = self.run(code).outcome
        assert outcome.kind == "completed", outcome.text
        return outcome.stdout.strip()

    def mark(self) -> int:
        """Leave state behind whose exact return can be checked; the step's id."""
        step = self.session.run(MARK)
        assert step.outcome.kind == "completed", step.outcome.text
        assert step.reach.exact, step.reach
        return step.id

    def check_return(self, back: Restoration, *, memory: str = "woken") -> None:
        """All is as it was marked; where `memory` is "replayed", that was said."""
        assert back.memory == memory, back
        assert (memory == "woken") or any("again" in line for line in back.stands), back
        shown = self.session.run(SHOW).outcome
        assert shown.stdout == "{'a': [1, 2]} 1 kept False\n", shown

    def undo_to(self, step: int, *, memory: str = "woken") -> Restoration:
        """Undo, and check that all is as it was marked."""
        back = self.session.undo(to=step)
        self.check_return(back, memory=memory)
        return back


@pytest.fixture(scope="module")
def shared(isolation: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with mulligan.open(isolation=isolation, state=tmp_path_factory.mktemp("state")) as session:
        yield session


@pytest.fixture
def attacker(shared: Session) -> Attacker:
    shared.reset()
    return Attacker(shared)


@pytest.fixture
def opened(isolation: str, tmp_path: Path) -> Iterator[Callable[..., Attacker]]:
    """Opens sessions of a test's own, and closes them."""
    sessions: list[Session] = []

    def open_one(workspace: Path | None = None, policy: mulligan.Policy | None = None) -> Attacker:
        state = tmp_path / "state"
        sessions.append(mulligan.open(workspace, isolation=isolation, state=state, policy=policy))
        return Attacker(sessions[-1])

    yield open_one
    try:
        for session in sessions:
            session.close()
    finally:  # what an attack left behind must not end pytest's own cleaning
        subprocess.run(["rm", "-rf", tmp_path / "state", tmp_path / "work"], check=True)


@pytest.fixture(scope="module")
def small_session(isolation: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    resources = Resources(memory=1 << 30, pids=100, open_files=512, file_size=1 << 28)
    policy = mulligan.Policy(resources=resources)
    with mulligan.open(isolation=isolation, state=tmp_path_factory.mktemp("small"), policy=policy) as session:
        yield session


@pytest.fixture
def small(small_session: Session) -> Attacker:
    """As `attacker`, in a session that may use little."""
    small_session.reset()
    return Attacker(small_session)


@pytest.fixture(scope="module")
def guarded_session(isolation: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    work, state = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("state")
    for number in range(SMALL + 200):
        (work / f"other-{number}").touch()
    for folder in (work, work / OUT_OF_SIGHT):
        (folder / "data" / "raw" / "empty").mkdir(parents=True)
        (folder / "data" / "raw" / "a.csv").write_text("day,high\n1,8.7\n")
    globs = ("**/data/raw/**", "*.key")
    with mulligan.open(work, isolation=isolation, state=state, protect=globs) as session:
        yield session
    subprocess.run(["rm", "-rf", state], check=True)


@pytest.fixture
def guarded(guarded_session: Session) -> Attacker:
    """As `attacker`, in a large workspace of which each data/raw and every *.key is protected."""
    guarded_session.reset()
    return Attacker(guarded_session)
