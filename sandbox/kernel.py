"""The host's side of the kernel: the one module that speaks jupyter_client.

One thread uses a `Kernel`, that of its session; only `interrupt`, `ring` and `answer` may be called from
any. Every wait here has
an end: the reply, a deadline, the supervisor's word that the worker died, or the door that closes.
"""

from __future__ import annotations

import hmac
import itertools
import json
import math
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import zmq
from jupyter_client.session import DELIM, Session

from mulligan.sandbox import messages
from mulligan.sandbox.client import Exchange
from mulligan.sandbox.door import Door
from mulligan.sandbox.errors import SandboxError, SandboxLost
from mulligan.sandbox.messages import Envelope, Event

#: how long code has to obey an interrupt before it is killed, in seconds
GRACE = 2.0
#: a request that the supervisor answers by itself
PATIENCE = 30.0
#: seconds between two looks of an execution's guard
LOOK = 0.2
#: seconds in which the last output of a run that was ended should have come
LAST_WORDS = 1.0
#: bytes of what the worker said after which the supervisor is told that they have been taken in
HEARD = 8 << 20
#: messages taken in a row from the output channel before the others have their turn
TURN = 1000
#: requests on the shell channel that are not replied to
_UNANSWERED = ("comm_open", "comm_msg", "comm_close")
#: by this name the supervisor sends us replies and questions
_NAME = b"host"
#: what is added to the alarm's count: the lower half counts interrupts, the upper half rings
_INTERRUPT, _RING = 1, 1 << 32

_EXECUTE = {
    "silent": False,
    "user_expressions": {},
    "allow_stdin": False,
    "stop_on_error": False,  # what stands in line behind an error is to be run all the same
}

#: an interrupt by us, who see to it ourselves that it is obeyed
_PATIENT = {"patient": True}

#: stands at every checkpoint of a kernel that is not ours
NO_TWIN = "memory is not brought back: the kernel is not Mulligan's own, and is started anew"

Ended = Literal["done", "timeout", "killed", "guarded", "lost"]


class WorkerLost(SandboxError):
    """The worker died while something was asked of it."""


class TwinLost(SandboxError, LookupError):
    """The twin that was to be woken is gone."""


