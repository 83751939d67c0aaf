"""Sessions from a pool are sessions like any other, in sandboxes that waited and are never handed on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import docker
import pytest

import mulligan
from mulligan import Policy, Pool, Session
from mulligan.policies.errors import PolicyError
from mulligan.policies.loading import parse_policy
from mulligan.policies.policy import Actions, Resources
from mulligan.runtime.errors import PoolClosed, WorkspaceInvalid
from mulligan.runtime.past import list_sessions
from mulligan.runtime.pool import PoolWarning
from mulligan.sandbox.errors import SandboxError, WarmFailed
from mulligan.sandbox.isolation import Isolation

FULL = 90.0
#: what tells two kernels apart: the supervisor's start, which no other sandbox shares, and the sandbox's user
WHO = "import os; print(os.getuid(), open('/proc/1/stat').read().rpartition(')')[2].split()[19])"

OWNER = """
import sys, time, mulligan
pool = mulligan.Pool(size=1, isolation=sys.argv[1], state=sys.argv[2]).__enter__()
assert pool.fill(90) == 1
print("full", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def pool(isolation: str, state: Path) -> Iterator[Pool]:
    warm = "import decimal\nopen('/tmp/warmed', 'w').write('x')"
    with mulligan.Pool(size=2, isolation=isolation, state=state, warm=warm) as pool:
        yield pool


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("one")
    (folder / "deep" / "run.sh").write_text("echo two")
    (folder / "deep" / "run.sh").chmod(0o750)
    return folder


def said(session: Session, source: str) -> str:
    outcome = session.run(source).outcome
    assert outcome.ok, outcome.text
    return outcome.stdout.strip()


def test_a_session_from_the_pool_has_the_users_folder_and_all_the_verbs(pool: Pool, folder: Path) -> None:
    assert pool.fill(FULL) == 2
    with pool.open(folder) as session:
        assert session.report.probes
        look = (
            "import os; print(sorted(os.listdir()), oct(os.stat('deep/run.sh').st_mode & 0o777), os.getcwd())"
        )
        assert said(session, look) == "['a.txt', 'deep'] 0o750 /workspace"
        session.run("open('a.txt', 'w').write('TWO')")  # as many bytes as before
        assert [str(change) for change in session.diff()] == ["~ a.txt"]
        assert session.undo().complete
        assert said(session, "print(open('a.txt').read())") == "one"
        session.run("open('b.txt', 'w').write('new'); open('a.txt', 'w').write('TWO')")
        assert sorted(each.path for each in session.commit().applied) == [b"a.txt", b"b.txt"]
    assert (folder / "a.txt").read_text() == "TWO"


def test_warm_code_has_run_before_the_first_action_and_is_there_after_a_reset(pool: Pool) -> None:
    with pool.open() as session:
        assert (
            said(session, "import sys; print('decimal' in sys.modules, decimal.Decimal('0.1') * 3)")
            == "True 0.3"
        )
        session.run("decimal = None; import os; os.remove('/tmp/warmed')")
        back = session.reset()
        assert (back.memory, back.stands) == ("woken", ())
        assert said(session, "print(decimal.__name__, open('/tmp/warmed').read())") == "decimal x"
        counted = session.run("1").outcome.result
        assert counted is not None and said(session, "print(len(In))") == "4", (
            "warm code is no numbered input"
        )


def test_warm_code_is_run_again_where_the_first_twin_is_gone_and_that_is_said(pool: Pool) -> None:
    kill = (
        "import os\nfor pid in map(int, filter(str.isdigit, os.listdir('/proc'))):\n"
        "    if pid not in (1, os.getpid()): os.kill(pid, 9)"
    )
    with pool.open() as session:
        session.run(kill)
        back = session.reset()
        assert back.memory == "replayed"
        assert any("the code to begin with was run again" in line for line in back.stands)
        assert said(session, "print(decimal.__name__)") == "decimal"


def test_nothing_is_laid_beneath_a_sandbox_that_waited(pool: Pool, folder: Path) -> None:
    with pytest.raises(WorkspaceInvalid, match="session: its sandbox was started before it") as refused:
        pool.open(folder, staging="overlay")
    assert refused.value.hint == "with staging='auto' it is copied instead"
    with pytest.raises(WorkspaceInvalid, match="not 'link'"):
        pool.open(folder, staging="link")
    with pool.open(folder, staging="copy") as session:
        assert session.report.workspace.startswith("a copy")


def test_reset_gives_a_clean_kernel_and_clean_files_again_and_again(pool: Pool, folder: Path) -> None:
    with pool.open(folder) as session:
        for _ in range(3):
            session.run("x = 1; import os; os.remove('a.txt'); open('/home/user/left', 'w').write('x')")
            back = session.reset()
            assert (back.memory, back.stands, back.step) == ("woken", (), 0)
            assert said(session, "print('x' in globals(), open('a.txt').read())") == "False one"
        assert not (session.folders.files / "home" / "left").exists()


def test_the_sandbox_of_an_ended_session_is_never_handed_on(pool: Pool) -> None:
    seen = []
    for _ in range(4):
        with pool.open() as session:
            seen.append((said(session, WHO), session.id))
            session.run("planted = 1; open('/tmp/planted', 'w').write('x')")
            files = session.folders.files
        assert not files.exists(), "nor are its files"
        assert not session._confined.sandbox.running()
    assert len(set(seen)) == 4
    with pool.open() as session:
        assert said(session, "import os; print('planted' in globals(), os.path.exists('/tmp/planted'))") == (
            "False False"
        )


def test_sessions_open_at_the_same_time_each_with_a_user_of_its_own(pool: Pool) -> None:
    """More than wait: an exhausted pool starts one there and then."""
    with ThreadPoolExecutor(4) as threads:
        sessions = list(threads.map(lambda _: pool.open(), range(4)))
        who = list(threads.map(lambda session: said(session, WHO), sessions))
        list(threads.map(Session.close, sessions))
    assert len(set(who)) == 4
    if os.geteuid() == 0:
        assert len({line.split()[0] for line in who}) == 4


def test_a_sandbox_that_died_while_it_waited_is_not_handed_out(pool: Pool) -> None:
    assert pool.fill(FULL) == 2
    with pool._changed:  # so that nobody buries them before they are asked for
        waiting = list(pool._ready)
        for session in waiting:
            session._confined.sandbox.stop()
        pool._ready.clear()
        pool._ready.extend(waiting)
    with pool.open() as session:
        assert session.id not in {each.id for each in waiting}
        assert said(session, "print(1)") == "1"


def test_a_waiting_sandbox_whose_kernel_died_is_not_handed_out(pool: Pool) -> None:
    assert pool.fill(FULL) == 2
    waiting = list(pool._ready)
    for session in waiting:
        kernel = session._confined.kernel
        die = partial(
            kernel.execute, "import os, threading; threading.Timer(0.1, os._exit, [3]).start()", print
        )
        assert session._do(die).result().ok
        assert kernel._control.poll(30_000), "the supervisor has said so"
    with pool.open() as session:
        assert session.id not in {each.id for each in waiting}
        assert said(session, "print(1)") == "1"


def test_what_waits_is_nobodys_session_yet(pool: Pool, state: Path) -> None:
    assert pool.fill(FULL) == 2
    waiting = {session.id for session in pool._ready}
    assert not waiting & {found.id for found in list_sessions(state)}
    with pool.open() as session:
        assert session.id in {found.id for found in list_sessions(state)}


def test_a_policy_with_other_limits_is_refused_and_one_with_other_rules_is_not(pool: Pool) -> None:
    with pytest.raises(
        PolicyError, match="memory is 4,294,967,296 in the pool and 1,073,741,824 here"
    ) as caught:
        pool.open(policy=Policy(resources=Resources(memory=1 << 30)))
    assert "mulligan.open()" in caught.value.hint
    rules = Policy(actions=Actions(max_source_bytes=10), resources=Resources(wall=5.0))
    with pool.open(policy=rules, protect=["kept/**"]) as session:
        assert session.run("x = 1 + 1 + 1 + 1").outcome.kind == "refused"
        assert session.run("x = 1").outcome.kind == "completed"
        assert "protect" in session.report.bounds


def test_a_policy_may_be_a_file_and_one_that_nothing_enforces_makes_no_pool(
    pool: Pool, tmp_path: Path
) -> None:
    (tmp_path / "wall.yaml").write_text("actions: {max_source_bytes: 10}\n")
    with pool.open(policy=tmp_path / "wall.yaml") as session:
        assert session.run("x = 1 + 1 + 1 + 1").outcome.kind == "refused"
    mulligan.Pool(policy=tmp_path / "wall.yaml")
    with pytest.raises(PolicyError, match="which no session enforces yet"):
        mulligan.Pool(policy=parse_policy("tools: [{allow: send}]\nbudgets: {messages: 1}"))


def test_a_workspace_that_is_none_costs_a_sandbox_and_leaves_nothing(
    pool: Pool, state: Path, tmp_path: Path
) -> None:
    pool.fill(FULL)
    first = pool._ready[0]
    with pytest.raises(WorkspaceInvalid):
        pool.open(tmp_path / "nowhere")
    assert not first.folders.root.exists()
    with pool.open() as session:
        assert said(session, "print(1)") == "1"


async def _async(isolation: str, state: Path, folder: Path) -> str:
    async with (
        mulligan.Pool(size=1, isolation=isolation, state=state) as pool,
        await pool.aopen(folder) as session,
    ):
        return (await session.run("print(open('a.txt').read())")).outcome.stdout


def test_a_pool_serves_event_loops(isolation: str, state: Path, folder: Path) -> None:
    import asyncio

    assert asyncio.run(_async(isolation, state, folder)) == "one\n"


def test_a_closed_pool_leaves_nothing_and_says_that_it_is_closed(isolation: str, tmp_path: Path) -> None:
    with mulligan.Pool(size=2, isolation=isolation, state=tmp_path) as pool:
        pool.fill(FULL)
        waiting = list(pool._ready)
        taken = pool.open()
    assert not any(each._confined.sandbox.running() for each in waiting if each is not taken)
    assert said(taken, "print(1)") == "1", "a session that was handed out lives on"
    taken.close()
    assert [each.name for each in (tmp_path / "sessions").iterdir()] == [taken.id], "and leaves its ledger"
    with pytest.raises(PoolClosed, match="not open"):
        pool.open()
    pool.close()


def test_a_pool_whose_owner_was_killed_leaves_nothing_after_the_next_open(
    isolation: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", OWNER, isolation, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None and owner.stdout.readline() == "full\n"
        (root,) = (tmp_path / "sessions").iterdir()
        owner.send_signal(signal.SIGKILL)
    with mulligan.open(isolation=isolation, state=tmp_path):
        assert not root.exists()
        if isolation == "docker":
            client = docker.from_env()
            left = client.containers.list(all=True, filters={"label": f"mulligan.session={root.name}"})
            client.close()
            assert left == []


def test_warm_code_that_fails_is_a_clear_error_of_the_next_open(isolation: str, tmp_path: Path) -> None:
    with mulligan.Pool(size=1, isolation=isolation, state=tmp_path, warm="import no_such_module") as pool:
        with pytest.raises(
            WarmFailed, match=r"ModuleNotFoundError: No module named 'no_such_module'"
        ) as caught:
            pool.fill(FULL)
        assert "correct `warm`" in caught.value.hint
        with pytest.raises(WarmFailed):
            pool.open()
        assert isinstance(pool.failure, WarmFailed)
    assert list((tmp_path / "sessions").iterdir()) == []


def test_a_start_that_fails_in_the_background_is_told_by_the_next_open_and_tried_again(
    isolation: str, tmp_path: Path
) -> None:
    """The sandboxes that wait already are handed out all the same."""
    python = tmp_path / "python"
    with mulligan.Pool(size=2, isolation=isolation, state=tmp_path) as pool:
        pool.fill(FULL)
        good = pool._order
        object.__setattr__(pool, "_order", _broken(good, python))
        pool.open().close()
        with pytest.raises(SandboxError):
            pool.fill(FULL)
        pool._reported = False
        with pytest.warns(PoolWarning, match=r"could not be filled up: .*\n? .*") as told:
            pool.open().close()
        assert "python" in str(told[0].message) or "docker pull" in str(told[0].message)
        with pytest.raises(SandboxError):
            pool.open()
        object.__setattr__(pool, "_order", good)
        with pool._changed:
            pool._retry = 0.0
            assert pool._changed.wait_for(lambda: pool._failed is None, FULL)
        assert pool.fill(FULL) == 2


def _broken(order: object, python: Path) -> object:
    from dataclasses import replace

    return replace(order, python=python, image="mulligan-no-such-image")  # type: ignore[type-var]


def test_a_bubblewrap_that_hangs_keeps_no_other_from_being_started(tmp_path: Path) -> None:
    from mulligan.sandbox.bubblewrap import BubblewrapEngine
    from mulligan.sandbox.errors import NoIsolation

    said_so, go_on = tmp_path / "began", tmp_path / "go"
    os.mkfifo(said_so)
    os.mkfifo(go_on)
    hanging = tmp_path / "bwrap"
    hanging.write_text(
        f'#!/bin/sh\ncase "$1" in --version|--help) echo 1; exit;; esac\necho x > {said_so}\nread x < {go_on}\n'
    )
    hanging.chmod(0o755)
    caught: list[BaseException] = []

    def hang() -> None:
        try:
            BubblewrapEngine(hanging, patience=100).start(Isolation(session="none", mounts=(), uid=7, gid=7))
        except NoIsolation as error:
            caught.append(error)

    thread = threading.Thread(target=hang)
    thread.start()
    assert said_so.read_text() == "x\n"
    with mulligan.open(isolation="bubblewrap", state=tmp_path / "state") as session:
        assert said(session, "print(1)") == "1"
        assert thread.is_alive()
    go_on.write_text("x\n")
    thread.join(30)
    assert len(caught) == 1
