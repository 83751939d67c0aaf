"""Checkpoints on their way: asked for, perhaps for the end of an execution, forked, looked at, answered.

A checkpoint is there when its twin has spoken and the worker has said that it goes on. What of the worker a fork does
not carry is looked at from outside: the worker runs hostile code and could leave out what it likes.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from collections import deque
from typing import Any

from . import channel, memory, processes
from .active import Active
from .entry import Config, report
from .links import Links
from .pages import Pages
from .processes import Identity
from .signing import Request
from .sockets import Sockets
from .survey import Known, Survey, add_bystanders
from .threads import Threads
from .twins import Pending, Twin, Twins


class Checkpoints:
    def __init__(self, config: Config, door: socket.socket, sockets: Sockets, links: Links) -> None:
        self.config, self.door, self.sockets, self.links = config, door, sockets, links
        self.twins = Twins()
        #: the execution after which a checkpoint is to begin, so that the fork is under way while the host still
        #: takes in the outcome
        self._armed: tuple[bytes, Request] | None = None
        #: stopped while the host takes its snapshot
        self._frozen: list[Identity] = []
        self._usual: dict[str, int] = {}
        self._known = Known()
        self._threads = Threads()
        #: a checkpoint that waits for the end of threads, until all else is said
        self._put_off: Request | None = None
        self._pages = Pages(config.pages_counted)
        self._unfinished: list[tuple[Pending, Survey]] = []
        #: how many hard links had been asked for at the last checkpoints: one that was asked for just before may be
        #: made just after
        self._counts: deque[int] = deque([0, 0], maxlen=2)
        self._probing: Twin | None = None
        #: bytes, where a control group bounds memory and its own killer would take the worker
        self._most = 0 if config.memory else memory.limit()

    def ask(self, request: Request, worker: Active | None) -> None:
        """At once, or `after` the execution of that message id: when its reply and its last output are out."""
        self.twins.discard(names_in(request.content.get("discard")))
        if "after" in request.content:
            self._armed = str(request.content["after"]).encode(), request
        else:
            self._put_off = request
            self.finish(worker)

    def goes_unheard(self, header: bytes) -> bool:
        """Whether nobody wants to hear that the execution with this header begins."""
        armed = self._armed
        return armed is not None and armed[1].content.get("unheard") is True and armed[0] in header

    def on_end(self, header: bytes, worker: Active | None) -> None:
        """The execution with this header has ended. What it begins is to be finished when everybody was told."""
        if self._armed is not None and self._armed[0] in header:
            (_, request), self._armed = self._armed, None
            if worker is not None and self._threads.any_new(worker.pid):
                self._put_off = request
            else:
                self._begin(request, worker)

    def _begin(self, request: Request, worker: Active | None) -> None:
        name = str(request.content.get("id", ""))
        if worker is None:
            return self.sockets.refuse(request, "NoWorker", "there is no worker to checkpoint")
        if not name or self.twins.knows(name):
            return self.sockets.refuse(request, "BadId", f"{name!r} is empty or taken")
        if worker.foreign:
            return self._without_twin(request, worker)
        ours, theirs = channel.pair()
        pending = Pending(name, request, ours, processes.everyone({worker.pid, *self.twins.pids()}))
        pending.restless = worker.restless
        written = worker.newly_written() if self.config.memory else 0
        told = not self.config.memory or self._pages.explain(written, alone=not pending.bystanders)
        look = Survey(worker, self._known, self.links.maps, private=not told)
        pending.locks = look.locks
        self.twins.expect(pending)
        worker.send(channel.CHECKPOINT, [name.encode()], [theirs.detach()])
        pending.private = max(look.private(), written)
        self._unfinished.append((pending, look))

    def _without_twin(self, request: Request, worker: Active) -> None:
        """A kernel that is not ours cannot be forked: all stand still while the host captures files, and that is all
        there is. Its own processes are no children: they are started anew, with it."""
        self.sockets.tell(request, "checkpoint_begun", {"quiet": False})
        self._frozen = processes.stop(self.twins.pids())
        family = {worker.pid, *(pid for pid, _ in worker.family)}
        others = [pid for pid, _ in processes.everyone({*self.twins.pids(), worker.pid})]
        seen: dict[str, Any] = {"ghosts": 0, "mapped": []}
        add_bystanders(seen, others)
        seen["children"] = [processes.name(pid) for pid in others if pid not in family][:50]
        moving = {"frozen": bool(self._frozen), "links": self.links.count}
        self.sockets.reply(request, {"twin": False, "seen": seen, "seconds": 0.0, **moving})

    def finish(self, worker: Active | None) -> None:
        """Begin what was put off, and see what is left to be seen of what was begun, while the worker forks."""
        request, self._put_off = self._put_off, None
        if request is not None:
            if worker is not None:
                with contextlib.suppress(OSError):
                    self._threads.await_ends(worker.pid)
            self._begin(request, worker)
        while self._unfinished:
            self._finish(*self._unfinished.pop())

    def _finish(self, pending: Pending, look: Survey) -> None:
        look.finish()
        pending.seen = self._unusual(look.seen)
        if pending.seen.get("sockets"):
            pending.sockets = look.sockets
        add_bystanders(pending.seen, [pid for pid, _ in pending.bystanders])
        alone = not pending.bystanders and _only_thread(pending.seen)
        pending.quiet = self._no_links() and alone and not pending.restless
        pending.still = pending.quiet and look.still
        self.sockets.tell(pending.request, "checkpoint_begun", {"quiet": pending.quiet})

    def _unusual(self, seen: dict[str, Any]) -> dict[str, Any]:
        """Counts beyond those of the first survey, before any user code: what every worker has and wakes up with."""
        if not self._usual:
            self._usual = {what: count for what, count in seen.items() if isinstance(count, int)}
        return {
            what: max(0, found - self._usual.get(what, 0)) if isinstance(found, int) else found
            for what, found in seen.items()
        }

    def _no_links(self) -> bool:
        """Whether no hard link can have been made since the checkpoint before."""
        before = set(self._counts)
        self._counts.append(self.links.count)
        return before == {self.links.count} and self.links.count >= 0

    def on_forked(self, parts: list[bytes], worker: Active | None) -> None:
        """The worker says that it goes on, or that it could not fork."""
        if len(parts) == 3:
            if (pending := self.twins.give_up(parts[0])) is not None:
                self.sockets.refuse(pending.request, "NoFork", parts[2].decode("utf-8", "replace")[:200])
            return
        self.twins.said(parts[0], parts[1] if len(parts) > 1 else b"{}")
        self.settle(worker)

    def settle(self, worker: Active | None) -> None:
        """Answer what is complete, and what will not be."""
        for pending in self.twins.stillborn():
            self.sockets.refuse(pending.request, "NoTwin", "no twin has answered")
        for pending, twin in self.twins.settle(worker.pid if worker else 0):
            if twin is None:
                self.sockets.refuse(pending.request, "NoTwin", "what answered is not a new process")
                continue
            if not pending.quiet:  # the worker's threads too, until the host has its snapshot
                self._frozen = processes.stop(self.twins.pids())
            if pending.restless and worker is not None:
                worker.send(channel.RESTLESS, [])
            report_of = {**pending.report(), "pid": twin.pid, "dead": self.twins.dead()}
            moving = {"frozen": bool(self._frozen), "links": self.links.count}
            self.sockets.reply(pending.request, {**report_of, **moving})
            self._probe(twin, worker)
            if self.is_crowded():
                self.twins.shed(2)  # one more than has come

    def is_crowded(self) -> bool:
        """Whether little is left of the memory that the kernel bounds."""
        return memory.crowded(self._most)

    @property
    def frozen(self) -> bool:
        return bool(self._frozen)

    def thaw(self) -> None:
        frozen, self._frozen = self._frozen, []
        processes.signal_all(frozen, signal.SIGCONT)

    def give_up(self, worker: Active | None) -> None:
        """The worker is dead, or about to be. A twin that has been forked is kept."""
        self._armed = None
        self.twins.hear(wait=True)
        self.settle(worker)
        for pending in self.twins.forget_pending():
            self.sockets.refuse(pending.request, "WorkerLost", "the worker died while it was being forked")

    def _probe(self, twin: Twin, worker: Active | None) -> None:
        """Once, before any user code: have the worker try to read its twin's memory."""
        if self.config.probe and worker is not None:
            self.config.probe = False
            self._probing = twin
            worker.send(channel.PROBE, [str(twin.pid).encode()])

    def on_probed(self, found: bytes) -> None:
        if self._probing is not None:
            report(self.door, {"twin_memory": found.decode("utf-8", "replace")[:200]})
            self._probing = None


def names_in(value: Any) -> list[str]:
    """The names in a list that the host has sent."""
    return [str(name) for name in value] if isinstance(value, list) else []


def _only_thread(seen: dict[str, Any]) -> bool:
    """Whether a worker's one thread is all that can write its files, and a watch sees it. Pools of threads do not
    write."""
    if "unseen" in seen or seen["mapped"] or seen["ghosts"] or seen["timers"]:
        return False
    return bool(seen["threads"] <= seen["pool_threads"])
