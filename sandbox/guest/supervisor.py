"""Process 1 of the sandbox: owns the Jupyter sockets, relays to the worker, keeps the twins.

It trusts nothing that the worker says. Requests of the host are signed with a key that only the two know;
what the worker sends is checked for shape, signed here, and can reach only the shell, iopub and stdin channels.
Checkpoint, restore, discard, halt and usage are answered on the control channel by this process alone
(docs/protocol.md).
"""

from __future__ import annotations

if __name__ == "__main__" and not __package__:
    import sys

    sys.path.insert(0, __file__.rpartition("/")[0].rpartition("/")[0])
    __package__ = "mulligan_guest"
    __import__(__package__)

import json
import math
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import zmq

from . import channel, processes
from .entry import Config, admit, confine, report
from .output import Output, Pipe
from .signing import Request, Signer
from .survey import survey
from .twins import Pending, Twin, Twins

POLL_FOR_MEMORY = 0.25


class Active:
    """The worker that serves now: its process, its channel, what waits to be sent to it."""

    def __init__(self, pid: int, sock: socket.socket) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.sock = sock
        self.reader = channel.Reader(sock)
        self.outbox: deque[tuple[bytes, list[int]]] = deque()

    def send(self, kind: int, parts: list[bytes], fds: list[int] | None = None) -> None:
        """Queue a message and send what can be sent. `fds` are closed when they are gone."""
        for packet in channel.packets(kind, parts):
            self.outbox.append((packet, fds or []))
            fds = None
        self.flush()

    def flush(self) -> None:
        while self.outbox:
            packet, fds = self.outbox[0]
            try:
                if fds:
                    socket.send_fds(self.sock, [packet], fds, socket.MSG_DONTWAIT)
                else:
                    self.sock.send(packet, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                self.outbox.clear()  # it is dead; that is noticed by its pidfd
                return
            for fd in fds:
                os.close(fd)
            self.outbox.popleft()

    def close(self) -> None:
        os.close(self.pidfd)
        self.sock.close()


class Armed:
    """A checkpoint that waits for the end of an execution, so that the fork is under way while the host still
    takes in the outcome."""

    def __init__(self, after: bytes, request: Request) -> None:
        self.request = request
        self.replied = False
        self._after = after

    def see_reply(self, frames: list[bytes]) -> None:
        """A reply of the worker: whether it is to that execution. The status that follows is its last output."""
        if any(self._after in frame for frame in frames):
            self.replied = True


class Supervisor:
    def __init__(self, config: Config, door: socket.socket, fds: list[int]) -> None:
        self.config, self.door = config, door
        self.signer = Signer(config.key)
        self.output = Output(self.signer)
        self.pipes = (Pipe(b"stdout"), Pipe(b"stderr"))
        self.twins = Twins()
        self.worker: Active | None = None
        self.group = 0
        self.status = 0
        self.parent = b"{}"
        self.info: dict[str, Any] | None = None
        self.spoken: deque[bytes] = deque(maxlen=64)  # before the kernel was ready: why it did not start
        self.armed: Armed | None = None
        self.usual: dict[str, int] = {}
        self.clients: dict[bytes, None] = {}
        self.held: deque[list[bytes]] = deque()
        self.waking: tuple[Request, float] | None = None
        self.probing: Twin | None = None
        self.bind(fds)
        self.control_handlers: dict[str, Callable[[Request], None]] = {
            "kernel_info_request": self.on_kernel_info,
            "interrupt_request": self.on_interrupt,
            "shutdown_request": self.on_shutdown,
            "checkpoint_request": self.on_checkpoint,
            "halt_request": self.on_halt,
            "restore_request": self.on_restore,
            "discard_request": self.on_discard,
            "usage_request": self.on_usage,
        }

    def bind(self, fds: list[int]) -> None:
        """Take over the five listening sockets that came through the door (decision 0002)."""
        context = zmq.Context()
        kinds = (zmq.ROUTER, zmq.XPUB, zmq.ROUTER, zmq.ROUTER, zmq.REP)
        sockets = []
        for fd, kind, name in zip(fds, kinds, ("shell", "iopub", "stdin", "control", "hb"), strict=True):
            sock = context.socket(kind)
            sock.linger = 1000
            sock.setsockopt(zmq.USE_FD, fd)
            if kind == zmq.XPUB:
                sock.setsockopt(zmq.XPUB_NODROP, 1)  # a slow client slows the worker down; it loses nothing
            sock.bind(f"ipc:///run/mulligan/{name}")
            sockets.append(sock)
        self.shell, self.iopub, self.stdin, self.control, self.heartbeat = sockets

    # -- the worker ------------------------------------------------------------------------------------------

    def spawn(self) -> None:
        """Start a worker from nothing."""
        ours, theirs = channel.pair()
        theirs.set_inheritable(True)
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "worker.py")
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-B", path, str(theirs.fileno())],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, self.pipes[0].write_fd, 1),
                (os.POSIX_SPAWN_DUP2, self.pipes[1].write_fd, 2),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGINT),
        )
        theirs.close()
        self.group = pid
        self.worker = Active(pid, ours)

    def drop_worker(self) -> None:
        if self.worker is not None:
            self.worker.close()
            self.worker = None

    def relay_all(self) -> bool:
        """Relay what the worker has sent, but never so long that requests would wait. Whether that was all."""
        for _ in range(256):
            worker = self.worker
            if worker is None:
                return True
            if self.held:
                return False
            try:
                message = worker.reader.receive()
            except (EOFError, channel.Garbled):
                self.kill_worker()
                return True
            if message is None:
                return True
            for fd in message.fds:
                os.close(fd)  # nothing that it could pass is wanted
            self.relay(message)
        return False

    def kill_worker(self) -> None:
        if self.worker is not None:
            signal.pidfd_send_signal(self.worker.pidfd, signal.SIGKILL)

    def relay(self, message: channel.Message) -> None:
        kind, parts = message.kind, message.parts
        if kind == channel.STREAM and len(parts) == 3 and parts[0] in (b"stdout", b"stderr"):
            self.parent = parts[1]
            self.stream(*parts)
            return
        self.flush_stream()
        if kind == channel.SHELL:
            self.drain_pipes()
            self.flush_stream()
            self.send(self.shell, self.signer.seal(parts))
            if self.armed is not None:
                self.armed.see_reply(parts)
        elif kind == channel.IOPUB:
            self.publish(self.signer.seal(parts))
            if self.armed is not None and self.armed.replied:
                armed, self.armed = self.armed, None
                self.checkpoint(armed.request)
        elif kind == channel.STDIN:
            self.send(self.stdin, self.signer.seal(parts))
        elif kind == channel.CHECKPOINT and parts:
            self.on_forked(parts)
        elif kind == channel.WAKE and len(parts) > 1:
            self.on_woken(parts[1])
        elif kind == channel.READY and self.info is None and parts:
            self.on_ready(parts[0])
        elif kind == channel.PROBE and self.probing is not None and parts:
            report(self.door, {"twin_memory": parts[0].decode("utf-8", "replace")[:200]})
            self.probing = None

    def on_ready(self, info: bytes) -> None:
        self.info = json.loads(info)
        report(self.door, {"ready": True})
        self.on_woken(b"[]")

    def on_worker_exit(self) -> None:
        """The worker died of itself, or by what it ran: the host is told by us, not by its silence."""
        if not self.relay_all():
            return  # its last words have to go out first; we are called again
        self.drain_pipes()
        self.flush_stream()
        worker = self.worker
        if worker is None:
            return
        self.reap()
        status = self.status
        self.drop_worker()
        self.armed = None
        if self.info is None:
            report(self.door, {"error": "the kernel did not start", "detail": self.last_words()})
        for pending in self.twins.forget_pending():
            self.refuse(pending.request, "WorkerLost", "the worker died while it was being forked")
        if self.waking is not None:
            (request, _), self.waking = self.waking, None
            self.refuse(request, "WorkerLost", "the twin died while it was being woken")
        self.notify("worker_lost", {"signal": os.WTERMSIG(status), "code": os.waitstatus_to_exitcode(status)})

    def reap(self) -> None:
        """Collect the dead, whoever's children they were, and remember how the worker ended."""
        for pid, status in processes.reap().items():
            if self.worker is not None and pid == self.worker.pid:
                self.status = status

    def last_words(self) -> str:
        return b"".join(self.spoken)[-4000:].decode("utf-8", "replace")

    # -- output ----------------------------------------------------------------------------------------------

    def stream(self, name: bytes, parent: bytes, text: bytes) -> None:
        if not self.output.fits(name, parent):
            self.flush_stream()
        self.output.add(name, parent, text)

    def flush_stream(self) -> None:
        self.publish(self.output.take())

    def drain_pipes(self) -> None:
        for pipe in self.pipes:
            for _ in range(64):
                data = pipe.read()
                if not data:
                    break
                if self.info is None:
                    self.spoken.append(data)
                self.stream(pipe.name, self.parent, data)

    def publish(self, frames: list[bytes] | None) -> None:
        if frames is not None:
            self.held.append(frames)
            self.release()

    def release(self) -> None:
        """Send what waits for slow clients, as far as they take it."""
        while self.held:
            try:
                self.iopub.send_multipart(self.held[0], zmq.NOBLOCK)
            except zmq.Again:
                return
            self.held.popleft()

    def send(self, sock: zmq.Socket[bytes], frames: list[bytes] | None) -> None:
        if frames is not None:
            try:
                sock.send_multipart(frames, zmq.NOBLOCK)
            except zmq.ZMQError:
                pass  # the client is gone

    # -- requests of the host --------------------------------------------------------------------------------

    def on_shell(self, sock: zmq.Socket[bytes], kind: int) -> None:
        for _ in range(64):
            try:
                frames = self.signer.open(sock.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            if frames is not None and self.worker is not None:
                self.worker.send(kind, frames)

    def on_control(self) -> None:
        while True:
            try:
                frames = self.signer.open(self.control.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            if frames is None:
                continue
            try:
                request = Request(frames)
            except ValueError:
                continue
            if len(self.clients) < 64:
                self.clients[request.idents[0]] = None
            handler = self.control_handlers.get(request.kind)
            if handler is not None:
                handler(request)

    def reply(self, request: Request, content: dict[str, Any]) -> None:
        kind = request.kind.replace("_request", "_reply")
        content = {"status": "ok", **content}
        self.send(self.control, self.signer.message(kind, content, request.header, request.idents))

    def refuse(self, request: Request, name: str, why: str) -> None:
        self.reply(request, {"status": "error", "ename": name, "evalue": why, "traceback": []})

    def notify(self, kind: str, content: dict[str, Any]) -> None:
        for client in self.clients:
            self.send(self.control, self.signer.message(kind, content, idents=[client]))

    def on_kernel_info(self, request: Request) -> None:
        self.reply(
            request, self.info or {"status": "error", "ename": "NotReady", "evalue": "the kernel is starting"}
        )

    def on_interrupt(self, request: Request) -> None:
        """SIGINT to the worker and to the subprocesses of its group. Twins have it blocked."""
        if self.worker is not None:
            try:
                os.killpg(self.group, signal.SIGINT)
            except ProcessLookupError:
                os.kill(self.worker.pid, signal.SIGINT)
        self.reply(request, {})

    def on_shutdown(self, request: Request) -> None:
        self.reply(request, {"restart": bool(request.content.get("restart"))})
        self.control.close(linger=500)
        os._exit(0)

    def on_checkpoint(self, request: Request) -> None:
        """At once, or `after` the execution of that message id: when its reply and its last output are out."""
        if "after" in request.content:
            self.armed = Armed(str(request.content["after"]).encode(), request)
        else:
            self.checkpoint(request)

    def checkpoint(self, request: Request) -> None:
        name = str(request.content.get("id", ""))
        if self.worker is None:
            return self.refuse(request, "NoWorker", "there is no worker to checkpoint")
        if not name or self.twins.knows(name):
            return self.refuse(request, "BadId", f"{name!r} is empty or taken")
        self.reap()
        ours, theirs = channel.pair()
        bystanders = processes.everyone({self.worker.pid, *self.twins.pids()})
        seen = survey(self.worker.pid)
        if not self.usual:  # before any user code: what every worker has, and wakes up with
            self.usual = {what: count for what, count in seen.items() if isinstance(count, int)}
        seen = {
            what: seen[what] - self.usual.get(what, 0) if what in self.usual else seen[what] for what in seen
        }
        self.twins.expect(Pending(name, request, ours, bystanders, seen))
        self.worker.send(channel.CHECKPOINT, [name.encode()], [theirs.detach()])

    def on_forked(self, parts: list[bytes]) -> None:
        """The worker says that it goes on, or that it could not fork."""
        if len(parts) == 3:
            if (pending := self.twins.give_up(parts[0])) is not None:
                self.refuse(pending.request, "NoFork", parts[2].decode("utf-8", "replace")[:200])
            return
        self.twins.said(parts[0], parts[1] if len(parts) > 1 else b"{}")
        self.settle_checkpoints()

    def settle_checkpoints(self) -> None:
        """Answer each checkpoint whose twin has spoken, and of which the worker has said that it goes on."""
        for pending, twin in self.twins.settle(self.worker.pid if self.worker else 0):
            if twin is None:
                self.refuse(pending.request, "NoTwin", "what answered is not a new process")
                continue
            self.reply(pending.request, {**pending.report(), "pid": twin.pid, "dead": self.twins.dead()})
            if self.config.probe and self.probing is None and self.worker is not None:
                self.config.probe = False
                self.probing = twin
                self.worker.send(channel.PROBE, [str(twin.pid).encode()])

    def on_halt(self, request: Request) -> None:
        """Kill the worker and every process that was not there at checkpoint `id` (none given: every process);
        stop the rest until a restore lets them go on."""
        twin = self.twins.get(str(request.content.get("id", "")))
        self.reply(request, self.halt(twin))

    def halt(self, twin: Twin | None) -> dict[str, Any]:
        keep = set(twin.bystanders) if twin else set()
        self.armed = None
        processes.signal_all(keep, signal.SIGSTOP)
        self.twins.forget_pending()
        left = processes.end(keep, self.twins.pids())
        self.drop_worker()
        self.reap()
        self.drain_pipes()
        self.flush_stream()
        alive = [processes.name(pid) for pid, _ in processes.everyone(self.twins.pids())]
        return {"left": [processes.name(pid) for pid, _ in left][:50], "kept": alive[:50]}

    def on_restore(self, request: Request) -> None:
        """Wake the twin of checkpoint `id`; without an id, start a fresh worker. Halts first if need be."""
        name = str(request.content.get("id") or "")
        twin = self.twins.get(name)
        if name and (twin is None or not twin.alive()):
            self.twins.discard([name])
            return self.refuse(request, "TwinLost", f"the twin of checkpoint {name} is gone")
        if self.worker is not None:
            self.halt(twin)
        self.waking = (request, time.monotonic())
        if twin is None:
            self.info = None
            return self.spawn()
        ours, theirs = channel.pair()
        self.worker = Active(twin.pid, twin.sock)
        self.twins.succeed(twin, ours)
        self.worker.send(channel.WAKE, [name.encode()], [theirs.detach()])
        processes.signal_all(twin.bystanders, signal.SIGCONT)

    def on_woken(self, lost: bytes) -> None:
        if self.waking is None:
            return
        (request, since), self.waking = self.waking, None
        try:
            stands = [str(line)[:500] for line in json.loads(lost)][:200]
        except (ValueError, TypeError, RecursionError):
            stands = ["the worker did not say which of its files it could open again"]
        self.reply(request, {"stands": stands, "seconds": time.monotonic() - since})

    def on_discard(self, request: Request) -> None:
        names = request.content.get("ids")
        self.twins.discard([str(name) for name in names] if isinstance(names, list) else [])
        self.reply(request, {})

    def on_usage(self, request: Request) -> None:
        self.reap()
        pids = [pid for pid, _ in processes.everyone(self.twins.pids())]
        self.reply(
            request,
            {
                "resident": sum(map(processes.resident, pids)),
                "processes": len(pids),
                "twins": {name: processes.resident(pid) for name, pid in self.twins.living()},
                "dead": self.twins.dead(),
            },
        )

    # -- the loop --------------------------------------------------------------------------------------------

    def serve(self) -> None:
        while True:
            ready = self.wait()
            if self.door.fileno() in ready:
                os._exit(0)  # the host hung up: nobody holds this session any more
            if self.heartbeat in ready:
                self.heartbeat.send(self.heartbeat.recv())
            if self.iopub in ready:
                self.on_subscriptions()
            if self.held:
                self.release()
            if self.control in ready:
                self.on_control()
            if self.shell in ready:
                self.on_shell(self.shell, channel.SHELL)
            if self.stdin in ready:
                self.on_shell(self.stdin, channel.STDIN)
            self.attend_twins()
            self.attend_worker(ready)
            if self.output.wait() == 0:
                self.flush_stream()

    def wait(self) -> set[Any]:
        poller = zmq.Poller()
        for sock in (self.shell, self.stdin, self.control, self.heartbeat):
            poller.register(sock, zmq.POLLIN)
        poller.register(self.iopub, zmq.POLLIN | (zmq.POLLOUT if self.held else 0))
        poller.register(self.door.fileno(), zmq.POLLIN)
        for twin in self.twins.listening():
            poller.register(twin.fileno(), zmq.POLLIN)
        if self.worker is not None:
            if not self.held:
                poller.register(self.worker.pidfd, zmq.POLLIN)
            flags = (0 if self.held else zmq.POLLIN) | (zmq.POLLOUT if self.worker.outbox else 0)
            if flags:
                poller.register(self.worker.sock.fileno(), flags)
        if not self.held:
            for pipe in self.pipes:
                poller.register(pipe.fd, zmq.POLLIN)
        return {key for key, _ in poller.poll(self.timeout())}

    def timeout(self) -> int | None:
        """Milliseconds until something is due."""
        due = self.output.wait()
        if self.config.memory and (due is None or due > POLL_FOR_MEMORY):
            due = POLL_FOR_MEMORY
        return None if due is None else math.ceil(due * 1000)

    def attend_twins(self) -> None:
        if self.twins.hear():
            self.settle_checkpoints()

    def attend_worker(self, ready: set[Any]) -> None:
        if any(pipe.fd in ready for pipe in self.pipes):
            self.drain_pipes()
        worker = self.worker
        if worker is None:
            return
        if worker.sock.fileno() in ready:
            worker.flush()
            self.relay_all()
        if self.worker is worker and worker.pidfd in ready:
            self.on_worker_exit()
        elif self.config.memory:
            self.guard_memory()

    def guard_memory(self) -> None:
        """Where no cgroup bounds the session: kill the worker when all its processes together pass the limit."""
        now = time.monotonic()
        if now < self.config.next_look or self.worker is None:
            return
        self.config.next_look = now + POLL_FOR_MEMORY
        pids = [pid for pid, _ in processes.everyone(self.twins.pids())]
        if sum(map(processes.resident, pids)) > self.config.memory:
            processes.end(set(), self.twins.pids())

    def on_subscriptions(self) -> None:
        while True:
            try:
                topic = self.iopub.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            if topic[:1] == b"\1":
                self.publish(self.signer.message("iopub_welcome", {"subscription": ""}, idents=[topic[1:]]))


def main() -> None:
    door, config, fds = admit()
    confine(config)
    report(door, {"probes": config.probes})
    supervisor = Supervisor(config, door, fds)
    supervisor.spawn()
    supervisor.serve()


if __name__ == "__main__":
    main()
