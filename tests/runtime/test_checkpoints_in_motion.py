"""Checkpoints while something moves: other processes and threads that write files, and the next action, which starts
while the twin of the last is still being forked."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

import mulligan
from mulligan import Session, Step

#: writes the same number into one file and then into another, for ever; both are never more than one apart
_PAIR = """
import itertools, os
files = [os.open(name, os.O_RDWR | os.O_CREAT) for name in ('first', 'second')]
def write():
    for n in itertools.count(1):
        for file in files:
            os.pwrite(file, b'%12d' % n, 0)
"""
_PROCESS = _PAIR + "if os.fork() == 0:\n    write()\n"
_THREAD = _PAIR + "import threading; threading.Thread(target=write, daemon=True).start()\n"
#: by the kernel itself between actions, which notes where it does not find what it wrote last
_TURN = """
import asyncio, itertools, os, signal
files = [os.open(name, os.O_RDWR | os.O_CREAT) for name in ('first', 'second')]
missed = []
def turns():
    for n in itertools.count(1):
        for file in files:
            if n > 1 and int(os.pread(file, 12, 0)) != n - 1:
                missed.append(n)
            os.pwrite(file, b'%12d' % n, 0)
            yield
turn = turns()
_ = next(turn), next(turn)
"""
_BY_ITSELF = {
    "a task": """
async def write():
    for _ in turn:
        await asyncio.sleep(0)
task = asyncio.create_task(write())
""",
    "a timer": """
signal.signal(signal.SIGALRM, lambda *_: turn.gi_running or next(turn))
_ = signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
""",
}
#: as many processes as there may be, one of which could write
_CROWD = """
import os, signal
try:
    while True:
        if os.fork() == 0:
            signal.pause()
except OSError:
    pass
