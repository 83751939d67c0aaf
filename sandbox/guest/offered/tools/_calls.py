"""One call: a connection to the host's socket, a message there and its answer back. A failure is raised as the
exception that the host names."""

from __future__ import annotations

import builtins
import json
import socket
import struct
from typing import Any, NoReturn

from . import _values

SOCKET = "/run/mulligan/tools.sock"
_HEAD = struct.Struct("!II")
#: exceptions that were made after the host's, by name
raised: dict[str, type[Exception]] = {}


def call(name: str, arguments: dict[str, Any]) -> Any:
    __tracebackhide__ = True
    framed = _framed(name, arguments)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(SOCKET)
        try:
            sock.sendall(framed)
        except BrokenPipeError:
            pass  # it says why before it hangs up
        length, count = _HEAD.unpack(_exactly(sock, _HEAD.size, name))
        sizes = struct.unpack(f"!{count}I", _exactly(sock, 4 * count, name))
        text = _exactly(sock, length, name)
        parts = [_exactly(sock, size, name) for size in sizes]
    return _answer(text, parts)


async def call_async(name: str, arguments: dict[str, Any]) -> Any:
    __tracebackhide__ = True
    import asyncio

    framed = _framed(name, arguments)
    reader, writer = await asyncio.open_unix_connection(sock=await _connected())
    try:
        try:
            writer.write(framed)
            await writer.drain()
        except ConnectionError:
            pass
        length, count = _HEAD.unpack(await reader.readexactly(_HEAD.size))
        sizes = struct.unpack(f"!{count}I", await reader.readexactly(4 * count))
        text = await reader.readexactly(length)
        parts = [await reader.readexactly(size) for size in sizes]
    except asyncio.IncompleteReadError:
        raise _cut(name) from None
    finally:
        writer.close()
    return _answer(text, parts)


async def _connected() -> socket.socket:
    """A socket that does not wait says so where very many calls wait to be taken, and does not tell when they were."""
    import asyncio

    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    try:
        while True:
            try:
                sock.connect(SOCKET)
            except BlockingIOError:
                await asyncio.sleep(0.005)
            else:
                return sock
    except BaseException:
        sock.close()
        raise


def _framed(name: str, arguments: dict[str, Any]) -> bytes:
    __tracebackhide__ = True
    parts: list[bytes] = []
    try:
        packed = {key: _values.pack(value, parts) for key, value in arguments.items()}
    except TypeError as error:
        raise TypeError(f"{name}(): {error}") from None
    except RecursionError:
        raise TypeError(f"{name}(): an argument is nested too deep, or holds itself") from None
    text = json.dumps({"tool": name, "arguments": packed}).encode()
    sizes = struct.pack(f"!{len(parts)}I", *map(len, parts))
    return b"".join((_HEAD.pack(len(text), len(parts)), sizes, text, *parts))


def _exactly(sock: socket.socket, size: int, name: str) -> bytes:
    __tracebackhide__ = True
    data = sock.recv(size) if size else b""
    if len(data) == size:
        return data
    found = bytearray(data)
    while data and len(found) < size:
        data = sock.recv(min(size - len(found), 1 << 20))
        found += data
    if len(found) < size:
        raise _cut(name)
    return bytes(found)


def _cut(name: str) -> ConnectionError:
    return ConnectionError(f"the call of {name} was cut off: whether it did something is not known here")


def _answer(text: bytes, parts: list[bytes]) -> Any:
    __tracebackhide__ = True
    answer = json.loads(text)
    if "error" in answer:
        _fail(answer["error"])
    return _values.unpack(answer["result"], parts)


def _fail(told: dict[str, Any]) -> NoReturn:
    __tracebackhide__ = True
    name, text = told["name"], told["text"]
    found = getattr(builtins, name, None)
    if name in told["bases"] and isinstance(found, type) and issubclass(found, Exception):
        try:
            error = found(*(told["args"] or [text]))
        except Exception:
            error = None
        if error is not None and str(error) == text:
            raise error
    error = _made(name, told["bases"], told["args"] or [text])
    error.text = text
    raise error


def _made(name: str, bases: list[str], args: list[Any]) -> Any:
    """Of a class made after the host's: its name, and the first built-in exception that it is and that can be."""
    if name not in raised:
        for each in (*bases, "Exception"):
            base = getattr(builtins, each, Exception)
            kind = type(name, (base,), {"__str__": lambda self: self.text, "__module__": "tools", "text": ""})
            try:
                kind(*args)
            except TypeError:
                continue
            raised[name] = kind
            break
    try:
        return raised[name](*args)
    except TypeError:
        return raised[name]("")
