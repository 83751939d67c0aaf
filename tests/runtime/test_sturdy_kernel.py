"""What an action can do to its own process, and that the session goes on with its variables and its files."""

from __future__ import annotations

from pathlib import Path

import pytest

import mulligan
from mulligan import Lost, Session
from mulligan.policies.policy import Resources


@pytest.fixture
def session(opened: Session) -> Session:
    opened.reset()
    step = opened.run(
        "import os, signal, subprocess, sys, threading, time\n"
        "kept = ['kept']; _ = open('kept.txt', 'w').write('kept')"
    )
    assert step.outcome.kind == "completed", step.outcome.text
    return opened


def assert_all_is_as_it_was(session: Session) -> None:
    after = session.run("kept, open('kept.txt').read()", timeout=30).outcome
    assert after.result is not None, after.text
    assert after.result.data["text/plain"] == "(['kept'], 'kept')"
    assert session._do(session._story.confined.kernel.usage).result().processes == 1


# -- stopped ---------------------------------------------------------------------------------------------------

STOPS = {
    "SIGSTOP to itself": "os.kill(os.getpid(), signal.SIGSTOP)",
    "SIGTSTP to itself": "os.kill(os.getpid(), signal.SIGTSTP)",
    "SIGSTOP to its group": "os.kill(0, signal.SIGSTOP)",
    "a thousand times": "for _ in range(1000): os.kill(os.getpid(), signal.SIGSTOP)",
    "by a thread": "t = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGSTOP)); t.start(); t.join()",
    "by a child": "_ = subprocess.run(['sh', '-c', f'kill -STOP {os.getpid()}'])",
}


@pytest.mark.parametrize("way", STOPS)
def test_a_kernel_that_stops_goes_on_and_that_is_said_once(session: Session, way: str) -> None:
    outcome = session.run(f"print('before')\n{STOPS[way]}\nprint('after')", timeout=60).outcome
    assert outcome.kind == "completed", outcome.text
    assert outcome.stdout == "before\nafter\n"
    if way != "SIGTSTP to itself":  # the kernel ignores that one in a group without a terminal
        assert outcome.stderr.count("was stopped by a signal") == 1
    assert_all_is_as_it_was(session)


def test_a_kernel_that_is_stopped_between_actions_goes_on(session: Session) -> None:
    """By a child that waits for the action to have ended."""
    child = "while [ ! -e go ]; do sleep 0.01; done; kill -STOP {os.getpid()}; touch gone"
    session.run(f"child = subprocess.Popen(['sh', '-c', f'{child}'])")
    (session.workspace / "go").touch()
    step = session.run("_ = child.wait(); print(kept, os.path.exists('gone'))", timeout=60)
    assert step.outcome.stdout == "['kept'] True\n", step.outcome
    assert_all_is_as_it_was(session)


# -- forked ----------------------------------------------------------------------------------------------------