@dataclass(frozen=True, slots=True)
class Execution:
    """One attempt to run code. `ended`: done (it answered), timeout (it answered after an interrupt at its
    deadline), killed (it did not, and was killed), guarded (`cause` says what it did, and it was killed), lost (its
    process died; `cause` says how).
    `duration` in seconds."""

    ended: Ended
    ok: bool
    error: messages.Error | None
    duration: float
    cause: str = ""
    #: what it was given when it asked for input, in order; None for a password
    typed: tuple[str | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Fork:
    """A checkpoint of memory; `name` is empty where the kernel is not ours, and there is none. `stands` are the
    things that waking its twin would not bring back, in words, and `children` the processes that were there, as "PID
    COMMAND". `mapped`: paths in the sandbox of files that a process can write through memory. `ghosts`: one has a
    file open under a name that the file has lost. `dead`: the names of earlier twins that are gone. `links`: how many
    hard links were asked for in this sandbox so far, -1 where that is not known. `frozen`: other processes or threads
    could write files, and are stopped until `thaw`. `duration` in seconds."""

    name: str
    stands: tuple[str, ...]
    children: tuple[str, ...]
    mapped: tuple[bytes, ...]
    ghosts: bool
    dead: tuple[str, ...]
    links: int
    frozen: bool
    duration: float


@dataclass(slots=True)
class _Asked:
    """A checkpoint that was asked for, and what the supervisor has said of it so far."""

    request: str
    quiet: bool | None = None
    reply: Envelope | None = None


@dataclass(frozen=True, slots=True)
class Halt:
    """`left`: processes that could not be killed. `kept`: those that were there at the checkpoint, now stopped.
    `links` as in `Fork`."""

    left: tuple[str, ...]
    kept: tuple[str, ...]
    links: int


@dataclass(frozen=True, slots=True)
class Usage:
    """`resident`: bytes of memory of all processes but twins and the supervisor, a page that is shared with twins
    divided among its holders; `twins`: bytes a twin, which where a control group bounds memory count what is shared in
    each; `twin_memory`: what all of them hold together. `cpu`: seconds of processor time in this sandbox."""

    resident: int
    processes: int
    twins: Mapping[str, int]
    dead: tuple[str, ...]
    twin_memory: int = 0
    threads: int = 0
    cpu: float = 0.0


class Kernel:
    """A connection to the supervisor behind an open door."""

    def __init__(self, door: Door, key: bytes) -> None:
        self._door, self._key = door, key
        self._session = Session(key=key, username="mulligan")
        self._numbers = itertools.count(1)
        self._context = zmq.Context()
        self._alarm = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._grace: float | None = GRACE
        self._shell = self._connect(zmq.DEALER, door.folder / "shell")
        self._control = self._connect(zmq.DEALER, door.folder / "control")
        self._iopub = self._connect(zmq.SUB, door.folder / "iopub")
        self._stdin = self._connect(zmq.DEALER, door.folder / "stdin")
        self._poller = zmq.Poller()
        for watched in (self._shell, self._control, self._iopub, self._stdin, self._alarm, door.fileno()):
            self._poller.register(watched, zmq.POLLIN)
        #: called with output that no request of ours is waiting for: threads and subprocesses between actions
        self.on_stray: Callable[[Event], None] = lambda event: None
        #: called when the reply to a checkpoint comes while later code runs already
        self.on_forked: Callable[[], None] = lambda: None
        #: called with the messages of which `on_stray` gets the events, and those that are no events
        self.on_loose: Callable[[Envelope], None] = lambda message: None
        #: whether the clients are behind: then running code is held up by what it says
        self.is_full: Callable[[], bool] = lambda: False
        self._answers: deque[str] = deque()
        self._run: _Run | None = None
        self._heard = self._told = 0  # bytes of what the worker said
        self._lost: str | None = None
        self._asked: dict[str, _Asked] = {}
        self._unneeded: list[str] = []  # twins

    def _connect(self, kind: int, path: Path) -> zmq.Socket[bytes]:
        sock: zmq.Socket[bytes] = self._context.socket(kind)
        sock.linger = 0
        if kind == zmq.SUB:
            sock.setsockopt(zmq.SUBSCRIBE, b"")
        else:
            sock.setsockopt(zmq.IDENTITY, _NAME)
        sock.connect(f"ipc://{path}")
        return sock

    def close(self) -> None:
        self._context.destroy(linger=0)
        if self._alarm >= 0:
            os.close(self._alarm)
            self._alarm = -1

    def interrupt(self, grace: float | None = GRACE) -> None:
        """Ask the running execution to stop as if by Ctrl-C, and have it killed when it runs on `grace` seconds later
        (None: never). From any thread; without effect when none runs."""
        self._grace = grace
        self._sound(_INTERRUPT)

    def ring(self) -> None:
        """Have the guard of the running execution asked at once, or whoever waits in `await_fork`. From any thread;
        without effect else."""
        self._sound(_RING)

    def answer(self, value: str) -> None:
        """What somebody typed, for the code that asks for input. From any thread; without effect when none does."""
        self._answers.append(value)
        self._sound(_RING)

    def _sound(self, what: int) -> None:
        if self._alarm >= 0:
            os.eventfd_write(self._alarm, what)

    def connected(self) -> bool:
        """Whether the supervisor is there."""
        return not self._door.hung_up()

    def waits_unharmed(self, patience: float) -> bool:
        """Whether the supervisor answers within `patience` seconds, and its worker has not died since it was last
        asked for anything."""
        if not self.connected():
            return False
        try:
            self._ask("thaw_request", {}, patience)
        except (WorkerLost, SandboxLost):
            return False
        return self._lost is None

    def wait_ready(self, timeout: float = PATIENCE) -> None:
        """Until our subscription to the output channel has arrived: what is printed before that would be lost."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self._iopub.poll(50):
                message = self._receive(self._iopub)
                if message is not None and message.kind == "iopub_welcome":
                    return self._tell_heard()
            self._check_door()
        raise SandboxLost(f"the kernel's output channel did not open within {timeout:g} s")

    # -- running code ------------------------------------------------------------------------------------------

    def execute(
        self,
        code: str,
        on_event: Callable[[Event], None],
        *,
        timeout: float | None = None,
        guard: Callable[[], str | None] = lambda: None,
        then: str | None = None,
        history: bool = True,
        exchange: Exchange | None = None,
        spared: Callable[[], float] = lambda: 0.0,
        typed: Sequence[str | None] = (),
    ) -> Execution:
        """Run code and give each output to `on_event` in order, until its reply and its last output are in.

        At `timeout` seconds it is interrupted, and killed when it does not obey within `GRACE`. `guard` is asked
        every `LOOK` seconds, and at a `ring`, whether it must end at once, and why. Raises SandboxLost when the whole
        sandbox goes. `then` names a checkpoint that the supervisor begins as soon as the code has ended, as if `begin`
        had been called; there is none when it was killed, guarded or lost. Without `history` it is no numbered input.
        `exchange` is with the Jupyter client that asks for it. `spared` are seconds so far that do not count against
        `timeout`. `typed` answers what it asks for, where there is no client: once they are used up, and where one is
        None, with nothing.
        """
        content = {"code": code, **_EXECUTE, "store_history": history, "allow_stdin": bool(typed)}
        return self._perform(
            "execute_request", content, on_event, timeout, guard, then, exchange, spared, deque(typed)
        )

    def pass_on(
        self,
        kind: str,
        exchange: Exchange,
        *,
        guard: Callable[[], str | None] = lambda: None,
        timeout: float | None = None,
        heard: bool = True,
    ) -> Execution:
        """Have a client's request answered that is no execution. It may run code all the same; see `execute`. What it
        gives out is `heard` as output that nobody waits for, or by the exchange's listener alone."""
        on_event = self.on_stray if heard else _ignore
        return self._perform(kind, {}, on_event, timeout, guard, None, exchange)

    def listen(self) -> None:
        """Take in the output that nobody waits for."""
        self._drain_iopub()

    def output_descriptor(self) -> int:
        """Becomes readable when output may have come since `listen`."""
        return int(self._iopub.getsockopt(zmq.FD))

    def _perform(
        self,
        kind: str,
        content: Mapping[str, Any],
        on_event: Callable[[Event], None],
        timeout: float | None,
        guard: Callable[[], str | None],
        then: str | None,
        exchange: Exchange | None,
        spared: Callable[[], float] = lambda: 0.0,
        typed: deque[str | None] | None = None,
    ) -> Execution:
        self._silence_alarm()
        self._answers.clear()
        started = time.monotonic()
        run = _Run(
            request="",
            deadline=None if timeout is None else started + timeout,
            guard=guard,
            spared=spared,
            on_event=on_event,
            exchange=exchange,
            replied=kind in _UNANSWERED,
            ready=typed or deque(),
        )
        message = self._pass(kind, content, exchange) if exchange else self._request(kind, content)
        run.request, frames = message
        if then is not None:
            self._begin(then, after=run.request, unheard=exchange is None)
        self._run = run
        try:
            self._shell.send_multipart(frames)
            while not run.complete:
                if not self._pump(run):
                    self._asked.pop(then or "", None)
                    break
        finally:
            self._run = None
        return run.execution(time.monotonic() - started)

    def _pass(self, kind: str, content: Mapping[str, Any], exchange: Exchange) -> tuple[str, list[bytes]]:
        """A client's request, as it is: its id and its frames."""
        asked = exchange.request
        said = {**asked.content, **({"stop_on_error": False} if content else {})}
        message = self._session.msg(
            kind, content=said, header=dict(asked.header), metadata=dict(asked.metadata)
        )
        return str(message["header"]["msg_id"]), [*self._session.serialize(message), *asked.buffers]

    def _pump(self, run: _Run) -> bool:
        """Take in what has come; False when nothing more will."""
        ready = self._poll(run)
        if self._iopub in ready:
            self._drain_iopub()
        if self._shell in ready:
            self._take_reply(run)
        if self._control in ready:
            self._take_notices()
            if any(asked.reply for asked in self._asked.values()):
                self.on_forked()
        if self._stdin in ready:
            self._take_question(run)
        if self._alarm in ready:
            self._heed(self._silence_alarm(), run)
        if self._lost is not None:
            run.cause, self._lost = self._lost, None
            run.ended = "lost"
            self._hear_out(run)
            return False
        if self._door.fileno() in ready:
            self._check_door()
        return self._keep_time(run)

    def _poll(self, run: _Run) -> dict[Any, int]:
        if not self.is_full():
            return dict(self._poller.poll(run.wait()))
        self._poller.unregister(self._iopub)
        try:
            return dict(self._poller.poll(run.wait()))
        finally:
            self._poller.register(self._iopub, zmq.POLLIN)

    def _heed(self, alarm: int, run: _Run) -> None:
        if alarm >= _RING:
            run.next_look = 0.0
        while self._answers:
            value = self._answers.popleft()
            if run.asking:
                self._type(run, value)
        if alarm % _RING:
            self._send(self._control, "interrupt_request", _PATIENT)
            run.interrupted(self._grace)

    def _keep_time(self, run: _Run) -> bool:
        if run.complete:
            return True
        if run.guarded():
            run.ended = "guarded"
            self.halt()
            self._hear_out(run)
            return False
        if run.end_at is not None and time.monotonic() >= run.end_at:
            run.ended, run.cause = "lost", "killed, for it did not obey an interrupt"
            self.halt()
            self._hear_out(run)
            return False
        if run.deadline is None or time.monotonic() < run.deadline + run.spared():
            return True
        if run.ended == "done":
            run.ended = "timeout"
            run.deadline, run.spared = time.monotonic() + GRACE, lambda: 0.0
            self._send(self._control, "interrupt_request", _PATIENT)
            return True
        run.ended = "killed"
        self.halt()
        self._hear_out(run)
        return False

    def _hear_out(self, run: _Run) -> None:
        """Take in what the worker had said when it ended. Other news of that travels on another channel, so the last
        output may come after it."""
        deadline = time.monotonic() + LAST_WORDS
        self._drain_iopub()
        while not run.idle and (left := deadline - time.monotonic()) > 0:
            if self._iopub.poll(_milliseconds(left)):
                self._drain_iopub()

    def _take_reply(self, run: _Run) -> None:
        reply = self._receive(self._shell)
        if reply is None or reply.parent != run.request:
            return
        run.replied = True
        run.ok = reply.content.get("status") == "ok"
        if not run.ok:
            run.error = messages.error(reply.content)
        if run.exchange is not None:
            run.exchange.listener.answered(reply)

    def _take_question(self, run: _Run) -> None:
        question = self._receive(self._stdin)
        if question is None or question.parent != run.request or question.kind != "input_request":
            return
        if run.exchange is None:
            return self._type(run, (run.ready.popleft() if run.ready else None) or "")
        if not run.asking:
            run.asking, run.secret = True, bool(question.content.get("password"))
            run.exchange.listener.asked(question)

    def _type(self, run: _Run, value: str) -> None:
        run.asking = False
        run.typed.append(None if run.secret else value)
        self._send(self._stdin, "input_reply", {"status": "ok", "value": value})

    def _drain_iopub(self) -> None:
        """Output goes to the run whose it is, also while that is being ended."""
        if self._run is not None and self.is_full():
            return
        for message in self._all_from(self._iopub):
            mine = self._run if self._run is not None and message.parent == self._run.request else None
            if mine and message.kind == "status" and message.content.get("execution_state") == "idle":
                mine.idle = True
                continue
            if mine is None:
                self.on_loose(message)
            elif mine.exchange is not None:
                mine.exchange.listener.heard(message)
            if (event := messages.event(message)) is not None:
                (mine.on_event if mine else self.on_stray)(event)
            if self._run is not None and self.is_full():
                return

    def _tell_heard(self) -> None:
        """Or the supervisor would hold output back: what is under way is bounded in bytes."""
        self._told = self._heard
        self._send(self._control, "heard_request", {"bytes": self._heard})

    # -- requests to the supervisor ------------------------------------------------------------------------------

    def checkpoint(self, name: str) -> Fork:
        """Fork a twin. Raises WorkerLost."""
        self.begin(name)
        return self.forked(name)

    def begin(self, name: str) -> None:
        """Have a twin forked. Nothing happens when it was begun already; `forked` must follow."""
        if name not in self._asked:
            self._begin(name)

    def _begin(self, name: str, **condition: Any) -> None:
        content = {"id": name, "discard": self._unneeded, **condition}
        self._unneeded = []
        self._asked[name] = _Asked(self._send(self._control, "checkpoint_request", content))

    def quiet(self, name: str) -> bool:
        """Whether nothing but the worker's one thread, which is idle now, could write files. What was asked for then
        goes on, and other code may be run before `forked`. Raises WorkerLost, SandboxLost."""
        asked = self._asked[name]
        self._until(lambda: asked.quiet is not None or asked.reply is not None, "checkpoint_request")
        return bool(asked.quiet)

    def await_fork(self, name: str, give_way: Callable[[], bool]) -> None:
        """Until there is an answer for `forked`, or `give_way` says that something else is to be done, which is asked
        again at each `ring`. Raises WorkerLost, SandboxLost."""
        asked = self._asked[name]
        self._until(lambda: asked.reply is not None or give_way(), "checkpoint_request")

    def forked(self, name: str) -> Fork:
        """The twin that was begun. Raises WorkerLost, SandboxLost."""
        asked = self._asked[name]
        try:
            self._until(lambda: asked.reply is not None, "checkpoint_request")
        finally:
            del self._asked[name]
        assert asked.reply is not None
        reply = _accept(asked.reply.content)
        seen, said = _mapping(reply.get("seen")), _mapping(reply.get("said"))
        forked = reply.get("twin") is not False
        return Fork(
            name if forked else "",
            stands=messages.out_of_reach(seen, said) if forked else (NO_TWIN,),
            children=messages.strings(seen.get("children")),
            mapped=messages.paths(seen.get("mapped")),
            ghosts=seen.get("ghosts") != 0,
            dead=messages.strings(reply.get("dead")),
            links=_links(reply),
            frozen=reply.get("frozen") is True,
            duration=_seconds(reply),
        )

    def thaw(self) -> None:
        """Let go on what a checkpoint has stopped."""
        self._ask("thaw_request", {})

    def halt(self, keep: str | None = None) -> Halt:
        """Kill the worker and every process that was not there at checkpoint `keep`; stop those that were."""
        reply = self._ask("halt_request", {"id": keep or ""})
        self._lost = None
        return Halt(messages.strings(reply.get("left")), messages.strings(reply.get("kept")), _links(reply))

    def restore(self, name: str | None) -> tuple[str, ...]:
        """Wake a twin; without a name, start a fresh worker. What did not come back, in words. Raises TwinLost."""
        return self._restore({"id": name or ""}, PATIENCE)

    def become(self, kernel: str, patience: float) -> None:
        """Start the kernel of that kernelspec in place of ours, now and whenever a fresh one is started. Raises
        WorkerLost."""
        self._restore({"kernel": kernel}, patience)

    def _restore(self, content: Mapping[str, Any], patience: float) -> tuple[str, ...]:
        reply = self._ask("restore_request", content, patience)
        self._lost = None
        return messages.strings(reply.get("stands"))

    def discard(self, names: list[str]) -> None:
        """End these twins. Does not wait for it."""
        self._send(self._control, "discard_request", {"ids": names})

    def discard_by_and_by(self, names: list[str]) -> None:
        """End these twins with the next request that is made."""
        self._unneeded += names

    def info(self) -> Mapping[str, Any]:
        """What the kernel says of itself, as JSON."""
        return self._ask("kernel_info_request", {})

    def usage(self) -> Usage:
        reply = self._ask("usage_request", {})
        twins = {str(name): messages.number(size) for name, size in _mapping(reply.get("twins")).items()}
        return Usage(
            messages.number(reply.get("resident")),
            messages.number(reply.get("processes")),
            twins,
            messages.strings(reply.get("dead")),
            messages.number(reply.get("twin_memory")),
            messages.number(reply.get("threads")),
            _seconds(reply, "cpu"),
        )

    def _ask(self, kind: str, content: Mapping[str, Any], patience: float = PATIENCE) -> Mapping[str, Any]:
        """The reply to a request to the supervisor. Raises WorkerLost, TwinLost, SandboxLost."""
        replies: list[Envelope] = []
        if self._unneeded:
            unneeded, self._unneeded = self._unneeded, []
            self.discard(unneeded)
        request = self._send(self._control, kind, content)

        def take(reply: Envelope) -> None:
            if reply.parent == request:
                replies.append(reply)

        self._until(lambda: bool(replies), kind, take, patience)
        return _accept(replies[0].content)

    def _until(
        self,
        done: Callable[[], bool],
        kind: str,
        take: Callable[[Envelope], object] = lambda reply: None,
        patience: float = PATIENCE,
    ) -> None:
        """Take in what comes until `done`. Raises WorkerLost when nothing that helps comes, SandboxLost."""
        deadline = time.monotonic() + patience
        while not done():
            if (left := deadline - time.monotonic()) <= 0:
                raise WorkerLost(
                    f"the sandbox did not answer a {kind.removesuffix('_request')} within {patience:g} s"
                )
            ready = dict(self._poller.poll(_milliseconds(left)))
            if self._iopub in ready:
                self._drain_iopub()  # unread output would hold the worker up
            if self._alarm in ready:
                self._silence_alarm()
            if self._control in ready:
                self._take_notices(take)
            if self._door.fileno() in ready:
                self._check_door()
            for sock in (self._shell, self._stdin):
                if sock in ready:
                    self._receive(sock)

    def _take_notices(self, take: Callable[[Envelope], object] = lambda reply: None) -> None:
        """Read the control channel."""
        for message in self._all_from(self._control):
            asked = next((each for each in self._asked.values() if each.request == message.parent), None)
            if message.kind == "worker_lost":
                self._lost = _how_it_died(message.content)
            elif asked is None:
                take(message)
            elif message.kind == "checkpoint_begun":
                asked.quiet = message.content.get("quiet") is True
            else:
                asked.reply = message

    # -- the wire --------------------------------------------------------------------------------------------------

    def _send(self, sock: zmq.Socket[bytes], kind: str, content: Mapping[str, Any]) -> str:
        id, frames = self._request(kind, content)
        sock.send_multipart(frames)
        return id

    def _request(self, kind: str, content: Mapping[str, Any]) -> tuple[str, list[bytes]]:
        """Of our own: its id and its frames. Written out here, for this is on the way of each step."""
        whose = self._session.session
        header = {
            "msg_id": f"{whose}_mulligan_{next(self._numbers)}",
            "session": whose,
            "username": "mulligan",
            "date": datetime.now(UTC).isoformat(),
            "msg_type": kind,
            "version": "5.4",
        }
        body = [json.dumps(header).encode(), b"{}", b"{}", json.dumps(content).encode()]
        return header["msg_id"], [DELIM, self._sign(body), *body]

    def _sign(self, frames: list[bytes]) -> bytes:
        return hmac.digest(self._key, b"".join(frames), "sha256").hex().encode()

    def _all_from(self, sock: zmq.Socket[bytes]) -> Iterator[Envelope]:
        """What has come, as far as it can be read; a turn's worth at the most."""
        for _ in range(TURN):
            if not int(sock.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                return
            if (message := self._receive(sock)) is not None:
                yield message

    def _receive(self, sock: zmq.Socket[bytes]) -> Envelope | None:
        """The next message that the supervisor signed. Output cannot be replayed to us: the sockets are ours."""
        try:
            frames = sock.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        if sock is not self._control:
            self._heard += sum(map(len, frames))
            if self._heard - self._told > HEARD:
                self._tell_heard()
        try:
            at = frames.index(DELIM)
            signature, header, parent, metadata, content = frames[at + 1 : at + 6]
        except ValueError:
            return None
        if not hmac.compare_digest(signature, self._sign([header, parent, metadata, content])):
            return None
        found = messages.envelope(header, parent, content, metadata, tuple(frames[at + 6 :]))
        if found is None:
            self.on_stray(messages.unreadable(len(content)))
        return found

    def _silence_alarm(self) -> int:
        """What has been added to its count since."""
        try:
            return os.eventfd_read(self._alarm)
        except BlockingIOError:
            return 0

    def _check_door(self) -> None:
        if self._door.hung_up():
            raise SandboxLost("the sandbox ended")


@dataclass(slots=True)
class _Run:
    """An execution under way."""

    request: str
    deadline: float | None
    guard: Callable[[], str | None]
    on_event: Callable[[Event], None]
    spared: Callable[[], float] = lambda: 0.0
    exchange: Exchange | None = None
    asking: bool = False
    #: whether what is asked for is a password
    secret: bool = False
    #: what is typed where nobody is there, and what was typed
    ready: deque[str | None] = field(default_factory=deque)
    typed: list[str | None] = field(default_factory=list)
    next_look: float = field(default_factory=lambda: time.monotonic() + LOOK)
    replied: bool = False
    idle: bool = False
    ok: bool = False
    ended: Ended = "done"
    error: messages.Error | None = None
    cause: str = ""
    end_at: float | None = None  # when an interrupt must have been obeyed

    @property
    def complete(self) -> bool:
        return self.replied and self.idle

    def wait(self) -> int:
        """Milliseconds until something is due."""
        due = None if self.deadline is None else self.deadline + self.spared()
        times = (self.next_look, due, self.end_at)
        return _milliseconds(min(each for each in times if each is not None) - time.monotonic())

    def interrupted(self, grace: float | None) -> None:
        """The first interrupt that is not patient without end counts."""
        if grace is not None and self.end_at is None:
            self.end_at = time.monotonic() + grace

    def guarded(self) -> bool:
        if time.monotonic() < self.next_look:
            return False
        self.next_look = time.monotonic() + LOOK
        self.cause = self.guard() or ""
        return bool(self.cause)

    def execution(self, duration: float) -> Execution:
        return Execution(self.ended, self.ok, self.error, duration, self.cause, tuple(self.typed))


def _ignore(event: Event) -> None:
    pass


def _accept(content: Mapping[str, Any]) -> Mapping[str, Any]:
    if content.get("status") == "ok":
        return content
    error = messages.error(content)
    if error.name == "TwinLost":
        raise TwinLost(error.value)
    raise WorkerLost(error.value)


def _how_it_died(content: Mapping[str, Any]) -> str:
    number, why = messages.number(content.get("signal")), content.get("why")
    if not number:
        return f"exited with code {messages.number(content.get('code'))}"
    try:
        by = signal.Signals(number).name
    except ValueError:
        by = f"signal {number}"
    return f"killed by {by}" + (f": {why}" if isinstance(why, str) and why else "")


def _milliseconds(seconds: float) -> int:
    return max(0, math.ceil(seconds * 1000))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _seconds(reply: Mapping[str, Any], name: str = "seconds") -> float:
    value = reply.get(name)
    return float(value) if isinstance(value, (int, float)) else 0.0


def _links(reply: Mapping[str, Any]) -> int:
    count = reply.get("links")
    return count if isinstance(count, int) and not isinstance(count, bool) else -1
