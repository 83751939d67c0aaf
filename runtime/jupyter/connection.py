"""The connection file, and the five sockets that it describes: the clients' side of the relay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import zmq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mulligan.runtime.errors import ConnectionFileInvalid

#: in the order in which a connection file names them
CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
_KINDS = (zmq.ROUTER, zmq.XPUB, zmq.ROUTER, zmq.ROUTER, zmq.REP)
#: milliseconds in which the last messages should have gone out
LINGER = 1000
Port = Annotated[int, Field(gt=0, lt=65536)]


class Connection(BaseModel):
    """What a connection file says. A file without a key is refused: whoever reaches the sockets could run code."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    transport: Literal["tcp", "ipc"] = "tcp"
    ip: str = Field(min_length=1)
    key: str = Field(min_length=1)
    signature_scheme: Literal["hmac-sha256"] = "hmac-sha256"
    shell_port: Port
    iopub_port: Port
    stdin_port: Port
    control_port: Port
    hb_port: Port
    curve_publickey: str | None = None
    curve_secretkey: str | None = None

    @classmethod
    def read(cls, path: Path) -> Connection:
        """Raises ConnectionFileInvalid."""
        try:
            return cls.model_validate(json.loads(path.read_bytes()))
        except (OSError, ValueError) as error:
            why = _reason(error) if isinstance(error, ValidationError) else str(error)
            raise ConnectionFileInvalid(
                f"{path} is no connection file: {why}",
                hint="Jupyter clients write one and name it with -f; start the kernel from one of them",
            ) from error

    def address(self, channel: str) -> str:
        separator = ":" if self.transport == "tcp" else "-"
        return f"{self.transport}://{self.ip}{separator}{getattr(self, f'{channel}_port')}"


def _reason(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


class Sockets:
    """Bound and unbound by one thread."""

    def __init__(self, connection: Connection) -> None:
        """Raises ConnectionFileInvalid."""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.connection = connection
        made = [self._socket(kind, name) for kind, name in zip(_KINDS, CHANNELS, strict=True)]
        self.shell, self.iopub, self.stdin, self.control, self.heartbeat = made

    def move(self, connection: Connection) -> None:
        """Be found where this connection file says, from now on. Raises ConnectionFileInvalid.

        What is bound there already stays as it is: ports are let go only some time after they were closed.
        """
        before, self.connection = self.connection, connection
        for channel in CHANNELS:
            old, new = before.address(channel), connection.address(channel)
            if new != old:
                self._bind(self.named(channel), channel)
                self.named(channel).unbind(old)

    def _socket(self, kind: int, channel: str) -> zmq.Socket[bytes]:
        sock: zmq.Socket[bytes] = self._context.socket(kind)
        sock.linger = LINGER
        if kind == zmq.XPUB:
            sock.setsockopt(zmq.XPUB_NODROP, 1)
        if kind == zmq.ROUTER:
            sock.setsockopt(zmq.ROUTER_HANDOVER, 1)  # a client that comes back under its name
        self._encrypt(sock)
        self._bind(sock, channel)
        return sock

    def _bind(self, sock: zmq.Socket[bytes], channel: str) -> None:
        address = self.connection.address(channel)
        try:
            sock.bind(address)
        except zmq.ZMQError as error:
            raise ConnectionFileInvalid(
                f"{address} cannot be had: {error.strerror}",
                hint="start the kernel again: others use that port",
            ) from error

    def _encrypt(self, sock: zmq.Socket[bytes]) -> None:
        public, secret = self.connection.curve_publickey, self.connection.curve_secretkey
        if public and secret:
            sock.curve_publickey, sock.curve_secretkey = public.encode(), secret.encode()
            sock.curve_server = True

    def named(self, channel: str) -> zmq.Socket[bytes]:
        sock: zmq.Socket[bytes] = getattr(self, channel)
        return sock

    def close(self) -> None:
        self._context.destroy(linger=LINGER)


def ports(connection: Connection) -> dict[str, Any]:
    return {f"{channel}_port": getattr(connection, f"{channel}_port") for channel in CHANNELS}
