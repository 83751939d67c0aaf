"""A kernel that is not ours, as a worker: the supervisor's channel on one side, the kernel's own sockets on the other.

It starts the command of a kernelspec and relays. Nothing of it is among the files that are captured: its sockets have
abstract names, and the connection file is in memory. Such a kernel cannot be forked from outside, so it has no twins:
its checkpoints are of files alone (`Checkpoints.without_twin`), and a restore starts it anew.

Jupyter's kernels publish on a ZMQ socket that holds 1,000 messages and drops what comes then: a kernel that prints
faster than we get processor time loses lines, and perhaps the word that it is idle, under any client. Nothing on this
side can prevent that. So what is missing is counted, and said; and a reply whose `idle` does not come ends an action.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import OrderedDict
from typing import Any

import zmq

from . import channel, twin
from .numbers import Numbers
from .signing import DELIMITER, Signer

#: requests whose answers are still told apart
_REMEMBERED = 1000
#: messages taken in a row from one socket
_TURN = 256
#: milliseconds between two tries whether the kernel is there
_KNOCK = 100
#: seconds after a reply without a word from the kernel, until it is taken to be idle
_SILENT = 3.0
#: seconds in which what was sent on another channel should have come
_LATE = 0.3
#: whose path a kernelspec leaves to whoever starts it
_PYTHON = re.compile(r"python3?(\.\d+)?")


class Asked:
    """A request that was passed on. `code`: it runs some, and is complete when its reply and its last output are in."""

    def __init__(self, frames: list[bytes]) -> None:
        at = frames.index(DELIMITER)
        self.idents, self.header = frames[:at], frames[at + 2]
        header = json.loads(self.header)
        self.id = str(header.get("msg_id", ""))
        self.code = header.get("msg_type") == "execute_request"
        self.reply = b""
        self.idle = False
        #: when it is complete all the same, where something is missing
        self.due: float | None = None


class Foreign:
    """Relays until the supervisor hangs up or the kernel ends."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        self._sock = sock
        self._reader, self._writer = channel.Reader(sock), channel.Writer(sock)
        key, where = secrets.token_hex(32), f"@{secrets.token_hex(8)}"  # xeus has no room for longer ones
        self._signer = Signer(key.encode())
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        kinds = (zmq.DEALER, zmq.SUB, zmq.DEALER, zmq.DEALER)
        self._shell, self._iopub, self._stdin, self._control = (
            self._connect(kind, f"ipc://{where}-{port}") for port, kind in enumerate(kinds, 1)
        )
        self._asked: OrderedDict[str, Asked] = OrderedDict()
        self._current: Asked | None = None
        self._numbers = Numbers()
        self._info: bytes = b""
        self._heard = self._ready = False
        self._process, self._by_message = _start(name, key, where)
        self._pidfd = os.pidfd_open(self._process.pid)
        self._signals, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGINT, lambda number, frame: None)
        signal.set_wakeup_fd(writing)

    def _connect(self, kind: int, address: str) -> zmq.Socket[bytes]:
        sock: zmq.Socket[bytes] = self._context.socket(kind)
        sock.linger = 0
        sock.reconnect_ivl = 20
        if kind == zmq.SUB:
            sock.rcvhwm = 0  # what more than a queue holds is lost, unsaid: on our side none is
            sock.setsockopt(zmq.SUBSCRIBE, b"")
        else:
            sock.setsockopt(
                zmq.IDENTITY, b"mulligan"
            )  # the same for all: questions go to whoever sent the code
        sock.connect(address)
        return sock

    # -- the loop ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        poller = zmq.Poller()
        for watched in (self._sock.fileno(), self._pidfd, self._signals):
            poller.register(watched, zmq.POLLIN)
        for sock in (self._shell, self._iopub, self._stdin, self._control):
            poller.register(sock, zmq.POLLIN)
        self._knock()
        while True:
            ready = dict(poller.poll(self._wait()))
            if self._signals in ready:
                self._interrupt()
            if self._sock.fileno() in ready:
                self._take()
            self._hear()
            if self._pidfd in ready:
                while self._hear():
                    pass
                self._end()
            if not self._ready and not ready:
                self._knock()
            self._finish()

    def _wait(self) -> int | None:
        """Milliseconds until something is due."""
        if not self._ready:
            return _KNOCK
        due = self._current.due if self._current else None
        return None if due is None else max(0, math.ceil((due - time.monotonic()) * 1000))

    def _take(self) -> None:
        try:
            while (message := self._reader.receive()) is not None:
                channel.close_all(message.fds)
                if message.kind == channel.SHELL:
                    self._pass_on(Asked(message.parts), message.parts)
                elif message.kind == channel.STDIN:
                    self._stdin.send_multipart(self._signed(message.parts))
        except EOFError:
            os._exit(0)

    def _pass_on(self, asked: Asked, frames: list[bytes]) -> None:
        self._asked[asked.id] = asked
        while len(self._asked) > _REMEMBERED:
            self._asked.popitem(last=False)
        if asked.code:
            self._current = asked
            self._writer.send(channel.BEGIN, [asked.header])
        self._shell.send_multipart(self._signed(frames))

    def _signed(self, frames: list[bytes]) -> list[bytes]:
        at = frames.index(DELIMITER)
        return self._signer.seal(frames[at:], requests=True) or frames[at:]

    def _interrupt(self) -> None:
        """The kernel had the signal too, where it is in our group."""
        os.read(self._signals, 1 << 10)
        if self._by_message:
            self._control.send_multipart(self._signer.message("interrupt_request", {}))

    def _end(self) -> None:
        """As the kernel has ended."""
        status = self._process.wait()
        if status < 0:
            if -status != signal.SIGKILL:
                signal.signal(-status, signal.SIG_DFL)
            os.kill(os.getpid(), -status)
        os._exit(max(0, status))

    # -- until it is there ---------------------------------------------------------------------------------------

    def _knock(self) -> None:
        self._shell.send_multipart(self._signer.message("kernel_info_request", {}))

    def _look_whether_ready(self) -> None:
        """It answers, and what it says to everybody is heard too."""
        if self._info and self._heard and not self._ready:
            self._ready = True
            self._numbers.settle()  # what it said before we listened
            self._writer.send(channel.READY, [self._info])

    # -- from the kernel -----------------------------------------------------------------------------------------

    def _hear(self) -> bool:
        """Whether anything had come. Of a flood so much that requests have their turn."""
        some = False
        for sock, take in (
            (self._iopub, self._on_output),
            (self._stdin, self._on_question),
            (self._shell, self._on_reply),
            (self._control, None),
        ):
            for _ in range(_TURN):
                if (frames := _received(sock)) is None:
                    break
                some = True
                opened = self._signer.open(frames)
                if opened is not None:
                    self._count(opened)
                if opened is not None and take is not None:
                    at = opened.index(DELIMITER)
                    take(self._whose(opened[at + 3]), opened[at:])
        self._look_whether_ready()
        return some

    def _count(self, frames: list[bytes]) -> None:
        try:
            self._numbers.saw(json.loads(frames[frames.index(DELIMITER) + 2]).get("msg_id"))
        except (ValueError, AttributeError, RecursionError):
            return
        if self._current is not None and not self._current.idle:
            self._current.due = None  # it goes on speaking

    def _whose(self, parent: bytes) -> Asked | None:
        try:
            return self._asked.get(str(json.loads(parent).get("msg_id", "")))
        except (ValueError, AttributeError, RecursionError):
            return None

    def _on_output(self, asked: Asked | None, frames: list[bytes]) -> None:
        self._heard = True
        kind = _kind(frames)
        if asked is None and kind in ("status", "iopub_welcome"):
            return  # of our own requests, or of none
        if asked is not None and asked is self._current and kind == "status":
            asked.idle = b'"idle"' in frames[5]
            return self._finish()
        if not self._said(channel.IOPUB, [kind.encode(), *_answering(asked, frames)]) and asked is not None:
            words = b"[An output was left out: it is too large to be shown at once.]\n"
            self._writer.send(channel.STREAM, [b"stderr", asked.header, words])

    def _on_question(self, asked: Asked | None, frames: list[bytes]) -> None:
        if asked is not None:
            self._said(channel.STDIN, [*asked.idents, *_answering(asked, frames)])

    def _on_reply(self, asked: Asked | None, frames: list[bytes]) -> None:
        if asked is None:
            self._info = frames[5] if _kind(frames) == "kernel_info_reply" else self._info
        elif asked is self._current:
            asked.reply = frames[5]
            self._finish()
        else:
            self._said(channel.SHELL, [*asked.idents, *_answering(asked, frames)])

    def _finish(self) -> None:
        asked = self._current
        if asked is None or not asked.reply or not self._is_whole(asked):
            return
        self._current = None
        if (missing := self._numbers.settle()) or not asked.idle:
            words = _MISSING.format(f"{missing:,} messages" if missing else "A message").encode()
            self._writer.send(channel.STREAM, [b"stderr", asked.header, words])
        if not self._said(channel.END, [asked.header, asked.reply, *asked.idents]):
            self._said(channel.END, [asked.header, _TOO_LARGE, *asked.idents])

    def _is_whole(self, asked: Asked) -> bool:
        """Whether all that belongs to it is here, or has had its time."""
        if asked.idle and not self._numbers.missing:
            return True
        now = time.monotonic()
        if asked.due is None:
            asked.due = now + (_LATE if asked.idle else _SILENT)
        return now >= asked.due

    def _said(self, kind: int, parts: list[bytes]) -> bool:
        try:
            self._writer.send(kind, parts)
        except channel.TooLarge:
            return False
        return True


