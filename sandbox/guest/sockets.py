"""The five Jupyter sockets: what goes in is checked for the host's signature, what goes out is signed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import zmq

from .signing import Request, Signer

#: as plain numbers, since zmq makes a name of each
READ, WRITE = int(zmq.POLLIN), int(zmq.POLLOUT)
_NOW, _MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK) | int(zmq.SNDMORE)
#: requests taken in a row before the others have their turn
_TURN = 64
#: bytes of what the worker says that may be under way to a host that tells what it has taken in: queues count
#: messages alone
AHEAD = 64 << 20


class Sockets:
    """Nothing here waits. Output for clients that are slow is held, and holds the worker up: none is lost."""

    def __init__(self, signer: Signer, listening: list[int]) -> None:
        """`listening`: the descriptors that came through the door, in the order below (decision 0002)."""
        self._signer = signer
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        kinds = (zmq.ROUTER, zmq.XPUB, zmq.ROUTER, zmq.ROUTER, zmq.REP)
        names = ("shell", "iopub", "stdin", "control", "hb")
        made = [self._bind(kind, name, fd) for kind, name, fd in zip(kinds, names, listening, strict=True)]
        self.shell, self.iopub, self.stdin, self.control, self.heartbeat = made
        self._held: deque[tuple[zmq.Socket[bytes], list[bytes]]] = deque()
        self._sent = 0
        self._heard: int | None = None
        #: the identities of those who have made requests on control
        self._clients: dict[bytes, None] = {}

    def _bind(self, kind: int, name: str, fd: int) -> zmq.Socket[bytes]:
        sock = self._context.socket(kind)
        sock.linger = 1000
        sock.setsockopt(zmq.USE_FD, fd)
        if kind == zmq.XPUB:
            sock.setsockopt(zmq.XPUB_NODROP, 1)
        if kind == zmq.ROUTER:
            sock.setsockopt(zmq.ROUTER_MANDATORY, 1)  # what goes to nobody must not count as under way
        sock.bind(f"ipc:///run/mulligan/{name}")
        return sock

    @property
    def held_up(self) -> bool:
        return bool(self._held)

    def poll_flags(self) -> list[tuple[zmq.Socket[bytes], int]]:
        blocked = self._held[0][0] if self._held and self._near else None
        watched = (self.shell, self.stdin, self.control, self.heartbeat, self.iopub)
        return [(sock, READ | WRITE if sock is blocked else READ) for sock in watched]

    # -- out -------------------------------------------------------------------------------------------------

    def publish(self, frames: list[bytes] | None) -> None:
        self.pass_on(self.iopub, frames)

    def pass_on(self, sock: zmq.Socket[bytes], frames: list[bytes] | None) -> None:
        """What the worker says, in its order; on shell and stdin too, or a flood there would fill the host's memory."""
        if frames is not None:
            self._held.append((sock, frames))
            self.release()

    def release(self) -> None:
        """Send what is held, as far as the clients take it."""
        while self._held and self._near:
            sock, frames = self._held[0]
            try:
                _send(sock, frames)
                self._sent += sum(map(len, frames if sock is self.iopub else frames[1:]))
            except zmq.Again:
                return
            except zmq.ZMQError:
                pass  # the client is gone
            self._held.popleft()

    @property
    def _near(self) -> bool:
        return self._heard is None or self._sent - self._heard < AHEAD

    def heard(self, size: int) -> None:
        """The host has taken in so many bytes of what the worker said since the beginning."""
        self._heard = size
        self.release()

    def send(self, sock: zmq.Socket[bytes], frames: list[bytes] | None) -> None:
        if frames is not None:
            try:
                _send(sock, frames)
            except zmq.ZMQError:
                pass  # the client is gone

    def reply(self, request: Request, content: dict[str, Any]) -> None:
        self.tell(request, request.kind.replace("_request", "_reply"), {"status": "ok", **content})

    def tell(self, request: Request, kind: str, content: dict[str, Any]) -> None:
        """To whoever made this request."""
        self.send(self.control, self._signer.message(kind, content, request.header, request.idents))

    def refuse(self, request: Request, name: str, why: str) -> None:
        self.reply(request, {"status": "error", "ename": name, "evalue": why, "traceback": []})

    def notify(self, kind: str, content: dict[str, Any]) -> None:
        """To every client that has made a request on control."""
        for client in self._clients:
            self.send(self.control, self._signer.message(kind, content, idents=[client]))

    # -- in --------------------------------------------------------------------------------------------------

    def received(self, sock: zmq.Socket[bytes]) -> Iterator[list[bytes]]:
        """What has come and was signed by the host, with an empty signature in place."""
        for _ in range(_TURN):
            try:
                frames = self._signer.open(sock.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            if frames is not None:
                yield frames

    def requests(self) -> Iterator[Request]:
        for frames in self.received(self.control):
            request = Request(frames)
            if request.idents and len(self._clients) < _TURN:
                self._clients[request.idents[0]] = None
            yield request

    def greet(self) -> None:
        """Tell each new subscriber that its subscription has arrived (JEP 65)."""
        while True:
            try:
                topic = self.iopub.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            if topic[:1] == b"\1":
                welcome = self._signer.message("iopub_welcome", {"subscription": ""}, idents=[topic[1:]])
                self.publish(welcome)

    def beat(self) -> None:
        try:
            self.heartbeat.send(self.heartbeat.recv(zmq.NOBLOCK), zmq.NOBLOCK)
        except zmq.ZMQError:
            pass


def _send(sock: zmq.Socket[bytes], frames: list[bytes]) -> None:
    """All of them or none: where the first goes out, the others do. Raises zmq.ZMQError."""
    for frame in frames[:-1]:
        sock.send(frame, _MORE)
    sock.send(frames[-1], _NOW)
