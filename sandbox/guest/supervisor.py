"""Process 1 of the sandbox: owns the Jupyter sockets, relays to the worker, keeps the twins.

It trusts nothing that the worker says. Requests of the host are signed with a key that only the two know;
what the worker sends is checked for shape, signed here, and can reach only the shell, iopub and stdin channels.
Checkpoint, restore, discard, halt and usage are answered on the control channel by this process alone
(docs/protocol.md).
"""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import zmq
from zmq.backend import zmq_poll

from . import channel, memory, ports, processes
from .active import Active, spawn
from .checkpoints import Checkpoints, names_in
from .entry import Config, admit, confine, report, report_probes
from .links import Links
from .output import NAMES, Output, Pipe
from .processes import Identity
from .signing import Request, Signer
from .sockets import READ, WRITE, Sockets
from .twins import Twin

#: seconds between two looks at memory where no cgroup bounds it
POLL_FOR_MEMORY = 0.25
#: the part of that memory up to which what the last twins hold is worth more than what takes all the rest
LITTLE = 16
#: seconds that code has to obey a first interrupt before a second one kills its worker
GRACE = 2.0
#: seconds that what was killed may take to be gone, before a twin wakes all the same
DYING = 5.0
_STOPPED = b"[The kernel was stopped by a signal. It was let go on, for nothing else would.]\n"
_IDLE = b'{"execution_state": "idle"}'