_MISSING = "[{} of the kernel did not come: it drops what it says faster than that is taken in.]\n"
_TOO_LARGE = b'{"status": "error", "ename": "TooLarge", "evalue": "its reply is too large", "traceback": []}'


def _answering(asked: Asked | None, frames: list[bytes]) -> list[bytes]:
    """With its parent's header as it came from the host, where it is known whose it is."""
    return frames if asked is None else [*frames[:3], asked.header, *frames[4:]]


def _kind(frames: list[bytes]) -> str:
    try:
        return str(json.loads(frames[2]).get("msg_type", ""))
    except (ValueError, AttributeError, RecursionError):
        return ""


def _received(sock: zmq.Socket[bytes]) -> list[bytes] | None:
    try:
        return sock.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return None


def _start(name: str, key: str, where: str) -> tuple[subprocess.Popen[bytes], bool]:
    """The kernel's process, and whether it is interrupted by a message: then it is kept out of our group, to which the
    supervisor sends signals."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    manager = KernelSpecManager()
    home = os.path.expanduser("~")  # which actions can write: what a name means is not theirs to say
    manager.kernel_dirs = [each for each in manager.kernel_dirs if not each.startswith(home)]
    try:
        spec: Any = manager.get_kernel_spec(name)
    except NoSuchKernel:
        known = ", ".join(sorted(manager.find_kernel_specs())) or "none"
        sys.exit(f"the sandbox has no kernel {name!r}; it has: {known}")
    place = {"connection_file": _connection_file(key, where, name), "resource_dir": spec.resource_dir}
    place["prefix"] = sys.prefix
    words = [
        re.sub(r"\{(\w+)\}", lambda found: str(place.get(found[1], found[0])), word) for word in spec.argv
    ]
    if _PYTHON.fullmatch(words[0]):
        words[0] = sys.executable
    by_message = spec.interrupt_mode == "message"
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **spec.env},
            start_new_session=by_message,
        )
    except OSError as error:
        sys.exit(f"the kernel {name!r} cannot be started: {words[0]}: {error.strerror}")
    return process, by_message


def _connection_file(key: str, where: str, name: str) -> str:
    """Its path. It is a file without a name in any folder, which lives as long as we do."""
    content = {"transport": "ipc", "ip": where, "key": key, "signature_scheme": "hmac-sha256"}
    ports = {
        f"{channel}_port": port
        for port, channel in enumerate(("shell", "iopub", "stdin", "control", "hb"), 1)
    }
    descriptor = os.memfd_create("connection")
    os.fchmod(descriptor, 0o600)
    os.write(descriptor, json.dumps({**content, **ports, "kernel_name": name}).encode())
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def main(fd: int, name: str) -> None:
    twin.score(twin.ACTIVE_SCORE)
    sock = socket.socket(fileno=fd)
    sock.set_inheritable(False)
    Foreign(sock, name).run()
