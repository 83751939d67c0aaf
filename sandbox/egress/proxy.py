"""Takes the connections that come from a sandbox's loopback, and has each looked after by a thread of its own.

The listening socket lies in the sandbox's network namespace, and only this process holds it: the supervisor made it
before any other code ran and handed it out through the door (docs/decisions). So nothing in the sandbox carries bytes,
could be killed or could be talked to instead, and what the proxy dials lies in the host's network.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from mulligan.sandbox.egress import dialing, trust
from mulligan.sandbox.egress.authority import Authority
from mulligan.sandbox.egress.bounds import Allowance, Bounds, Meter
from mulligan.sandbox.egress.conversation import Conversation
from mulligan.sandbox.egress.dialing import Resolve
from mulligan.sandbox.egress.holding import post
from mulligan.sandbox.egress.judgement import (
    Answered,
    Approver,
    Journal,
    Judge,
    Judgement,
    Keeper,
    Parcel,
)
from mulligan.sandbox.egress.parts import Parts
from mulligan.sandbox.egress.secrets import Secrets
from mulligan.sandbox.egress.wire import Wire

#: connections that may wait to be taken (guest/entry.py), and some more
_WAITING = 1024
#: seconds until one is taken again where the process had no descriptor or no thread left
_LATER = 0.1


class Egress:
    """One session's proxy. Every method may be called from any thread; `close` more than once."""

    def __init__(
        self,
        judge: Judge,
        journal: Journal,
        *,
        bounds: Bounds | None = None,
        resolve: Resolve | None = None,
        approver: Approver | None = None,
        keeper: Keeper | None = None,
        secrets: Secrets | None = None,
    ) -> None:
        bounds = bounds or Bounds()
        context, authority = trust.upstream(), Authority()
        #: what the sandbox may believe, as PEM
        self.trust = trust.bundle(context, authority.certificate)
        resolve = resolve or dialing.resolve
        self._parts = Parts(
            judge,
            journal,
            bounds,
            resolve,
            context,
            authority,
            Meter(bounds),
            Allowance(bounds.out),
            approver,
            keeper,
            secrets or Secrets(),
        )
        #: variables for the sandbox
        self.environment: Mapping[str, str] = self._parts.secrets.environment
        self._places = threading.BoundedSemaphore(bounds.connections)
        self._listener: socket.socket | None = None
        self._lock = threading.Lock()

    def serve(self, listener: socket.socket) -> None:
        """Take connections from here from now on, and from nowhere else. Returns at once."""
        listener.setblocking(False)
        with self._lock:
            self._end()
            self._listener = listener
            own = listener.dup()  # its number stays the thread's, whenever the other is closed
        threading.Thread(target=self._take, args=(listener, own), name="mulligan-egress", daemon=True).start()

    def hang_up(self) -> None:
        """Cut every connection, and those that nobody has taken yet: of whoever was asking nothing is left."""
        with self._lock:
            if self._listener is not None:
                with suppress(OSError):  # BlockingIOError: there are no more
                    for _ in range(_WAITING):
                        self._listener.accept()[0].close()
            self._parts.cut()

    def post(self, parcel: Parcel, leaving: Callable[[Judgement], None]) -> Answered:
        """Send a request that was held; see `holding.post`."""
        return post(self._parts, parcel, leaving)

    def close(self) -> None:
        with self._lock:
            self._end()
        self.hang_up()

    def _end(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept
            listener.close()

    def _take(self, listener: socket.socket, own: socket.socket) -> None:
        ready = select.poll()
        ready.register(own, select.POLLIN)
        with own:
            while self._listener is listener:
                self._places.acquire()
                ready.poll()
                try:
                    wire = self._accepted(own)
                except OSError:  # it is closed, or there is no descriptor left
                    self._places.release()
                    time.sleep(_LATER)
                else:
                    if wire is None:
                        self._places.release()
                    else:
                        self._begin(wire)

    def _accepted(self, listener: socket.socket) -> Wire | None:
        """The next connection, which can be cut as soon as it is taken; None where it was hung up on meanwhile."""
        with self._lock:
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                return None
            wire = Wire(sock, self._parts.bounds.quiet, self._parts.bounds.whole)
            self._parts.live.add(wire)
            return wire

    def _begin(self, wire: Wire) -> None:
        try:
            threading.Thread(
                target=self._look_after, args=(wire,), name="mulligan-request", daemon=True
            ).start()
        except RuntimeError:  # no thread left: this one is turned away, the next ones need not be
            self._parts.live.remove(wire)
            self._places.release()
            time.sleep(_LATER)

    def _look_after(self, wire: Wire) -> None:
        conversation = Conversation(self._parts, wire)
        try:
            with suppress(OSError):
                wire.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            conversation.hold()
        finally:
            self._parts.live.remove(conversation.wire)
            self._places.release()