class Supervisor:
    def __init__(self, config: Config, door: socket.socket, listening: list[int], links: Links) -> None:
        self.config, self.door, self.links = config, door, links
        self.signer = Signer(config.key)
        self.sockets = Sockets(self.signer, listening)
        self.output = Output(self.signer)
        self.pipes = (Pipe(b"stdout"), Pipe(b"stderr"))
        self.parent = b"{}"  # the header of the request whose output the pipes carry
        self.checkpoints = Checkpoints(config, door, self.sockets, links)
        self.twins = self.checkpoints.twins
        self.worker: Active | None = None
        self.kernel = (
            ""  # the name of a kernelspec, where the worker is to stand before a kernel that is not ours
        )
        self.group = 0  # of the worker and its subprocesses; its twins are in it too
        self.status = 0  # how the last worker ended, as wait(2) says it
        self.why = ""  # it was killed by us, if it was
        self.killed_before = 0  # processes, because memory ran out, when the worker began
        self.dying: list[Identity] = []  # killed, and not known to be gone
        self.children = processes.hear_of_children()
        self.stopped = False  # the worker, and it has said more than could be relayed so far
        self.running = b""  # the header of the execute request whose code runs
        self.interrupted = (b"", 0.0)  # which was interrupted first, and when
        self.let_go_on = b""  # of the request whose output said so
        self.info: dict[str, Any] | None = None
        self.spoken: deque[bytes] = deque(maxlen=64)  # before the kernel was ready: why it did not start
        self.waking: tuple[Request, float] | None = None
        self.held: set[int] = set()  # sockets that it will not have, and others hold
        self.handlers: dict[str, Callable[[Request], None]] = {
            "kernel_info_request": self.on_kernel_info,
            "interrupt_request": self.on_interrupt,
            "shutdown_request": self.on_shutdown,
            "checkpoint_request": self.on_checkpoint,
            "thaw_request": self.on_thaw,
            "halt_request": self.on_halt,
            "restore_request": self.on_restore,
            "discard_request": self.on_discard,
            "usage_request": self.on_usage,
            "heard_request": self.on_heard,
        }

    def start_worker(self) -> None:
        self.worker, self.why = spawn(*self.pipes, self.kernel), ""
        self.killed_before = memory.killed()
        self.group = self.worker.pid

    # -- from the worker ---------------------------------------------------------------------------------------

    def relay_all(self) -> bool:
        """Relay what the worker has sent, but never so long that requests would wait. Whether that was all."""
        for _ in range(256):
            worker = self.worker
            if worker is None:
                return True
            if self.sockets.held_up:
                return False
            try:
                message = worker.reader.receive()
            except (EOFError, channel.Garbled):
                if not worker.ends_within(0.1):  # closing its end may be the first thing that dying does
                    self.kill_worker("its channel to the supervisor was closed or misused")
                return True
            if message is None:
                return True
            channel.close_all(message.fds)  # nothing that it could pass is wanted
            self.relay(message)
        return False

    def relay(self, message: channel.Message) -> None:
        kind, parts = message.kind, message.parts
        if kind == channel.STREAM and len(parts) == 3 and parts[0] in NAMES:
            self.parent = parts[1]
            self.stream(*parts)
            return
        self.flush_stream()
        if kind == channel.SHELL:
            self.relay_reply(parts)
        elif kind == channel.IOPUB:
            self.sockets.publish(self.signer.seal(parts))
        elif kind == channel.BEGIN and parts:
            self.on_begin(*parts[:2])
        elif kind == channel.END and len(parts) > 1:
            self.on_end(parts[0], parts[1], parts[2:])
        elif kind == channel.RESTLESS and self.worker is not None:
            self.worker.restless = True
        elif kind == channel.STDIN:
            self.sockets.pass_on(self.sockets.stdin, self.signer.seal(parts, requests=True))
        elif kind == channel.CHECKPOINT and parts:
            self.checkpoints.on_forked(parts, self.worker)
        elif kind == channel.WAKE and len(parts) > 1:
            self.on_woken(parts[1])
        elif kind == channel.READY and self.info is None and parts:
            self.on_ready(parts[0])
        elif kind == channel.PROBE and parts:
            self.checkpoints.on_probed(parts[0])

    def on_begin(self, header: bytes, *shown: bytes) -> None:
        """An execute request begins; `shown` is what its execute_input says, if there is one."""
        self.parent = self.running = header
        if self.worker is not None:
            self.worker.restless = False  # until it says so again
        if self.checkpoints.goes_unheard(header):
            return
        self.say(header, "status", b'{"execution_state": "busy"}')
        for content in shown:
            self.say(header, "execute_input", content)

    def on_end(self, header: bytes, reply: bytes, idents: list[bytes]) -> None:
        self.running = b""
        self.drain_pipes()
        self.flush_stream()
        self.checkpoints.on_end(header, self.worker)  # first: the worker is idle until it is asked
        self.sockets.pass_on(self.sockets.shell, self.signer.message("execute_reply", reply, header, idents))
        self.say(header, "status", _IDLE)
        self.checkpoints.finish(self.worker)

    def say(self, header: bytes, kind: str, content: bytes) -> None:
        """Tell every client about a request of the worker's."""
        self.sockets.publish(self.signer.message(kind, content, header, [kind.encode()]))

    def relay_reply(self, parts: list[bytes]) -> None:
        self.drain_pipes()
        self.flush_stream()
        self.sockets.pass_on(self.sockets.shell, self.signer.seal(parts))
        self.checkpoints.on_end(b"".join(parts[-5:]), self.worker)  # of one that was not begun, perhaps
        self.checkpoints.finish(self.worker)

    def on_ready(self, info: bytes) -> None:
        try:
            told = json.loads(info)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            return self.kill_worker("what it said of itself cannot be read")
        self.info = told
        if self.worker is not None and self.worker.foreign:
            self.worker.family = processes.everyone(self.twins.pids())
        report(self.door, {"ready": True})
        self.on_woken(b"[]")

    def on_worker_exit(self) -> None:
        """The worker died of itself, or by what it ran: the host is told by us, not by its silence."""
        if not self.relay_all():
            return  # its last words have to go out first; we are called again
        self.end_output()
        self.reap()
        self.drop_worker()
        if self.info is None:
            words = b"".join(self.spoken)[-4000:].decode("utf-8", "replace")
            report(self.door, {"error": "the kernel did not start", "detail": words})
        self.checkpoints.give_up(self.worker)
        if self.waking is not None:
            (request, _), self.waking = self.waking, None
            self.sockets.refuse(request, "WorkerLost", "it died while it was being woken or started")
        ended = {"signal": os.WTERMSIG(self.status), "code": os.waitstatus_to_exitcode(self.status)}
        if memory.killed() > self.killed_before:
            self.why = self.why or "the memory that the session may use ran out"
            self.twins.shed_half()  # or the next one would have no more room
        self.sockets.notify("worker_lost", {**ended, "why": self.why})

    def kill_worker(self, why: str) -> None:
        if self.worker is not None:
            self.why = why
            self.worker.signal(signal.SIGKILL)

    def drop_worker(self) -> None:
        self.running = b""
        if self.worker is not None:
            self.worker.close()
            self.worker = None

    def on_children(self) -> None:
        """One has died or stopped. A worker that was stopped, by itself perhaps, would stay so for ever."""
        processes.drain(self.children)
        worker, self.stopped = self.worker, False
        if worker is None or self.checkpoints.frozen or not processes.was_stopped(worker.pid):
            return
        if not self.relay_all():  # it may have been quicker to stop than we to hear which request it is at
            self.stopped = True
            return
        if (
            self.twins.wait() is not None
        ):  # it has stopped its group, perhaps, and with it a twin that has to speak
            processes.signal_group(self.group, signal.SIGCONT)
        worker.signal(signal.SIGCONT)
        if self.running and self.let_go_on != self.running:
            self.let_go_on = self.running
            self.stream(b"stderr", self.running, _STOPPED)

    def reap(self) -> None:
        """Collect the dead, whoever's children they were, and remember how the worker ended."""
        for pid, status in processes.reap().items():
            if self.worker is not None and pid == self.worker.pid:
                self.status = status

    # -- output ------------------------------------------------------------------------------------------------

    def stream(self, name: bytes, parent: bytes, text: bytes) -> None:
        if not self.output.fits(name, parent):
            self.flush_stream()
        self.output.add(name, parent, text)

    def flush_stream(self) -> None:
        self.sockets.publish(self.output.take())

    def drain_pipes(self) -> None:
        for pipe in self.pipes:
            for _ in range(64):
                data = pipe.read()
                if not data:
                    break
                if self.info is None:
                    self.spoken.append(data)
                self.stream(pipe.name, self.parent, data)

    def end_output(self) -> None:
        """Of a worker that is dead, which cannot say itself that this was all."""
        self.drain_pipes()
        self.flush_stream()
        self.say(self.parent, "status", _IDLE)

    # -- requests of the host ----------------------------------------------------------------------------------

    def pass_on(self, sock: zmq.Socket[bytes], kind: int) -> None:
        self.bury()
        for frames in self.sockets.received(sock):
            if self.worker is not None:
                self.worker.send(kind, frames)

    def on_control(self) -> None:
        for request in self.sockets.requests():
            handler = self.handlers.get(request.kind)
            if handler is not None:
                try:
                    handler(request)
                except OSError as error:  # a process that died in between, a table that is full
                    self.sockets.refuse(request, "OSError", str(error))

    def on_kernel_info(self, request: Request) -> None:
        if self.info is None:
            return self.sockets.refuse(request, "NotReady", "the kernel is starting")
        self.sockets.reply(request, self.info)

    def on_interrupt(self, request: Request) -> None:
        """SIGINT to the worker and to the subprocesses of its group. Twins have it blocked. A second one kills a
        worker that has not obeyed the first within `GRACE`, unless whoever asks keeps the time itself."""
        first, now = self.interrupted, time.monotonic()
        if self.running != first[0]:
            self.interrupted = (self.running, now)
        elif self.running and now > first[1] + GRACE and not request.content.get("patient"):
            self.kill_worker("it did not obey an interrupt")
        if self.worker is not None and not processes.signal_group(self.group, signal.SIGINT):
            self.worker.signal(signal.SIGINT)
        self.sockets.reply(request, {})

    def on_shutdown(self, request: Request) -> None:
        self.sockets.reply(request, {"restart": bool(request.content.get("restart"))})
        self.sockets.control.close(linger=500)
        os._exit(0)

    def on_checkpoint(self, request: Request) -> None:
        if "after" not in request.content:
            self.bury()
        self.reap()
        self.checkpoints.ask(request, self.worker)

    def on_thaw(self, request: Request) -> None:
        self.checkpoints.thaw()
        self.sockets.reply(request, {})
        self.on_children()

    def on_halt(self, request: Request) -> None:
        """Kill the worker and every process that was not there at checkpoint `id` (none given: every process);
        stop the rest until a restore lets them go on. With the reply none of them runs code any more."""
        twin = self.twins.get(str(request.content.get("id", "")))
        self.sockets.reply(request, {**self.halt(twin), "links": self.links.count})

    def halt(self, twin: Twin | None) -> dict[str, Any]:
        keep = set(twin.bystanders) if twin else set()
        processes.signal_all(keep, signal.SIGSTOP)
        self.checkpoints.give_up(self.worker)
        killed = processes.kill(keep, self.twins.pids())
        self.dying = [*{*self.dying, *killed}]
        self.relay_all()  # what it had said before it was ended
        self.drop_worker()
        self.reap()
        self.end_output()
        left = [processes.name(pid) for pid, _ in killed if not processes.is_through(pid)]
        alive = [each for each in processes.everyone(self.twins.pids()) if each not in self.dying]
        return {"left": left[:50], "kept": [processes.name(pid) for pid, _ in alive[:50]]}

    def bury(self) -> None:
        """Wait for those that were killed to have given back what they held: locks, ports, memory. Before anything runs
        that could want it, or be counted with them."""
        if not self.dying:
            return
        processes.wait_for(self.dying, time.monotonic() + DYING)
        self.dying.clear()
        self.reap()

    def must_bury(self, twin: Twin) -> bool:
        """Whether a twin that wakes, or what goes on with it, might want what is still to be given back, before there
        is a next request: locks, processes, memory."""
        needs = twin.locks or twin.bystanders
        return bool(needs) or len(self.dying) > 1 or self.checkpoints.is_crowded()

    def on_restore(self, request: Request) -> None:
        """Wake the twin of checkpoint `id`; without an id, start a fresh worker, from now on before `kernel` where one
        is named. Halts first if need be."""
        name = str(request.content.get("id") or "")
        twin = self.twins.get(name)
        if name and (twin is None or not twin.alive()):
            self.twins.discard([name])
            return self.sockets.refuse(request, "TwinLost", f"the twin of checkpoint {name} is gone")
        if self.worker is not None:
            self.halt(twin)
        if twin is None or self.must_bury(twin):
            self.bury()
        if twin is None:
            self.info = None
            self.kernel = str(request.content.get("kernel") or self.kernel)
            self.held = self.twins.sockets()
            self.start_worker()
        else:
            self.wake(name, twin)
        self.waking = (request, time.monotonic())

    def wake(self, name: str, twin: Twin) -> None:
        worker = Active(twin.pid, twin.sock)
        ours, theirs = channel.pair()
        self.worker, self.why = worker, ""
        self.killed_before = memory.killed()
        self.twins.succeed(name, ours)
        self.held = self.twins.sockets() - twin.sockets
        worker.signal(signal.SIGCONT)  # somebody may have stopped it
        parts = [name.encode(), *([b"still"] if twin.still else [])]
        worker.send(channel.WAKE, parts, [theirs.detach()])
        processes.signal_all(twin.bystanders, signal.SIGCONT)

    def on_woken(self, lost: bytes) -> None:
        if self.waking is None:
            return
        (request, since), self.waking = self.waking, None
        taken, self.held = ports.held(self.held), set()
        try:
            stands = [str(line)[:500] for line in json.loads(lost)][:200]
        except (ValueError, TypeError, RecursionError):
            stands = ["the worker did not say which of its files it could open again"]
        self.sockets.reply(request, {"stands": stands + taken, "seconds": time.monotonic() - since})

    def on_discard(self, request: Request) -> None:
        self.twins.discard(names_in(request.content.get("ids")))
        self.sockets.reply(request, {})

    def on_heard(self, request: Request) -> None:
        """There is no reply."""
        size = request.content.get("bytes")
        if isinstance(size, int):
            self.sockets.heard(size)

    def on_usage(self, request: Request) -> None:
        self.bury()
        self.reap()
        pids = [pid for pid, _ in processes.everyone(self.twins.pids())]
        twins = {
            name: twin.private if self.config.memory else processes.resident(twin.pid)
            for name, twin in self.twins.living()
        }
        cpu, threads = processes.spent()
        resident, own = sum(map(processes.resident, pids)), processes.resident(os.getpid())
        charged = 0 if self.config.memory else memory.charged()
        usage = {
            "resident": resident,
            "processes": len(pids),
            "threads": threads,
            "cpu": cpu,
            "twins": twins,
            "twin_memory": max(0, charged - resident - own) if charged else sum(twins.values()),
        }
        self.sockets.reply(request, {**usage, "dead": self.twins.dead()})

    # -- the loop ----------------------------------------------------------------------------------------------

    def serve(self) -> None:
        sockets = self.sockets
        while True:
            worker, ready = self.worker, self.wait()
            if self.door.fileno() in ready:
                os._exit(0)  # the host hung up: nobody holds this session any more
            if self.children in ready or self.stopped:
                self.on_children()
            if sockets.heartbeat in ready:
                sockets.beat()
            if sockets.iopub in ready:
                sockets.greet()
            sockets.release()
            if sockets.control in ready:
                self.on_control()
            if sockets.shell in ready:
                self.pass_on(sockets.shell, channel.SHELL)
            if sockets.stdin in ready:
                self.pass_on(sockets.stdin, channel.STDIN)
            self.twins.hear()
            if self.twins.wait() == 0:
                self.relay_all()  # why there will be no twin comes before its socket is closed
                self.checkpoints.settle(self.worker)
            self.attend_worker(worker, ready)
            if self.output.wait() == 0:
                self.flush_stream()

    def wait(self) -> set[Any]:
        watched: list[tuple[Any, int]] = [*self.sockets.poll_flags(), (self.door.fileno(), READ)]
        watched.append((self.children, READ))
        watched += [(twin.fileno(), READ) for twin in self.twins.listening()]
        return {key for key, _ in zmq_poll(watched + self.of_worker(), self.timeout())}

    def of_worker(self) -> list[tuple[int, int]]:
        """Its output is not read while clients are behind: that slows it down."""
        watched, reading = [], not self.sockets.held_up
        if self.worker is not None:
            flags = (READ if reading else 0) | (WRITE if self.worker.outbox else 0)
            if flags:
                watched.append((self.worker.sock.fileno(), flags))
            if reading:
                watched.append((self.worker.pidfd, READ))
        return watched + ([(pipe.fd, READ) for pipe in self.pipes] if reading else [])

    def timeout(self) -> int:
        """Milliseconds until something is due; -1 where nothing is."""
        due = [self.output.wait(), self.twins.wait(), POLL_FOR_MEMORY if self.config.memory else None]
        times = [each for each in due if each is not None]
        return math.ceil(min(times) * 1000) if times else -1

    def attend_worker(self, worker: Active | None, ready: set[Any]) -> None:
        """What is `ready` is of this worker: another that has come since may have the numbers of its descriptors."""
        if worker is not None and worker is self.worker and worker.sock.fileno() in ready:
            worker.flush()
            self.relay_all()  # before the pipes: the worker itself waits for those before it writes here
        if any(pipe.fd in ready for pipe in self.pipes):
            self.drain_pipes()
        if worker is None:
            return
        if self.worker is worker and worker.pidfd in ready:
            self.on_worker_exit()
        elif self.config.memory and time.monotonic() > self.config.next_look:
            self.guard_memory()

    def guard_memory(self) -> None:
        """Where no cgroup bounds the session: first twins go, and when what runs is too much by itself, or beside the
        newest twin where that holds little, it is killed."""
        self.config.next_look = time.monotonic() + POLL_FOR_MEMORY
        pids = [pid for pid, _ in processes.everyone(self.twins.pids())]
        used = sum(map(processes.resident, pids))
        left, little = self.config.memory - used, self.config.memory // LITTLE
        if left < 0 or not self.twins.shrink(left, little, busy=bool(self.running)):
            self.why = "its processes held more memory than the session may"
            processes.end(set(), self.twins.pids())


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one signal that Python would have process 1 obey
    door, config, listening = admit()
    links = confine(config)
    report_probes(door, config)
    supervisor = Supervisor(config, door, listening, links)
    supervisor.start_worker()
    supervisor.serve()
