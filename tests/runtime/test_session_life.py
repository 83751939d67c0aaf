"""How a session lives and ends: what is recorded when, what closing ends, what a dead owner leaves."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import mulligan
from mulligan.runtime.errors import SessionBusy
from mulligan.runtime.ledger import Ledger
from mulligan.runtime.timeline import Timeline
from mulligan.sandbox.messages import Event, Stream

OWNER = """
import sys, mulligan
session = mulligan.open(isolation=sys.argv[1], state=sys.argv[2])
session.run("x = 1")
session.run("print('running', flush=True)\\nimport time\\ntime.sleep(600)", timeout=900,
    on_event=lambda event: print(session.folders.root, flush=True))
"""

#: first uses up pids, so that a worker that is started anew has a pid that none had before
KILL_TWINS = """
import os
for _ in range(60): os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)
for pid in map(int, filter(str.isdigit, os.listdir('/proc'))):
    if pid not in (1, os.getpid()):
        try: os.kill(pid, 9)
        except (ProcessLookupError, PermissionError): pass
"""


def test_a_step_is_recorded_before_it_runs_and_a_dead_owner_leaves_only_its_ledger(
    isolation: str, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, isolation, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        root = Path(owner.stdout.readline().strip())
        with Ledger.open(root / "ledger.db") as ledger:
            timeline = Timeline.read(ledger.entries())
        owner.send_signal(signal.SIGKILL)
    assert (timeline.nodes[2].kind, timeline.nodes[2].source.splitlines()[0]) == (
        "running",
        "print('running', flush=True)",
    )

    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        assert session.folders.root != root
        assert sorted(path.name for path in root.iterdir()) == _remains(root)
        assert not (root / "files").exists()


def _remains(root: Path) -> list[str]:
    kept = {"ledger.db", "ledger.db-shm", "ledger.db-wal", "owner", "commits"}
    return sorted(path.name for path in root.iterdir() if path.name in kept)


def test_closing_ends_an_action_that_will_not_stop(isolation: str, tmp_path: Path) -> None:
    started = threading.Event()
    session = mulligan.open(isolation=isolation, state=tmp_path)
    source = "print('on')\nimport time\nwhile True:\n  try: time.sleep(600)\n  except BaseException: pass"

    def run() -> None:
        outcomes.append(session.run(source, timeout=600, on_event=lambda _: started.set()).outcome.kind)

    outcomes: list[str] = []
    runner = threading.Thread(target=run)
    runner.start()
    assert started.wait(30)
    session.close()
    runner.join(30)
    assert outcomes == ["lost"]
    assert not session.folders.files.exists()


def test_a_call_from_within_its_own_callback_is_an_error_and_no_deadlock(
    isolation: str, tmp_path: Path
) -> None:
    errors: list[BaseException] = []

    def call(event: Event) -> None:
        if isinstance(event, Stream):
            with pytest.raises(SessionBusy, match="on_event") as caught:
                session.undo()
            errors.append(caught.value)

    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        assert session.run("print(1)", on_event=call).outcome.ok
    assert len(errors) == 1


def test_a_replayed_step_that_ends_otherwise_is_named(isolation: str, tmp_path: Path) -> None:
    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        session.run("x = 41; import os")
        # the worker's pid is another one each time it is started anew
        once = session.run("assert os.getpid() < 40, os.getpid()")
        assert once.outcome.ok, once.outcome.text
        session.run("x += 1")
        session.run(KILL_TWINS)
        session.run("pass")
        back = session.undo(to=3)
        assert back.memory == "replayed"
        assert f"step {once.id} ended otherwise when it was run again" in back.stands
        assert session.run("x").outcome.text == "42"


def test_a_replayed_step_that_ends_the_kernel_is_left_out_and_named(isolation: str, tmp_path: Path) -> None:
    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        session.run("x = 41; import os")
        # the worker's pid is another one each time it is started anew
        deadly = session.run("known = os.getpid() if os.getpid() < 40 else os._exit(3)")
        assert deadly.outcome.ok, deadly.outcome.text
        session.run("x += 1")
        session.run(KILL_TWINS)
        session.run("pass")
        back = session.undo(to=3)
        assert back.memory == "replayed"
        assert f"step {deadly.id} ended the kernel when it was run again, and was left out" in back.stands
        assert session.run("x").outcome.text == "42"
        again = session.undo()
        assert not again.complete, "memory that goes back to a replay is not called exact"