"""
_WAIT = "before = open('first').read()\nwhile open('first').read() == before: pass\n"


def run(session: Session, source: str) -> Step:
    step = session.run(source, timeout=60)
    assert step.outcome.kind == "completed", step.outcome.text
    return step


def kept(session: Session, step: int, name: str) -> int:
    path = b"workspace/" + name.encode()
    return int(session._do(lambda: session._store.read(session._story.snapshot_of(step)[0], path)).result())


def steps_beside_a_writer(session: Session, writer: str) -> list[Step]:
    """Each is captured whole, and the writer goes on."""
    run(session, writer)
    steps = [run(session, _WAIT + f"n = {n}") for n in range(12)]
    pairs = [(kept(session, step.id, "first"), kept(session, step.id, "second")) for step in steps]
    assert all(first - second in (0, 1) for first, second in pairs), pairs
    assert all(a < b for (a, _), (b, _) in itertools.pairwise(pairs)), pairs
    return steps


def test_processes_that_write_are_stopped_for_the_snapshot_and_go_on(session: Session) -> None:
    steps = steps_beside_a_writer(session, _PROCESS)
    assert all("goes on as it is" in " ".join(step.reach.stands) for step in steps)


def test_threads_that_write_are_stopped_for_the_snapshot_and_go_on(session: Session) -> None:
    steps_beside_a_writer(session, _THREAD)


@pytest.mark.parametrize("way", _BY_ITSELF)
def test_what_the_kernel_writes_between_actions_is_captured_whole_and_as_its_memory_has_it(
    session: Session, way: str
) -> None:
    run(session, _TURN + _BY_ITSELF[way])
    steps = [run(session, f"n = {n}") for n in range(8)]
    pairs = [(kept(session, step.id, "first"), kept(session, step.id, "second")) for step in steps]
    assert all(first - second in (0, 1) for first, second in pairs), pairs
    for step in steps[::3]:
        assert session.goto(step.id).memory == "woken"
        assert run(session, "print(n, missed)").outcome.stdout == f"{steps.index(step)} []\n"


def test_where_no_twin_could_be_made_it_is_said_that_a_writer_was_not_stopped(
    isolation: str, tmp_path: Path
) -> None:
    resources = mulligan.Policy().resources.model_copy(update={"pids": 24})
    policy = mulligan.Policy(resources=resources)
    with mulligan.open(isolation=isolation, state=tmp_path, policy=policy) as session:
        crowd = run(session, _CROWD)
        assert (crowd.reach.files, crowd.reach.memory) == ("exact", "replayed"), crowd.reach
        assert any("captured while something else could write" in line for line in crowd.reach.stands)


def test_a_sandbox_that_ends_while_an_action_stands_in_line_costs_no_step(
    isolation: str, tmp_path: Path
) -> None:
    """Between the outcome of one and the start of the next, when the files of the first are not yet captured."""
    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        first = session._submit("x = 41; _ = open('made', 'w').write('made')", 30, lambda event: None)
        first.step.add_done_callback(lambda _: session._confined.sandbox.stop())
        second = session._submit("print(x + 1, open('made').read())", 60, lambda event: None)
        assert second.step.result().outcome.stdout == "42 made\n"
        reach = session.reach(
            first.step.result().id
        )  # its twin, if there was one still, is gone with the sandbox
        assert (reach.files, reach.memory) == ("exact", "replayed")


def test_a_process_that_the_code_itself_has_stopped_stays_stopped(session: Session) -> None:
    run(
        session,
        "import subprocess, signal\np = subprocess.Popen(['sleep', '1000'])\np.send_signal(signal.SIGSTOP)",
    )
    run(session, "x = 1")
    state = "print(open(f'/proc/{p.pid}/stat').read().rpartition(')')[2].split()[0])"
    assert run(session, state).outcome.stdout == "T\n"


def test_what_is_written_through_a_map_that_stays_open_belongs_to_its_step(
    isolation: str, tmp_path: Path
) -> None:
    """In a tree so large that not every file is looked at; a map is no event, and the file is not closed."""
    folder = tmp_path / "data"
    folder.mkdir()
    for n in range(1500):
        (folder / f"{n}").write_bytes(b"0" * 4096)
    with mulligan.open(folder, isolation=isolation, state=tmp_path / "state") as session:
        run(session, "import mmap; f = open('7', 'r+b'); m = mmap.mmap(f.fileno(), 0); m[:1] = b'A'")
        run(session, "m[:1] = b'B'")
        session.undo()
        assert run(session, "print(m[:1], open('7', 'rb').read(1))").outcome.stdout == "b'A' b'A'\n"
        session.undo(2)
        assert (session.workspace / "7").read_bytes()[:1] == b"0"


def test_actions_in_a_row_each_have_a_whole_checkpoint(isolation: str, tmp_path: Path) -> None:
    """The next one is in the kernel before the twin of the last is there."""

    async def rows() -> None:
        async with await mulligan.aopen(isolation=isolation, state=tmp_path) as session:
            sources = [f"n = {n}; _ = open('n', 'w').write('{n}')" for n in range(20)]
            steps = await asyncio.gather(*(session.run(source) for source in sources))
            assert [step.reach.exact for step in steps] == [True] * 20
            assert [step.id for step in steps] == list(range(1, 21))
            for step in (steps[3], steps[17], steps[0]):
                back = await session.goto(step.id)
                assert (back.memory, back.stands) == ("woken", ())
                told = await session.run("print(n, open('n').read())")
                assert told.outcome.stdout == f"{step.id - 1} {step.id - 1}\n"

    asyncio.run(rows())


def test_an_action_that_comes_while_a_twin_is_forked_does_not_wait_for_it(
    isolation: str, tmp_path: Path
) -> None:
    """Its proposal stands before the checkpoint of the step before: each caller has its answer first, then asks."""
    with mulligan.open(isolation=isolation, state=tmp_path) as session:
        run(
            session, "held = bytearray(200 << 20)"
        )  # so that the fork takes long enough, also on a busy machine
        steps = [run(session, f"n = {n}") for n in range(10)]
        assert all(step.reach.exact for step in steps)
        kinds = [(entry.kind, entry.step) for entry in session._ledger.entries()]
    early = [
        step.id
        for step in steps
        if kinds.index(("proposed", step.id)) < kinds.index(("checkpointed", step.id - 1))
    ]
    assert early, kinds


def test_an_action_in_line_behind_one_that_fails_is_run(isolation: str, tmp_path: Path) -> None:
    async def rows() -> None:
        async with await mulligan.aopen(isolation=isolation, state=tmp_path) as session:
            for _ in range(5):
                bad, good = await asyncio.gather(session.run("1 / 0"), session.run("print('run')"))
                assert (bad.outcome.kind, good.outcome.stdout) == ("raised", "run\n")
                assert bad.reach.exact
                assert good.reach.exact

    asyncio.run(rows())


def test_an_action_that_kills_the_kernel_at_once_does_not_cost_the_one_before(
    isolation: str, tmp_path: Path
) -> None:
    async def rows() -> None:
        async with await mulligan.aopen(isolation=isolation, state=tmp_path) as session:
            for n in range(10):
                good, bad = await asyncio.gather(
                    session.run(f"n = {n}; g = iter('ab'); _ = next(g)"),
                    session.run("import os; os._exit(1)"),
                )
                assert (good.outcome.kind, bad.outcome.kind) == ("completed", "lost")
                assert good.reach.exact, good.reach
                told = await session.run("print(n, next(g))")
                assert told.outcome.stdout == f"{n} b\n"

    asyncio.run(rows())
