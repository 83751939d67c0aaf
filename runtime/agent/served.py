"""A model behind a server, by way of litellm, which speaks in a process apart (speaking.py).

One such process serves all models of this one. It is started when it is first needed, and again where it was lost; it
ends with its input, and so with us.
"""

from __future__ import annotations

import atexit
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from pathlib import Path
from time import time
from typing import Any

import mulligan
from mulligan.runtime.agent.errors import ModelFailed, ModelUnusable, PromptTooLong
from mulligan.runtime.agent.model import Bounds, Message, Reply
from mulligan.sandbox.printable import one_line

#: seconds that a reply may take when nothing else bounds it, and that its process may take beyond
PATIENCE, SLACK = 600.0, 10.0
#: seconds that litellm may take to be imported, on a busy machine
STARTING = 120.0

_BOOT = """
import sys, types
sys.modules["mulligan"] = types.ModuleType("mulligan")
sys.modules["mulligan"].__path__ = [sys.argv[1]]
from mulligan.runtime.agent.speaking import main
main()
"""

Said = dict[str, Any]


class Served:
    """`name` is as litellm has it, such as "gpt-4o", "anthropic/claude-sonnet-4-5" or "openai/NAME" for any server that
    speaks OpenAI's protocol at `api_base`. Keys come from the environment, or from `api_key`. `sees` whether images are
    put before it: None asks litellm. `options` are what litellm.completion takes besides."""

    def __init__(
        self,
        name: str,
        *,
        api_base: str | None = None,
        api_key: str | None = None,
        stream: bool = True,
        sees: bool | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self._sees = sees
        self._order: Said = {**(options or {}), "model": name, "stream": stream}
        if api_base is not None:
            self._order |= {"api_base": api_base, "api_key": api_key or "none"}
        elif api_key is not None:
            self._order["api_key"] = api_key
        self._asked: _Asked | None = None

    @property
    def sees(self) -> bool:
        if self._sees is None:
            said = _process().ask({"model": self.name, "know": True}).wait(STARTING)
            self._sees = bool(said.get("reply", {}).get("sees"))
        return self._sees

    def reply(self, messages: Sequence[Message], bounds: Bounds, on_piece: Callable[[str], None]) -> Reply:
        seconds = PATIENCE if bounds.seconds is None else min(PATIENCE, bounds.seconds)
        order = {**self._order, "messages": list(messages), "stop": list(bounds.stops), "seconds": seconds}
        if bounds.tokens is not None:
            order["max_tokens"] = min(bounds.tokens, order.get("max_tokens", bounds.tokens))
        asked = self._asked = _process().ask(order)
        try:
            return self._receive(asked, seconds + SLACK, on_piece)
        finally:
            self._asked = None
            asked.drop()

    def give_up(self) -> None:
        if (asked := self._asked) is not None:
            asked.said.put({"failed": {"kind": "given up", "said": "it was given up"}})

    def _receive(self, asked: _Asked, seconds: float, on_piece: Callable[[str], None]) -> Reply:
        while True:
            said = asked.wait(seconds)
            if (piece := said.get("piece")) is not None:
                on_piece(piece)
            elif (failed := said.get("failed")) is not None:
                raise _failure(self.name, failed)
            elif (reply := said.get("reply")) is not None:
                return _reply(reply)


class _Asked:
    """One request, and what is said of it."""

    def __init__(self, process: _Process, number: int) -> None:
        self._process, self._number = process, number
        self.said: queue.SimpleQueue[Said] = queue.SimpleQueue()

    def wait(self, seconds: float) -> Said:
        try:
            return self.said.get(timeout=seconds + (0 if self._process.spoke else STARTING))
        except queue.Empty:
            return {"failed": {"kind": "passing", "said": f"no reply within {seconds:g} s"}}

    def drop(self) -> None:
        self._process.drop(self._number)


class _Process:
    """The process apart. Any thread may call."""

    def __init__(self) -> None:
        self.spoke = False
        self._lock = threading.Lock()
        self._waiting: dict[int, _Asked] = {}
        self._number = 0
        self._popen = subprocess.Popen(
            [sys.executable, "-P", "-c", _BOOT, str(Path(mulligan.__file__).parent)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C is for us; it ends with its input
        )
        self._reader = threading.Thread(target=self._read, name="mulligan-model", daemon=True)
        self._reader.start()

    @property
    def lives(self) -> bool:
        return self._popen.poll() is None

    def ask(self, order: Said) -> _Asked:
        with self._lock:
            self._number += 1
            asked = self._waiting[self._number] = _Asked(self, self._number)
            self._write({"id": self._number, "ask": order})
        return asked

    def drop(self, number: int) -> None:
        with self._lock:
            if self._waiting.pop(number, None) is not None:
                self._write({"id": number, "drop": True})

    def close(self) -> None:
        self._popen.kill()
        self._reader.join()
        with suppress(OSError):
            self._popen.communicate()

    def _write(self, said: Said) -> None:
        """One that is gone is told by the reader, to whoever waits."""
        assert self._popen.stdin is not None
        with suppress(OSError, ValueError):
            self._popen.stdin.write(json.dumps(said).encode() + b"\n")
            self._popen.stdin.flush()

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            self.spoke = True
            try:
                said = json.loads(line)
            except ValueError:  # the end of a line that was being written when it died
                continue
            with self._lock:
                asked = self._waiting.get(said["id"])
                if "piece" not in said and "thought" not in said:
                    self._waiting.pop(said["id"], None)
            if asked is not None:
                asked.said.put(said)
        with self._lock:
            for asked in self._waiting.values():
                asked.said.put({"failed": {"kind": "passing", "said": "the process that asks it ended"}})
            self._waiting.clear()


_one: _Process | None = None
_starting = threading.Lock()


def _process() -> _Process:
    global _one
    if find_spec("litellm") is None:
        raise ModelUnusable("litellm is not installed", hint="pip install 'mulligan[agent]'")
    with _starting:
        if _one is None:
            atexit.register(_end)
        if _one is None or not _one.lives:
            _end()
            _one = _Process()
        return _one


def _end() -> None:
    global _one
    if _one is not None:
        _one.close()
        _one = None


def get_ready() -> None:
    """Start the process, so that it is there when it is needed. Raises ModelUnusable."""
    _process()


def _reply(said: Said) -> Reply:
    finish = "calls" if said["calls"] and not said["text"] else said["finish"]
    return Reply(
        text=said["text"],
        finish=finish,
        reasoning=said["reasoning"],
        tokens=said["tokens"],
        cost=said["cost"],
    )


def _failure(model: str, failed: Said) -> ModelFailed | ModelUnusable:
    """What its server or litellm says is text of others: one printable line."""
    kind, said = failed["kind"], one_line(failed["said"])[:500]
    if kind == "unusable":
        return ModelUnusable(
            f"{model} cannot be asked: {said}", hint="see the key, the name of the model and --api-base"
        )
    if kind == "long":
        return PromptTooLong(f"the conversation is too long for {model}: {said}")
    status = f" ({failed['status']})" if failed.get("status") else ""
    return ModelFailed(
        f"{model} failed{status}: {said}", passing=kind == "passing", after=_seconds(failed.get("after"))
    )


def _seconds(after: object) -> float | None:
    """A Retry-After, in seconds or as a date."""
    if not isinstance(after, str):
        return None
    with suppress(ValueError):
        return max(0.0, float(after))
    with suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(after).timestamp() - time())
    return None
