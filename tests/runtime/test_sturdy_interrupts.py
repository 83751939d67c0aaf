"""Whatever an action waits for, it can be interrupted, and one that does not obey is ended; the session goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import zmq
from jupyter_client.session import Session as JupyterSession

from mulligan import Lost, Session, Step, TimedOut
from mulligan.sandbox.messages import Event, Stream

MODULES = "asyncio, itertools, os, signal, socket, subprocess, sys, threading, time"


@pytest.fixture
def session(opened: Session) -> Session:
    opened.reset()
    step = opened.run(f"import {MODULES}\nkept = ['kept']; _ = open('kept.txt', 'w').write('kept')")
    assert step.outcome.kind == "completed", step.outcome.text
    return opened


def assert_all_is_as_it_was(session: Session) -> None:
    after = session.run("kept, open('kept.txt').read()", timeout=30).outcome
    assert after.result is not None, after.text
    assert after.result.data["text/plain"] == "(['kept'], 'kept')"


def when_said(word: str, do: Callable[[], object]) -> Callable[[Event], None]:
    """An observer that does something, once, when an action has said a word."""
    begun = threading.Event()

    def hear(event: Event) -> None:
        if isinstance(event, Stream) and word in event.text and not begun.is_set():
            begun.set()
            do()

    return hear


WAITS = {
    "pure Python": "while True: pass",
    "sleep": "time.sleep(1000)",
    "a subprocess": "subprocess.run(['sleep', '1000'])",
    "a subprocess's output": "subprocess.run(['sleep', '1000'], capture_output=True)",
    "a lock": "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "a socket": "ends = socket.socketpair(); ends[0].recv(1)",
    "a pipe": "os.read(os.pipe()[0], 1)",
    "a result's repr": "class Endless:\n    def __repr__(self):\n        while True: pass\nEndless()",
}


@pytest.mark.parametrize("wait", WAITS)
def test_an_interrupt_ends_it_and_what_it_had_done_stands(session: Session, wait: str) -> None:
    step = session.run(
        f"done = 'done'; print('begun')\n{WAITS[wait]}",
        timeout=60,
        on_event=when_said("begun", session.interrupt),
    )
    outcome = step.outcome
    assert outcome.kind == "raised", outcome.text
    assert outcome.error is not None and outcome.error.name == "KeyboardInterrupt"
    assert session.run("print(done)").outcome.stdout == "done\n"
    assert_all_is_as_it_was(session)


def test_an_interrupt_ends_a_coroutine_that_waits(session: Session) -> None:
    """Nothing happens in the event loop but the signal."""
    step = session.run(
        "print('begun')\nawait asyncio.sleep(1000)",
        timeout=60,
        on_event=when_said("begun", session.interrupt),
    )
    assert step.outcome.kind == "raised", step.outcome.text
    assert step.outcome.error is not None and step.outcome.error.name == "CancelledError"
    assert_all_is_as_it_was(session)


def test_an_interrupt_ends_a_coroutine_that_waits_in_a_twin_that_was_woken(session: Session) -> None:
    session.run("x = 1")
    session.undo()
    test_an_interrupt_ends_a_coroutine_that_waits(session)


@pytest.mark.parametrize("command", ["!echo begun; sleep 1000", "os.system('echo begun; sleep 1000')"])
def test_an_interrupt_of_a_shell_command_ends_the_command(session: Session, command: str) -> None:
    step = session.run(command, timeout=60, on_event=when_said("begun", session.interrupt))
    assert step.outcome.kind in ("completed", "raised"), step.outcome.text
    for _ in range(100):  # a command takes a moment to die
        session.run("time.sleep(0.01)")
        if session._do(session._story.confined.kernel.usage).result().processes == 1:
            break
    assert session._do(session._story.confined.kernel.usage).result().processes == 1
    assert_all_is_as_it_was(session)


WRECK = "kept.append('wreck'); _ = open('kept.txt', 'w').write('wreck')\n"
SWALLOWS = """
while True:
    try:
        print('begun')
        time.sleep(1000)
    except BaseException: pass
"""
#: each says by itself when it can be interrupted
DISOBEYS = {
    "swallows it": SWALLOWS,
    "ignores it": "signal.signal(signal.SIGINT, signal.SIG_IGN); print('begun')\nwhile True: pass",
    "blocks it": "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}); print('begun')\nwhile True: pass",
    "sits in C": "sum(itertools.chain(map(bool, map(print, ['begun'])), itertools.repeat(1)))",
    "in a repr": "class Deaf:\n  def __repr__(self):\n" + SWALLOWS.replace("\n", "\n    ") + "\nDeaf()",
}


@pytest.mark.parametrize("way", DISOBEYS)
def test_what_does_not_obey_an_interrupt_is_ended_and_all_is_as_before(session: Session, way: str) -> None:
    outcome = session.run(
        WRECK + DISOBEYS[way], timeout=60, on_event=when_said("begun", lambda: session.interrupt(grace=0.3))
    ).outcome
    assert isinstance(outcome, Lost), outcome
    assert "did not obey an interrupt" in outcome.cause and outcome.stdout.startswith("begun\n")
    assert_all_is_as_it_was(session)


def test_an_interrupt_without_end_of_patience_lets_an_action_tidy_up(session: Session) -> None:
    tidies = """
try:
    print('begun')
    while True: pass
except KeyboardInterrupt:
    time.sleep(3)
    print('tidied up')
"""
    step = session.run(tidies, timeout=60, on_event=when_said("begun", lambda: session.interrupt(grace=None)))
    assert (step.outcome.kind, step.outcome.stdout) == ("completed", "begun\ntidied up\n")


def test_an_interrupt_does_not_put_the_deadline_off(session: Session) -> None:
    step = session.run(
        DISOBEYS["swallows it"],
        timeout=1,
        on_event=when_said("begun", lambda: session.interrupt(grace=1000)),
    )
    assert isinstance(step.outcome, TimedOut) and step.outcome.restored, step.outcome
    assert_all_is_as_it_was(session)


class Client:
    """Another Jupyter client of the same kernel: it knows the key and the sockets, as a notebook server does."""

    def __init__(self, session: Session) -> None:
        kernel = session._story.confined.kernel
        self._session = JupyterSession(key=kernel._session.key, username="another")
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._control = self._context.socket(zmq.DEALER)
        self._control.connect(f"ipc://{kernel._door.folder / 'control'}")

    def interrupt(self) -> None:
        self._session.send(self._control, "interrupt_request", {})
        assert self._control.poll(30_000)
        self._control.recv_multipart()

    def close(self) -> None:
        self._context.destroy(linger=0)


@pytest.fixture
def client(session: Session) -> Client:
    return Client(session)


def test_any_client_of_the_kernel_can_interrupt(session: Session, client: Client) -> None:
    step = session.run(
        "print('begun')\ntime.sleep(1000)", timeout=60, on_event=when_said("begun", client.interrupt)
    )
    client.close()
    assert step.outcome.kind == "raised", step.outcome.text
    assert_all_is_as_it_was(session)


def test_a_client_s_second_interrupt_ends_what_did_not_obey_the_first(
    session: Session, client: Client
) -> None:
    """Never the first one, and not one that follows at once."""
    heard = 0

    def press(event: Event) -> None:
        nonlocal heard
        heard += isinstance(event, Stream) and "begun" in event.text
        client.interrupt()

    step: Step = session.run(WRECK + SWALLOWS, timeout=60, on_event=press)
    client.close()
    assert isinstance(step.outcome, Lost), step.outcome
    assert "did not obey an interrupt" in step.outcome.cause
    assert heard > 1
    assert_all_is_as_it_was(session)
