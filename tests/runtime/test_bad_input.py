"""What callers and circumstances can do wrong: a clear error each, and nothing is lost."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import mulligan
from mulligan import MulliganError, Session
from mulligan.runtime.errors import NothingToRedo, NothingToUndo, SessionClosed, StepUnknown, WorkspaceInvalid
from mulligan.sandbox.errors import ImageMissing, ImageUnusable
from mulligan.sandbox.messages import Event


@pytest.fixture
def session(opened: Session) -> Session:
    opened.reset()
    assert opened.run("kept = ['kept']").outcome.kind == "completed"
    return opened


def assert_it_goes_on(session: Session) -> None:
    assert session.run("print(kept)", timeout=30).outcome.stdout == "['kept']\n"


def test_an_unknown_step_is_a_key_error_that_names_the_nearest(session: Session) -> None:
    with pytest.raises(StepUnknown, match="nearest is") as caught:
        session.goto(100_000)
    assert isinstance(caught.value, KeyError)
    assert_it_goes_on(session)


def test_undo_at_the_root_and_redo_of_nothing_say_so(session: Session) -> None:
    session.reset()
    with pytest.raises(NothingToUndo, match="beginning"):
        session.undo()
    session.run("kept = ['kept']")
    with pytest.raises(NothingToRedo):
        session.redo()
    assert_it_goes_on(session)


@pytest.mark.parametrize("source", [123, None, b"x = 1", ["x = 1"]])
def test_a_source_that_is_no_text_is_a_type_error(session: Session, source: Any) -> None:
    with pytest.raises(TypeError, match="text"):
        session.run(source)
    assert_it_goes_on(session)


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_that_is_no_time_is_a_value_error(session: Session, timeout: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        session.run("x = 1", timeout=timeout)
    assert_it_goes_on(session)


@pytest.mark.parametrize("source", ["", "   \n", "# only a comment", "pass"])
def test_an_action_that_does_nothing_completes(session: Session, source: str) -> None:
    assert session.run(source).outcome.kind == "completed"


def test_a_lone_surrogate_in_the_source_ends_in_an_outcome(session: Session) -> None:
    assert session.run("x = '\ud800'").outcome.kind in ("refused", "raised", "completed")
    assert_it_goes_on(session)


def test_a_source_beyond_the_policy_is_refused(session: Session) -> None:
    step = session.run("#" * (2 << 20))
    assert step.outcome.kind == "refused"
    assert_it_goes_on(session)


def test_a_closed_session_refuses_every_verb_and_may_be_closed_again(isolation: str, tmp_path: Path) -> None:
    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        session.run("x = 1")
    session.close()
    verbs: list[Callable[[], object]] = [
        lambda: session.run("1"), session.undo, session.redo, session.reset, session.diff, session.commit,
        lambda: session.goto(1),
    ]  # fmt: skip
    for verb in verbs:
        with pytest.raises(SessionClosed, match="closed"):
            verb()
    session.interrupt()
    assert max(session.timeline.nodes) == 1


def test_a_workspace_that_does_not_exist_or_is_a_file_is_refused_with_a_hint(
    isolation: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    for name, words in (("nowhere", "does not exist"), ("file", "not a folder")):
        with pytest.raises(WorkspaceInvalid, match=words) as caught:
            mulligan.open(tmp_path / name, isolation=isolation, state=tmp_path / "state")
        assert caught.value.hint
    assert list((tmp_path / "state").rglob("files")) == []


def test_a_workspace_that_holds_the_state_folder_is_refused(isolation: str, tmp_path: Path) -> None:
    with pytest.raises(WorkspaceInvalid, match="state"):
        mulligan.open(tmp_path, isolation=isolation, state=tmp_path / "state")


def test_an_unknown_isolation_is_a_value_error_that_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bubblewrap"):
        mulligan.open(isolation="chroot", state=tmp_path)


def test_an_image_or_an_interpreter_that_is_not_there_is_said(isolation: str, tmp_path: Path) -> None:
    wrong: dict[str, Any] = (
        {"image": "mulligan/no-such-image:1"} if isolation == "docker" else {"python": "/no/python3"}
    )
    with pytest.raises((ImageMissing, ImageUnusable), match="no") as caught:
        mulligan.open(isolation=isolation, state=tmp_path, **wrong)
    assert caught.value.hint


def test_an_interpreter_that_is_no_python_is_said(tmp_path: Path) -> None:
    with pytest.raises(ImageUnusable):
        mulligan.open(isolation="bubblewrap", state=tmp_path, python="/bin/true")


def test_two_sessions_on_one_workspace_do_not_see_each_other_and_the_second_commit_lists_conflicts(
    isolation: str, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "both").write_text("base")
    with (
        mulligan.open(data, isolation=isolation, state=tmp_path / "state") as a,
        mulligan.open(data, isolation=isolation, state=tmp_path / "state") as b,
    ):
        a.run("_ = open('both', 'w').write('a'), open('only-a', 'w').write('a')")
        b.run("_ = open('both', 'w').write('b'), open('only-b', 'w').write('b')")
        assert a.run("print(open('both').read())").outcome.stdout == "a\n"
        assert a.commit().conflicts == ()
        second = b.commit()
        assert [conflict.path for conflict in second.conflicts] == [b"both"]
        assert [applied.path for applied in second.applied] == [b"only-b"]
        assert (data / "both").read_text() == "a"
        assert sorted(path.name for path in data.iterdir()) == ["both", "only-a", "only-b"]


def kill_sandbox(session: Session, isolation: str) -> None:
    """From outside, as an administrator or the out-of-memory killer might: its first process dies at once."""
    if isolation == "docker":
        found = subprocess.run(
            ["docker", "ps", "--quiet", "--no-trunc", "--filter", f"label=mulligan.session={session.id}"],
            capture_output=True, text=True, check=True,
        ).stdout.split()  # fmt: skip
        assert len(found) == 1, found
        subprocess.run(["docker", "kill", *found], check=True, capture_output=True)
    else:
        first: int = session._story.confined.sandbox._first  # type: ignore[attr-defined]
        signal.pidfd_send_signal(first, signal.SIGKILL)
        select.select([first], [], [])  # until it is dead


def assert_replayed(session: Session) -> None:
    after = session.run("print(kept, x, open('f').read())", timeout=60).outcome
    assert after.stdout == "['kept'] 7 seven\n", after
    assert session.timeline.node(max(session.timeline.nodes)).kind == "completed"


def test_a_sandbox_killed_in_the_middle_of_an_action_is_a_lost_step_and_variables_return(
    isolation: str, tmp_path: Path
) -> None:
    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        session.run("kept = ['kept']; x = 7; _ = open('f', 'w').write('seven')")
        killed: list[bool] = []

        def kill(_: Event) -> None:
            if not killed:
                killed.append(True)
                kill_sandbox(session, isolation)

        step = session.run(
            "kept.append('wreck'); open('f', 'w').write('wreck'); print('begun')\nwhile True: pass",
            timeout=60,
            on_event=kill,
        )
        assert step.outcome.kind == "lost", step.outcome
        assert step.outcome.stdout == "begun\n"
        assert "the sandbox ended" in step.outcome.text
        assert "rebuilt by running actions again" in step.outcome.text, (
            "or an agent would rely on what may differ"
        )
        assert "variables are as they were" not in step.outcome.text
        assert any("again" in line for line in step.reach.stands)
        assert_replayed(session)


#: an action that tells in which sandbox it runs, and goes on when it was heard
HEARD = """
import os, time
mine = open('/proc/1/stat').read().split()[21]
_ = open('here', 'w').write(mine)
while not os.path.exists('heard-' + mine): time.sleep(0.01)
"""


class Hearing:
    """Waits for that action to run, once in each sandbox."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known = {""}

    def hear(self) -> None:
        """Until it runs in another sandbox than before."""
        here = self._session.workspace / "here"
        while not here.exists() or (found := here.read_text()) in self._known:
            time.sleep(0.01)
        self._known.add(found)

    def let_go_on(self) -> None:
        self.hear()
        for each in self._known:
            (self._session.workspace / f"heard-{each}").touch()


