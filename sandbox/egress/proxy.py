"""Takes the connections that come from a sandbox's loopback, and has each looked after by a thread of its own.

The listening socket lies in the sandbox's network namespace, and only this process holds it: the supervisor made it
before any other code ran and handed it out through the door (docs/decisions). So nothing in the sandbox carries bytes,
could be killed or could be talked to instead, and what the proxy dials lies in the host's network.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from mulligan.sandbox.egress import dialing, trust
from mulligan.sandbox.egress.authority import Authority
from mulligan.sandbox.egress.bounds import Bounds, Meter
from mulligan.sandbox.egress.conversation import Conversation
from mulligan.sandbox.egress.dialing import Resolve
from mulligan.sandbox.egress.judgement import Journal, Judge
from mulligan.sandbox.egress.parts import Parts
from mulligan.sandbox.egress.wire import Wire


class Egress:
    """One session's proxy. Every method may be called from any thread; `close` more than once."""

    def __init__(
        self, judge: Judge, journal: Journal, *, bounds: Bounds | None = None, resolve: Resolve | None = None
    ) -> None:
        bounds = bounds or Bounds()
        context, authority = trust.upstream(), Authority()
        #: what the sandbox may believe, as PEM
        self.trust = trust.bundle(context, authority.certificate)
        resolve = resolve or dialing.resolve
        self._parts = Parts(judge, journal, bounds, resolve, context, authority, Meter(bounds))
        self._places = threading.BoundedSemaphore(bounds.connections)
        self._listener: socket.socket | None = None
        self._lock = threading.Lock()

    def serve(self, listener: socket.socket) -> None:
        """Take connections from here from now on, and from nowhere else. Returns at once."""
        with self._lock:
            self._end()
            self._listener = listener
        threading.Thread(target=self._take, args=(listener,), name="mulligan-egress", daemon=True).start()

    def hang_up(self) -> None:
        """Cut every connection: of whoever was asking nothing is left."""
        self._parts.live.cut()

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

    def _take(self, listener: socket.socket) -> None:
        while True:
            self._places.acquire()
            try:
                sock, _ = listener.accept()
            except OSError:
                self._places.release()
                return
            threading.Thread(
                target=self._look_after, args=(sock,), name="mulligan-request", daemon=True
            ).start()

    def _look_after(self, sock: socket.socket) -> None:
        bounds = self._parts.bounds
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conversation = Conversation(self._parts, Wire(sock, bounds.quiet, bounds.whole))
        self._parts.live.add(conversation.wire)
        try:
            conversation.hold()
        finally:
            self._parts.live.remove(conversation.wire)
            self._places.release()
