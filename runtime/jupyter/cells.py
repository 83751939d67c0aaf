"""The clients' shell requests in their order, on one thread. An execution is a step of the session.

A cell that holds one of our magics and nothing else is answered here, on the host: nothing that runs in the sandbox
can have anything undone.
"""

from __future__ import annotations

import os
import select
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Literal

from mulligan.runtime.errors import SessionClosed
from mulligan.runtime.jupyter import knowledge
from mulligan.runtime.jupyter.cell import Cell, Passed, refusal
from mulligan.runtime.jupyter.connection import Connection, ports
from mulligan.runtime.jupyter.history import History
from mulligan.runtime.jupyter.magics import Magics, find_magic
from mulligan.runtime.jupyter.outbox import Outbox
from mulligan.runtime.jupyter.page import HIDDEN, Shown
from mulligan.runtime.jupyter.wire import Asked, Wire, unequivocal
from mulligan.runtime.session import Session
from mulligan.runtime.step import Action
from mulligan.runtime.story import Clients
from mulligan.sandbox.client import Exchange
from mulligan.sandbox.errors import MulliganError
from mulligan.sandbox.messages import Envelope

#: kinds of message that the sandbox may send to every client, besides those of comms
OUTPUT = {"stream", "display_data", "update_display_data", "execute_result", "error", "clear_output"}
_COMMS = {"comm_open", "comm_msg", "comm_close"}
_PASSED = {"complete_request", "inspect_request", "is_complete_request", "comm_info_request"} | _COMMS
#: what becomes of uncommitted changes when the kernel is shut down
AtEnd = Literal["keep", "commit", "discard"]
#: seconds in which what does not run any code should come to its end
IDLE = 0.5
#: requests whose output is still told apart from that of others
REMEMBERED = 10_000
#: seconds between two looks for output that nobody announced
LOOK = 1.0