def test_a_sandbox_killed_again_while_it_is_rebuilt_is_rebuilt_by_the_next_call_and_that_is_said(
    any_isolation: str, tmp_path: Path
) -> None:
    with mulligan.open(isolation=any_isolation, state=tmp_path) as session, ThreadPoolExecutor(1) as host:
        hearing = Hearing(session)

        def kill() -> None:
            kill_sandbox(session, any_isolation)

        session.run("kept = ['kept']; x = 7; _ = open('f', 'w').write('seven')")
        host.submit(hearing.let_go_on)
        assert session.run(HEARD, timeout=60).outcome.kind == "completed"

        def kill_again() -> None:
            hearing.hear()
            kill()

        jobs = [host.submit(kill_again), host.submit(hearing.let_go_on)]
        wreck = "kept.append('wreck'); open('f', 'w').write('wreck'); print('begun')\nwhile True: pass"
        step = session.run(wreck, timeout=60, on_event=_once(kill))
        assert step.outcome.kind == "lost", step.outcome
        assert "not taken back yet" in step.outcome.text and "as they were" not in step.outcome.text
        assert_replayed(session)
        assert all(each.done() and each.exception() is None for each in jobs)


def _once(act: Callable[[], None]) -> Callable[[Event], None]:
    """Acts at the first event."""
    left = [act]

    def heed(_: Event) -> None:
        if left:
            left.pop()()

    return heed