FORKS = {
    "goes on to the end": ("", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "sys.exit without a number": ("sys.exit()", 0),
    "sys.exit with words": ("sys.exit('bye')", 1),
    "raises": ("1 / 0", 1),
    "os._exit": ("os._exit(4)", 4),
}


@pytest.mark.parametrize("way", FORKS)
def test_a_forked_child_ends_as_a_program_would_and_its_parent_goes_on(session: Session, way: str) -> None:
    """The child shares all that the worker has; it must neither answer in its place nor run what comes next."""
    source, status = FORKS[way]
    code = f"""
child = os.fork()
if child == 0:
    kept.append('of the child')
    print('the child')
    {source}
else:
    print('status', os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    outcome = session.run(code, timeout=60).outcome
    assert outcome.kind == "completed", outcome.text
    assert sorted(outcome.stdout.splitlines()) == sorted(["the child", f"status {status}"])
    assert_all_is_as_it_was(session)


def test_what_a_forked_child_says_while_its_parent_goes_on_is_heard_and_undo_ends_it(
    session: Session,
) -> None:
    step = session.run("""
if os.fork() == 0:
    number = 0
    while True:
        os.write(1, f'child {number};'.encode()); number += 1
        time.sleep(0.01)
""")
    heard = session.run("time.sleep(0.3); print('parent')", timeout=60).outcome
    assert "parent" in heard.stdout and "child" in step.outcome.stdout + heard.stdout
    session.undo(2)
    assert_all_is_as_it_was(session)


def test_a_pool_of_processes_works(session: Session) -> None:
    code = "import multiprocessing\nwith multiprocessing.get_context('fork').Pool(3) as p: print(p.map(abs, [-1, 2]))"
    outcome = session.run(code, timeout=60).outcome
    assert (outcome.kind, outcome.stdout) == ("completed", "[1, 2]\n"), outcome.text
    assert_all_is_as_it_was(session)


# -- results ---------------------------------------------------------------------------------------------------

REPRS = {
    "raises": ("raise ValueError('no')", "ValueError"),
    "is no text": ("return 5", "TypeError"),
    "raises what is no Exception": ("raise GeneratorExit('no')", "GeneratorExit"),
    "recurses for ever": ("sys.setrecursionlimit(300); return repr(self)", "RecursionError"),
    "leaves Python": ("raise SystemExit(3)", "SystemExit"),
}


@pytest.mark.parametrize("way", REPRS)
def test_a_result_whose_repr_fails_is_a_step_that_raised(session: Session, way: str) -> None:
    source, name = REPRS[way]
    code = f"done = 'done'\nclass Odd:\n    def __repr__(self): {source}\nOdd()"
    outcome = session.run(code, timeout=60).outcome
    assert outcome.kind == "raised", outcome
    assert outcome.error is not None and outcome.error.name == name
    assert session.run("print(done)").outcome.stdout == "done\n"
    assert_all_is_as_it_was(session)


# -- ended -----------------------------------------------------------------------------------------------------

ENDS = {
    "closing fds 0 to 20": (
        "for fd in range(21):\n    try: os.close(fd)\n    except OSError: pass",
        "channel",
    ),
    "closing all": ("os.closerange(0, 4096)", "channel"),
}


@pytest.mark.parametrize("way", ENDS)
def test_a_kernel_that_cuts_itself_off_is_lost_and_why_is_said(session: Session, way: str) -> None:
    source, why = ENDS[way]
    step = session.run(f"kept.append('wreck'); open('kept.txt', 'w').write('wreck')\n{source}", timeout=60)
    assert isinstance(step.outcome, Lost), step.outcome
    assert why in step.outcome.cause, step.outcome
    assert_all_is_as_it_was(session)


def test_closing_the_standard_descriptors_costs_only_what_goes_through_them(session: Session) -> None:
    outcome = session.run("for fd in range(3): os.close(fd)\nprint('said')", timeout=60).outcome
    assert (outcome.kind, outcome.stdout) == ("completed", "said\n"), outcome.text
    assert_all_is_as_it_was(session)


def test_recursion_to_the_limit_and_beyond_it_leaves_the_session_whole(session: Session) -> None:
    step = session.run(
        "depth = 0\ndef deeper():\n    global depth; depth += 1; deeper()\ndeeper()", timeout=60
    )
    assert step.outcome.kind == "raised"
    assert step.outcome.error is not None and step.outcome.error.name == "RecursionError"
    in_c = "sys.setrecursionlimit(10**9)\nnested = []\nfor _ in range(10**6): nested = [nested]\nrepr(nested)"
    assert session.run(in_c, timeout=60).outcome.kind in ("raised", "lost")
    assert_all_is_as_it_was(session)


def test_malloc_until_there_is_no_more_costs_at_most_the_step(isolation: str, tmp_path: Path) -> None:
    policy = mulligan.Policy(resources=Resources(memory=500 << 20))
    source = """
kept.append('wreck')
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.memset.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
libc.malloc.argtypes = [ctypes.c_size_t]
while block := libc.malloc(16 << 20):
    libc.memset(block, 1, 16 << 20)
"""
    with mulligan.open(isolation=isolation, state=tmp_path, policy=policy) as session:
        session.run("import ctypes; kept = ['kept']")
        step = session.run(source, timeout=60)
        assert step.outcome.kind in ("completed", "lost"), step.outcome  # the kernel says no, or kills
        if step.outcome.kind == "completed":
            session.undo()
        assert session.run("print(kept)", timeout=60).outcome.stdout == "['kept']\n"


def test_a_memory_that_runs_out_is_named_as_the_cause(isolation: str, tmp_path: Path) -> None:
    policy = mulligan.Policy(resources=Resources(memory=400 << 20))
    with mulligan.open(isolation=isolation, state=tmp_path, policy=policy) as session:
        session.run("import ctypes, subprocess, sys, time; kept = ['kept']")
        grows = "[bytearray(b'x') * (150 << 20), __import__('time').sleep(60)]"
        step = session.run(
            "crowd = [subprocess.Popen([sys.executable, '-c', " + repr(grows) + "]) for _ in range(3)]\n"
            "hoard = bytearray(b'x') * (150 << 20)\ntime.sleep(30)",
            timeout=60,
        )
        assert isinstance(step.outcome, Lost), step.outcome
        assert "memory" in step.outcome.cause
        assert session.run("print(kept)", timeout=60).outcome.stdout == "['kept']\n"


# -- its event loop --------------------------------------------------------------------------------------------

CANCELS = {
    "at once": "import asyncio; _ = [each.cancel() for each in asyncio.all_tasks()]",
    "later": "import asyncio\n"
    "asyncio.get_running_loop().call_soon(lambda: [each.cancel() for each in asyncio.all_tasks()])",
}


@pytest.mark.parametrize("way", CANCELS)
def test_an_action_that_cancels_every_task_cancels_no_other_action(session: Session, way: str) -> None:
    assert session.run(CANCELS[way]).outcome.kind == "completed"
    awaited = session.run("import asyncio; await asyncio.sleep(0, 'awaited')", timeout=30).outcome
    assert awaited.kind == "completed" and awaited.result is not None, awaited.text
    assert awaited.result.data["text/plain"] == "'awaited'"
    assert_all_is_as_it_was(session)


def test_a_checkpoint_is_no_fork_to_the_code_that_goes_on_and_one_to_what_wakes(session: Session) -> None:
    session.run(
        "calls = []\nfor when in ('before', 'after_in_parent', 'after_in_child'):\n"
        "    os.register_at_fork(**{when: lambda when=when: calls.append(when)})"
    )
    for _ in range(2):
        assert session.run("print(calls)").outcome.stdout == "[]\n"
    for _ in range(2):
        session.undo()
        assert session.run("print(calls)").outcome.stdout == "['before', 'after_in_child']\n"


def test_what_is_registered_for_forks_writes_into_files_at_their_own_places(session: Session) -> None:
    """Not where the code that was taken back had got to."""
    kept = session.run("log = open('log', 'w'); _ = log.write('B'); os.register_at_fork(before=log.flush)")
    session.run("_ = log.write('later'); log.flush()")
    for _ in range(2):
        assert session.goto(kept.id).memory == "woken"
        session.run("_ = log.write('C'); log.flush()")
        assert (session.workspace / "log").read_text() == "BC"


@pytest.mark.parametrize("builtin", ["sorted", "int"])
def test_a_builtin_that_a_checkpoint_needs_and_lacks_is_named_and_undo_brings_it_back(
    session: Session, builtin: str
) -> None:
    held = session.run("import builtins; held = open('kept.txt')")
    step = session.run(f"builtins.{builtin} = None", timeout=30)
    assert step.reach.stands == ("memory was not captured: TypeError: 'NoneType' object is not callable",), (
        step.reach
    )
    assert session.undo(to=held.id).memory == "woken"
    assert session.run(f"print({builtin} is None, held.read())").outcome.stdout == "False kept\n"
    assert_all_is_as_it_was(session)


def test_a_lock_that_an_undone_action_took_is_free_when_the_next_one_begins(session: Session) -> None:
    """Undo answers while the memory of what it ended is still given back, and the twin of what is undone sleeps on."""
    hold = (
        "import fcntl; held = open('kept.txt'); fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "other = open('other', 'w'); fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
    )
    for _ in range(3):
        step = session.run(hold + "hoard = [bytes(4000) for _ in range(50_000)]", timeout=60)
        assert step.outcome.kind == "completed", step.outcome.text
        assert session.undo().memory == "woken"
    back = session.redo()
    assert (back.memory, back.stands) == ("woken", ()), back
    again = "import fcntl; fcntl.flock(open('kept.txt'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    tried = f"print(subprocess.run([sys.executable, '-c', {again!r}], capture_output=True).returncode)"
    assert session.run(tried).outcome.stdout == "1\n"
    session.undo(2)
    assert session.run(tried).outcome.stdout == "0\n"
    assert_all_is_as_it_was(session)


def test_a_lock_that_a_checkpoint_holds_is_held_again_after_undo_from_what_took_it_over(
    session: Session,
) -> None:
    kept = session.run("import fcntl; mine = open('mine', 'w'); fcntl.lockf(mine, fcntl.LOCK_EX)")
    for _ in range(3):
        session.run("hoard = [bytes(4000) for _ in range(50_000)]", timeout=60)
        back = session.goto(kept.id)
        assert (back.memory, back.stands) == ("woken", ()), back
    other = "import fcntl; fcntl.lockf(open('mine', 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    tried = session.run(
        f"print(subprocess.run([sys.executable, '-c', {other!r}], capture_output=True).stderr[-30:])"
    )
    assert "BlockingIOError" in tried.outcome.stdout or "temporarily unavailable" in tried.outcome.stdout
    assert_all_is_as_it_was(session)


def test_undo_lists_the_ports_that_the_sleeping_twin_of_the_undone_step_holds(session: Session) -> None:
    listens = "import socket; mine = socket.socket(); mine.bind(('127.0.0.1', {})); mine.listen()"
    named = "; other = socket.socket(socket.AF_UNIX); other.bind('\\0rev\\n1 2 3 4 5 6 x @y')"
    assert session.run(listens.format(8123) + named).outcome.ok
    undone = session.undo()
    held = [line for line in undone.stands if "cannot be listened at" in line]
    assert [line.partition(" is held")[0] for line in held] == ["TCP port 8123", "the socket @rev"], (
        undone.stands
    )
    assert "in use" in session.run(listens.format(8123)).outcome.text  # as was said
    session.undo()
    assert session.run(listens.format(8124)).outcome.ok