class Cells:
    def __init__(
        self, wire: Wire, outbox: Outbox, connection: Connection, opened: Callable[[], None]
    ) -> None:
        self._wire, self._outbox, self._connection = wire, outbox, connection
        self._opened = opened
        self.session: Session
        self.info: dict[str, Any] | None = None
        self.failure: Exception | None = None
        self._line: deque[Asked] = deque()
        self._alarm = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread: threading.Thread
        self._ending = self._restarts = False
        self._current: Cell | Passed | None = None
        self._parents: OrderedDict[str, bytes] = OrderedDict()
        self._timeout: float | None = None
        self.history = History()
        self._last_words = ""
        self._magics: Magics
        self._at_end: AtEnd = "keep"

    # -- from other threads ----------------------------------------------------------------------------------

    def start(self, open_session: Callable[[], Session], timeout: float | None, at_end: AtEnd) -> None:
        """`timeout`: seconds that a cell may run; `at_end`: what becomes of changes that were not committed."""
        self._timeout, self._at_end = timeout, at_end
        self._thread = threading.Thread(
            target=self._live, args=(open_session,), name="mulligan-cells", daemon=True
        )
        self._thread.start()

    def add(self, asked: Asked) -> None:
        self._line.append(asked)
        self._ring()

    def interrupt(self) -> None:
        """What runs is interrupted; what was taken up and does not run yet, as soon as it does."""
        if self.info is not None:
            if (current := self._current) is not None:
                current.interrupted = True
            self.session.interrupt()

    def answer(self, value: str) -> None:
        if self.info is not None:
            self.session._story.confined.kernel.answer(value)

    def end_current(self, why: str, within: float) -> None:
        """Have what runs end within so many seconds, and what stands in line not begin."""
        self._abort()
        if self.info is not None and self._current is not None:
            timer = threading.Timer(within, self._end, (self._current, why))
            timer.daemon = True
            timer.start()

    def _end(self, which: Cell | Passed, why: str) -> None:
        if self._current is which:
            self.session._story.stop(why)

    def restart(self) -> None:
        """A fresh kernel, when what runs has ended."""
        self._restarts = True
        self._ring()

    def close(self) -> str:
        """End the session, whatever runs in it. What whoever reads the log should know, or nothing."""
        self._ending = True
        self._ring()
        while self._current is None and self._thread.is_alive():
            self._thread.join(IDLE)
        if self.info is None:
            return ""
        self.session.close()
        self._thread.join()
        return self._last_words

    def _ring(self) -> None:
        os.eventfd_write(self._alarm, 1)

    # -- the thread ------------------------------------------------------------------------------------------

    def _live(self, open_session: Callable[[], Session]) -> None:
        try:
            self.session = open_session()
            story = self.session._story
            self._magics = Magics(self.session)
            clients = Clients(self._on_loose, self._outbox.is_full)
            self.session._do(lambda: story.serve(clients)).result()
            told = self.session._do(story.confined.kernel.info).result()
            self.info = knowledge.kernel_info(told, self.session.report, story.confined.other)
        except Exception as error:
            self.failure = error
            return self._opened()
        self._opened()
        with suppress(SessionClosed):
            while not self._ending:
                self._turn()
            self._finish()

    def _turn(self) -> None:
        if self._restarts:
            self._restart()
        elif self._line:
            self._serve(self._line.popleft())
        else:
            self._listen()

    def _listen(self) -> None:
        """Wait for a request; meanwhile pass on what threads and subprocesses say."""
        story = self.session._story
        self.session._do(story.listen).result()
        self._keep_changes()
        poller = select.poll()
        poller.register(self._alarm, select.POLLIN)
        if not self._outbox.is_full():
            poller.register(story.confined.kernel.output_descriptor(), select.POLLIN)
        ready = poller.poll(LOOK * 1000)
        if any(descriptor == self._alarm for descriptor, _ in ready):
            os.eventfd_read(self._alarm)

    def _serve(self, asked: Asked) -> None:
        self._know(asked)
        self.say_status("busy", asked)
        try:
            content: Mapping[str, Any] | Envelope | None = self._answer(asked)
        except SessionClosed:
            raise
        except MulliganError as error:
            content = refusal(type(error).__name__, error.message, error.hint)
        if content is not None:
            self.reply("shell", asked, content)
        if left_out := self._outbox.left_out():
            self._tell(asked, f"[{left_out:,} messages were left out: no client took them]\n")
        self.say_status("idle", asked)

    def _answer(self, asked: Asked) -> Mapping[str, Any] | Envelope | None:
        match asked.kind:
            case "execute_request":
                return self._execute(asked)
            case "kernel_info_request":
                return self.info
            case "history_request":
                return self.history.answer(asked.content)
            case "connect_request":
                return {"status": "ok", **ports(self._connection)}
            case kind if kind in _PASSED:
                return knowledge.own_answer(asked) or self._pass_on(asked)
        return refusal("NotSupported", f"this kernel does not know {asked.kind!r}")

    # -- requests that are no executions ---------------------------------------------------------------------

    def _pass_on(self, asked: Asked) -> Mapping[str, Any] | Envelope | None:
        passed = self._current = Passed(asked, self.output)
        try:
            story = self.session._story
            exchange = Exchange(asked.request, passed)
            self.session._do(lambda: story.pass_on(asked.kind, exchange)).result()
        except SessionClosed:
            raise
        except MulliganError:
            if asked.kind.endswith("_request"):
                raise
        finally:
            self._current = None
            self._let_go()
        if not asked.kind.endswith("_request"):
            return None
        if asked.kind == "complete_request" and passed.reply is not None:
            return knowledge.with_magics(asked, passed.reply)
        return passed.reply or refusal("Unreadable", "the kernel's reply could not be read")

    def _let_go(self) -> None:
        """What was to be ended has ended."""
        self.session._story.stop(None)

    def _restart(self) -> None:
        self._restarts = False
        self.history.restart(self.session.restart())
        self._opened()

    # -- executions ------------------------------------------------------------------------------------------

    def _execute(self, asked: Asked) -> Mapping[str, Any] | Envelope:
        cell = self._current = Cell(asked, self.output, self.history.next, self.session.interrupt)
        try:
            content = self._run(asked, cell)
        finally:
            self._current = None
            self._let_go()
        if cell.failed and asked.content.get("stop_on_error", True) and not cell.silent:
            self._abort()
        return content

    def _run(self, asked: Asked, cell: Cell) -> Mapping[str, Any] | Envelope:
        magic = None if cell.silent else find_magic(cell.code)
        if magic is not None:
            cell.begin(self.history.next)
            self.history.add(self.history.next, cell.code, None, counted=False)
            return cell.show(lambda: self._move(magic))
        action = Action(cell.code, HIDDEN if cell.hidden else "jupyter")
        try:
            ticket = self.session._submit(
                action, self._timeout, lambda event: None, Exchange(asked.request, cell)
            )
            step = ticket.step.result()
        except SessionClosed:
            raise
        except MulliganError as error:
            return cell.fail(type(error).__name__, error.message, error.hint)
        content = cell.end(step.outcome)
        if cell.counted:
            self.history.add(cell.number, cell.code, step.outcome.result, counted=True)
        self.history.note(step.id, cell.next)
        return content

    def _move(self, magic: Callable[[Magics], Shown]) -> Shown:
        shown = magic(self._magics)
        self.history.move(self.session.timeline)
        return shown

    def _abort(self) -> None:
        """The executions that stand in line are not run."""
        line, self._line = self._line, deque()
        for asked in line:
            if asked.kind != "execute_request":
                self._line.append(asked)
                continue
            self.say_status("busy", asked)
            self.reply("shell", asked, {"status": "aborted"})
            self.say_status("idle", asked)

    def _keep_changes(self) -> None:
        """What was not committed outlives this process, however it ends."""
        if self._at_end != "discard":
            self._magics.keep_changes()

    def _finish(self) -> None:
        if self._at_end == "commit":
            done = self._magics.commit()
            if done.conflicts:
                self._last_words = (
                    f"{len(done.conflicts):,} paths were not committed: your folder has changed too"
                )
        self._keep_changes()
        if self._magics.uncommitted:
            id, count = self.session.id, self._magics.uncommitted
            self._last_words = (
                f"{count:,} changes were not committed. They are kept in {self.session.workspace}\n"
                f"  mulligan diff {id} shows them, mulligan forget {id} removes them"
            )

    # -- what is said ----------------------------------------------------------------------------------------

    def say_status(self, state: str, asked: Asked) -> None:
        content = {"execution_state": state}
        self._outbox.put("iopub", self._wire.message("status", content, asked.header, to=[b"status"]))

    def reply(self, channel: str, asked: Asked, content: Mapping[str, Any] | Envelope) -> None:
        kind = asked.kind.removesuffix("_request") + "_reply"
        if isinstance(content, Envelope):
            frames = self._wire.message(
                kind,
                content.packed,
                asked.header,
                to=asked.idents,
                metadata=content.metadata,
                buffers=content.buffers,
            )
        else:
            frames = self._wire.message(kind, content, asked.header, to=asked.idents)
        self._outbox.put(channel, frames)

    def _tell(self, asked: Asked, text: str) -> None:
        self.output(asked, "stream", {"name": "stderr", "text": text})

    def output(self, asked: Asked, kind: str, content: Mapping[str, Any] | Envelope) -> None:
        """To every client, as of this request. Called by the listeners on the session's thread too."""
        if kind == "input_request" and not isinstance(content, Envelope):
            self._outbox.put("stdin", self._wire.message(kind, content, asked.header, to=asked.idents))
        elif isinstance(content, Envelope):
            self._publish(content, asked.header)
        else:
            ours = self._wire.message(kind, content, asked.header, to=[kind.encode()])
            self._outbox.put("iopub", ours, output=kind == "stream")

    def _on_loose(self, message: Envelope) -> None:
        """Said between requests, or of an earlier one. Of one that is not known it has no parent."""
        self._publish(message, self._parents.get(message.parent, b"{}"))

    def _publish(self, message: Envelope, parent: bytes) -> None:
        if message.kind not in OUTPUT | _COMMS:
            return
        if not (unequivocal(message.packed) and unequivocal(message.metadata)):
            message = Envelope("stream", "", {}, knowledge.unreadable(len(message.packed)))
        frames = self._wire.message(
            message.kind,
            message.packed,
            parent,
            to=[message.kind.encode()],
            metadata=message.metadata,
            buffers=message.buffers,
        )
        self._outbox.put("iopub", frames, output=True)

    def _know(self, asked: Asked) -> None:
        self._parents[asked.id] = asked.header
        while len(self._parents) > REMEMBERED:
            self._parents.popitem(last=False)
