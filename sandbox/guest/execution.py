"""An execute request on its way to ipykernel's `do_execute` and back, without ipykernel's dispatch around it.

The first code after a fork pays for each page of memory that it writes, and the dispatch, which makes, packs and
sends four messages, writes two hundred of them: as much as the small action that it is made for. So the worker sends
two packets, when the code begins and when it has ended, and the supervisor, which does not fork, makes the Jupyter
messages of them. All other requests take ipykernel's own way.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from . import channel
from .plain import Plain
from .signing import DELIMITER

Send = Callable[[int, list[bytes]], None]

#: the first value of a JSON text, and where it ends; without what `json.loads` has around it
_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_quoted = json.encoder.encode_basestring_ascii


class Header(dict[str, Any]):
    """Of a request; `raw` is its JSON, as it came."""

    raw = b"{}"


def parse(frames: list[bytes]) -> tuple[list[bytes], dict[str, Any]]:
    """The identities and the message, as ipykernel hands them about, but with times as text."""
    at = frames.index(DELIMITER)
    header, parent, metadata, content = (
        {} if frame == b"{}" else _scan(frame.decode().lstrip(), 0)[0] for frame in frames[at + 2 : at + 6]
    )
    header = Header(header)
    header.raw = frames[at + 2]
    message = {"parent_header": parent, "metadata": metadata, "content": content, "buffers": frames[at + 6 :]}
    return frames[:at], {
        "header": header,
        "msg_id": header["msg_id"],
        "msg_type": header["msg_type"],
        **message,
    }


async def execute(
    kernel: Any, plain: Plain, send: Send, idents: list[bytes], request: dict[str, Any]
) -> None:
    """Run the code of an execute_request and answer it, whatever becomes of it."""
    kernel.set_parent(idents, request, channel="shell")
    pid = os.getpid()
    header, content = request["header"].raw, request["content"]
    send(channel.BEGIN, [header] if content.get("silent") else [header, _shown(kernel, content["code"])])
    kernel.pre_handler_hook()
    try:
        reply, packed = await _run(kernel, plain, content, request["metadata"].get("cellId"))
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except (Exception, KeyboardInterrupt, asyncio.CancelledError) as error:
        reply, packed = _failure(error), b""
    finally:
        kernel.post_handler_hook()
    if os.getpid() != pid:
        os._exit(_status(reply))  # user code forked, and its child came back to here
    try:
        send(channel.END, [header, packed or _pack(reply), *idents])
    except channel.TooLarge as error:
        reply = _failure(error)
        send(channel.END, [header, _pack(reply), *idents])
    failed = reply.get("status") == "error"
    if failed and content.get("stop_on_error", True) and not content.get("silent"):
        kernel._abort_queues()


def _shown(kernel: Any, code: str) -> bytes:
    """The content of an execute_input."""
    return b'{"code": %s, "execution_count": %d}' % (_quoted(code).encode(), kernel.execution_count)


def _failure(error: BaseException) -> dict[str, Any]:
    return {"status": "error", "ename": type(error).__name__, "evalue": str(error), "traceback": []}


def _pack(reply: dict[str, Any]) -> bytes:
    from jupyter_client.session import json_packer

    return json_packer(reply)


async def _run(
    kernel: Any, plain: Plain, content: dict[str, Any], cell: str | None
) -> tuple[dict[str, Any], bytes]:
    """The reply; packed already where it says nothing else than that all went well."""
    if plain.takes(content, cell):
        kernel._forward_input(content.get("allow_stdin", False))
        try:
            reply, packed = plain.run(content["code"])
        finally:
            kernel._restore_input()
        if reply is not None:
            return reply, packed
    return await _run_by_ipython(kernel, content, cell), b""


async def _run_by_ipython(kernel: Any, content: dict[str, Any], cell: str | None) -> dict[str, Any]:
    silent = bool(content.get("silent"))
    reply: dict[str, Any] = await kernel.do_execute(
        content["code"],
        silent,
        content.get("store_history", not silent),
        content.get("user_expressions", {}),
        content.get("allow_stdin", False),
        **({"cell_id": cell} if cell else {}),
    )
    return reply


def _status(reply: dict[str, Any]) -> int:
    """What Python would exit with after this."""
    if reply.get("status") != "error":
        return 0
    value = str(reply.get("evalue", ""))
    if reply.get("ename") != "SystemExit":
        return 1
    return int(value) & 0xFF if value.lstrip("-").isdecimal() else int(value not in ("", "None"))