def test_a_sandbox_killed_between_actions_is_started_again_and_variables_return(
    isolation: str, tmp_path: Path
) -> None:
    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        session.run("kept = ['kept']; x = 7; _ = open('f', 'w').write('seven')")
        assert session.run("y = 1").reach.exact
        kill_sandbox(session, isolation)
        step = session.run("print(kept, x, open('f').read())", timeout=60)
        assert step.outcome.stdout == "['kept'] 7 seven\n", step.outcome
        assert any("again" in line for line in step.reach.stands), "it must be said that memory was rebuilt"
        back = session.undo(to=1)
        assert back.memory == "replayed" and not back.complete
        assert_replayed(session)


UNCAPTURED = """
import os, sys
from pathlib import Path
import mulligan

isolation, state, user = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
with mulligan.open(user, isolation=isolation, state=state) as session:
    kept = session.run("x = 1")
    assert kept.reach.exact, kept.reach
    disk = os.statvfs(state)
    with open(state / "ballast", "wb") as ballast:
        for _ in range((disk.f_bavail * disk.f_frsize >> 20) - 48):
            ballast.write(b"x" * (1 << 20))
    big = session.run("import os; x = 2; _ = open('big', 'wb').write(os.urandom(30 << 20))")
    assert (big.outcome.kind, big.reach.files) == ("completed", "none"), (big.outcome, big.reach)
    os.truncate(state / "ballast", 0)
    refused = session.run("x" * (1 << 22))
    assert (refused.outcome.kind, refused.reach.files) == ("refused", "none"), refused.reach
    lost = session.run("os._exit(1)")
    said = f"step {big.id} has no checkpoint: this is the state after step {kept.id}"
    assert (lost.outcome.kind, said in lost.reach.stands) == ("lost", True), lost.reach
    assert session.run("print(x)").outcome.stdout == "1\\n"
    assert said in session.goto(big.id).stands
print("said")
"""

FULL = """
import os, sys
from pathlib import Path
import mulligan

isolation, state, user = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
with mulligan.open(user, isolation=isolation, state=state) as session:
    step = session.run("x = [1]; open('small', 'w').write('small')")
    assert step.reach.exact, step.reach
    with open(state / "ballast", "wb") as ballast:
        try:
            while True:
                ballast.write(b"x" * (1 << 20))
        except OSError:
            pass
    errors = []
    try:
        full = session.run("x.append(2); open('big', 'w').write('b' * 5_000_000)", timeout=20)
        errors.append(full.outcome.text + str(full.reach))
        assert full.outcome.kind in ("raised", "reverted", "completed"), full.outcome
        assert full.outcome.kind != "completed" or not full.reach.exact
    except mulligan.MulliganError as error:
        assert error.hint, error
        errors.append(str(error))
    assert "space" in errors[0] or "full" in errors[0], errors
    os.truncate(state / "ballast", 0)
    session.undo(to=step.id)
    seen = session.run("print(x, sorted(__import__('os').listdir('.')), open('small').read())", timeout=20)
    assert seen.outcome.stdout == "[1] ['mine', 'small'] small\\n", seen.outcome
    assert seen.reach.files == "exact", seen.reach
    assert sorted(path.name for path in user.iterdir()) == ["mine"]
    session.commit()
assert sorted(path.name for path in user.iterdir()) == ["mine", "small"]
print("nothing lost")
"""


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_is_said_and_loses_nothing(isolation: str, tmp_path: Path) -> None:
    assert on_a_small_disk(FULL, isolation, tmp_path) == "nothing lost\n"


def test_after_a_step_that_could_not_be_captured_what_goes_back_says_how_far(
    isolation: str, tmp_path: Path
) -> None:
    assert on_a_small_disk(UNCAPTURED, isolation, tmp_path) == "said\n"


def on_a_small_disk(script: str, isolation: str, tmp_path: Path) -> str:
    """What a program prints whose state lies there. As root, which Docker's engine needs to see the mount; else in a
    user namespace of our own."""
    state, user = tmp_path / "state", tmp_path / "user"
    state.mkdir()
    user.mkdir()
    (user / "mine").write_text("mine")
    play = [sys.executable, "-c", script, isolation, str(state), str(user)]
    if os.geteuid() == 0:
        with small_disk(state, 600):
            done = subprocess.run(play, capture_output=True, text=True, timeout=100, check=False)
    else:
        mount = f'mount -t tmpfs -o size=600m tmpfs "{state}" && exec "$@"'
        done = subprocess.run(
            ["unshare", "-Urm", "sh", "-c", mount, "sh", *play],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_state_folder_that_cannot_be_written_is_said(isolation: str, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises((MulliganError, OSError)):
        mulligan.open(isolation=isolation, state=tmp_path / "state")


def test_folders_nested_deeper_than_python_recurses_are_undone_and_removed_at_close(
    isolation: str, tmp_path: Path
) -> None:
    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        session.run("import os; kept = ['kept']; home = os.getcwd()")
        deep = session.run("for _ in range(1500): os.mkdir('d'); os.chdir('d')", timeout=30)
        assert deep.outcome.kind == "completed", deep.outcome.text
        session.undo()
        assert list(session.workspace.iterdir()) == []
        session.redo()
        files = session.folders.files
    assert not files.exists()
