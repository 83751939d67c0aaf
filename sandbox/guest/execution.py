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
from .signing import DELIMITER

Send = Callable[[int, list[bytes]], None]


def parse(frames: list[bytes]) -> tuple[list[bytes], dict[str, Any]]:
    """The identities and the message, as ipykernel hands them about, but with times as text."""
    at = frames.index(DELIMITER)
    header, parent, metadata, content = map(json.loads, frames[at + 2 : at + 6])
    message = {"parent_header": parent, "metadata": metadata, "content": content, "buffers": frames[at + 6 :]}
    return frames[:at], {
        "header": header,
        "msg_id": header["msg_id"],
        "msg_type": header["msg_type"],
        **message,
    }


async def execute(kernel: Any, send: Send, idents: list[bytes], request: dict[str, Any]) -> None:
    """Run the code of an execute_request and answer it, whatever becomes of it."""
    from jupyter_client.session import json_packer

    kernel.set_parent(idents, request, channel="shell")
    pid = os.getpid()
    header, content = json.dumps(request["header"]).encode(), request["content"]
    shown = {"code": content["code"], "execution_count": kernel.execution_count}
    send(channel.BEGIN, [header] if content.get("silent") else [header, json.dumps(shown).encode()])
    kernel.pre_handler_hook()
    try:
        reply = await _run(kernel, content, request["metadata"].get("cellId"))
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except (Exception, KeyboardInterrupt, asyncio.CancelledError) as error:
        reply = {"status": "error", "ename": type(error).__name__, "evalue": str(error), "traceback": []}
    finally:
        kernel.post_handler_hook()
    if os.getpid() != pid:
        os._exit(_status(reply))  # user code forked, and its child came back to here
    try:
        send(channel.END, [header, json_packer(reply), *idents])
    except channel.TooLarge as error:
        reply = {"status": "error", "ename": type(error).__name__, "evalue": str(error), "traceback": []}
        send(channel.END, [header, json_packer(reply), *idents])
    if reply["status"] == "error" and content.get("stop_on_error", True) and not content.get("silent"):
        kernel._abort_queues()


async def _run(kernel: Any, content: dict[str, Any], cell: str | None) -> dict[str, Any]:
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
    if reply["status"] != "error":
        return 0
    value = str(reply.get("evalue", ""))
    if reply.get("ename") != "SystemExit":
        return 1
    return int(value) & 0xFF if value.lstrip("-").isdecimal() else int(value not in ("", "None"))
