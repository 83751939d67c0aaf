"""The thread that owns the clients' sockets: takes requests in, sends what is in the outbox, answers on control.

Nothing here waits for the sandbox, so interrupts, shutdowns and heartbeats are answered whatever a cell does.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import zmq

from mulligan.runtime.jupyter.cell import refusal
from mulligan.runtime.jupyter.cells import Cells
from mulligan.runtime.jupyter.connection import Connection, Sockets
from mulligan.runtime.jupyter.outbox import Outbox, Parcel
from mulligan.runtime.jupyter.provisioning import Provisioner
from mulligan.runtime.jupyter.wire import Asked, Wire

#: requests taken in a row from one channel before the others have their turn
_TURN = 100
#: milliseconds until output is tried again that a client did not take
_AGAIN = 2
#: of output so large, so few messages are on their way to each client
_WINDOWS = ((64 << 10, 1000), (1 << 20, 64))
_FEW = 2
#: seconds that a cell has to end by itself when its kernel is restarted
GRACE = 1.0


class Host:
    """Serves until it is told to stop. `stop` and `interrupt` may be called from anywhere."""

    def __init__(self, connection: Connection, provisioner: Provisioner | None) -> None:
        self._sockets = Sockets(connection)
        self.wire = Wire(connection.key)
        self._alarm = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.outbox = Outbox(self.wake)
        self.cells = Cells(self.wire, self.outbox, connection, self._opened)
        self._provisioner = provisioner
        self._parent = _watch_parent()
        self._stopping = False
        self._held = False
        self._window = 0
        #: control requests that came before the session was open
        self._early: list[Asked] = []

    def wake(self) -> None:
        os.eventfd_write(self._alarm, 1)

    def _opened(self) -> None:
        """On the cells' thread: the session is open, or cannot be opened."""
        if self._provisioner is not None:
            failure = self.cells.failure
            self._provisioner.tell({"ready": True} if failure is None else {"error": str(failure)})
        self.wake()

    def stop(self) -> None:
        self._stopping = True
        self.wake()

    def interrupt(self) -> None:
        self.cells.interrupt()

    # -- the loop ----------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Until a shutdown, or until whoever started us is gone."""
        while not self._stopping and self.cells.failure is None:
            ready = self._wait()
            if self._parent in ready:
                return
            if self._alarm in ready:
                os.eventfd_read(self._alarm)
            if self._sockets.heartbeat in ready:
                self._beat()
            if self._sockets.iopub in ready:
                self._greet()
            if self._sockets.control in ready:
                self._take(self._sockets.control, self._on_control)
            if self._sockets.shell in ready:
                self._take(self._sockets.shell, self.cells.add)
            if self._sockets.stdin in ready:
                self._take(self._sockets.stdin, self._on_stdin)
            if self._provisioner is not None and self._provisioner.fileno() in ready:
                self._on_provisioner(self._provisioner)
            if self.cells.info is not None:
                self._catch_up()
            self._send()

    def _wait(self) -> set[Any]:
        poller = zmq.Poller()
        sockets = self._sockets
        for sock in (sockets.shell, sockets.iopub, sockets.stdin, sockets.control, sockets.heartbeat):
            poller.register(sock, zmq.POLLIN)
        poller.register(self._alarm, zmq.POLLIN)
        if self._parent >= 0:
            poller.register(self._parent, zmq.POLLIN)
        if self._provisioner is not None:
            poller.register(self._provisioner.fileno(), zmq.POLLIN)
        return {key for key, _ in poller.poll(_AGAIN if self._held else None)}

    def _take(self, sock: zmq.Socket[bytes], give: Callable[[Asked], object]) -> None:
        for _ in range(_TURN):
            try:
                frames = sock.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            if (asked := self.wire.open(frames)) is not None:
                give(asked)

    def close(self) -> None:
        """After the session is closed: what is still to be said goes out first."""
        self._send()
        self._sockets.close()

    # -- what is asked -----------------------------------------------------------------------------------------

    def _on_control(self, asked: Asked) -> None:
        if self.cells.info is None and asked.kind == "kernel_info_request":
            self._early.append(asked)
            return
        self.cells.say_status("busy", asked)
        content = self._answer(asked)
        self.cells.reply("control", asked, content)
        self.cells.say_status("idle", asked)

    def _catch_up(self) -> None:
        early, self._early = self._early, []
        for asked in early:
            self._on_control(asked)

    def _answer(self, asked: Asked) -> dict[str, Any]:
        match asked.kind:
            case "kernel_info_request":
                return self.cells.info or {}
            case "interrupt_request":
                self.cells.interrupt()
                return {"status": "ok"}
            case "shutdown_request":
                return self._shut_down(asked)
            case "debug_request":
                return _no_debugger(asked)
        return refusal("NotSupported", f"this kernel does not know {asked.kind!r} on its control channel")

    def _shut_down(self, asked: Asked) -> dict[str, Any]:
        restart = asked.content.get("restart") is True
        content = {"status": "ok", "restart": restart}
        self.outbox.put("iopub", self.wire.message("shutdown_reply", content, asked.header, to=[b"shutdown"]))
        here = self._provisioner is not None and self._sockets.connection.transport == "tcp"
        if restart and here:
            self.cells.end_current("the kernel was restarted", GRACE)
        else:
            self._stopping = True
        return content

    def _on_stdin(self, asked: Asked) -> None:
        if asked.kind == "input_reply":
            self.cells.answer(asked.text("value"))

    def _on_provisioner(self, provisioner: Provisioner) -> None:
        """It asks for a fresh kernel in this process, perhaps at other addresses."""
        connection = provisioner.heard()
        if connection is None:
            self._stopping = True
            return
        self._sockets.move(connection)
        self.cells.restart()

    # -- what is sent ------------------------------------------------------------------------------------------

    def _send(self) -> None:
        self._held = False
        while (parcel := self.outbox.first()) is not None:
            try:
                self._sockets.named(parcel.channel).send_multipart(parcel.frames, self._flags(parcel))
            except zmq.Again:
                self._held = True
                return
            except zmq.ZMQError:
                pass  # whoever asked is gone
            self.outbox.sent()

    def _flags(self, parcel: Parcel) -> int:
        """ZeroMQ counts messages, not bytes: of large ones it is given few at a time."""
        window = next((few for size, few in _WINDOWS if parcel.size <= size), _FEW)
        if parcel.channel == "iopub" and window != self._window:
            self._sockets.iopub.sndhwm = self._window = window
        return zmq.NOBLOCK

    def _greet(self) -> None:
        """Tell each new subscriber that its subscription has arrived (JEP 65)."""
        while True:
            try:
                topic = self._sockets.iopub.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            if topic[:1] == b"\1":
                said = topic[1:].decode("utf-8", "replace")
                welcome = self.wire.message("iopub_welcome", {"subscription": said}, to=[topic[1:]])
                self.outbox.put("iopub", welcome)

    def _beat(self) -> None:
        try:
            frames = self._sockets.heartbeat.recv_multipart(zmq.NOBLOCK)
            self._sockets.heartbeat.send_multipart(frames, zmq.NOBLOCK)
        except zmq.ZMQError:
            pass


def _no_debugger(asked: Asked) -> dict[str, Any]:
    """In the words of the debug adapter protocol."""
    return {
        "type": "response",
        "request_seq": asked.content.get("seq", 0),
        "command": asked.text("command"),
        "success": False,
        "message": "this kernel has no debugger, as its kernel_info says",
    }


def _watch_parent() -> int:
    """A descriptor that becomes readable when the server that started us ends; -1 where nobody asks for that."""
    parent = os.getppid()
    if not os.environ.get("JPY_PARENT_PID") or parent == 1:
        return -1
    try:
        return os.pidfd_open(parent)
    except OSError:
        return -1
