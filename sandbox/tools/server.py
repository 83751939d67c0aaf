"""Takes the calls that come from a sandbox, and has each looked after by a thread of its own.

A call is a connection: it begins with a message and ends with its answer, so nothing is shared across a fork, by
threads, or by an action and the next. Threads wait for calls together, and another one begins only where all are at
work: a call is not handed from one to the other, which would take as long as all the rest.
"""

from __future__ import annotations

import inspect
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from mulligan.sandbox.tools import failures, wire
from mulligan.sandbox.tools.bounds import Bounds
from mulligan.sandbox.tools.errors import BadArguments, Denied, Garbled, Gone, Refused, Unpackable
from mulligan.sandbox.tools.overseer import Call, Ended, Overseer, Recorded
from mulligan.sandbox.tools.pending import Pending, Reason, Watch
from mulligan.sandbox.tools.runner import Runner
from mulligan.sandbox.tools.tool import Offer
from mulligan.sandbox.tools.values import Unpacking, pack

#: threads that wait for calls
_WAITING = 2
#: seconds until one is taken again where the process had no descriptor left
_LATER = 0.1
_WHY = {
    "gone": "whoever had called it waits no more",
    "late": "its time ran out",
    "cut": "the session went on without it",
}


class ToolServer:
    """One session's. Every method may be called from any thread; `close` more than once."""

    def __init__(
        self,
        offer: Offer,
        overseer: Overseer,
        runner: Runner | None = None,
        bounds: Bounds | None = None,
        name: str = "mulligan-tool",
    ) -> None:
        """`name` is that of its threads."""
        self._name = name
        self.described = offer.described
        self._tools, self._overseer = offer.tools, overseer
        self._runner, self._bounds = runner or Runner(), bounds or Bounds()
        self._watch = Watch()
        self._listener: socket.socket | None = None
        self._threads = self._idle = 0
        self._lock = threading.Lock()
        self._wires: set[socket.socket] = set()

    def serve(self, listener: socket.socket) -> None:
        """Take calls from here from now on, and from nowhere else. Returns at once."""
        self.hang_up()
        with self._lock:
            self._end()
            self._listener = listener
            for _ in range(_WAITING):
                self._begin(listener)

    def hang_up(self) -> None:
        """Cut every call, and those that nobody has taken yet."""
        self._watch.cut()
        with self._lock:
            wires = tuple(self._wires)
        for sock in wires:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with self._lock:
            self._end()
        self._watch.close()
        self.hang_up()
        self._runner.close()

    def _end(self) -> None:
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(
                    socket.SHUT_RDWR
                )  # whoever waits on it is woken by that, not by its close
            self._listener.close()
            self._listener = None

    # -- threads -------------------------------------------------------------------------------------------------

    def _begin(self, listener: socket.socket) -> None:
        """With the lock held."""
        thread = threading.Thread(target=self._attend, args=(listener,), name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread is left: those that are at work come back
            return
        self._threads += 1
        self._idle += 1

    def _attend(self, listener: socket.socket) -> None:
        try:
            while self._take(listener):
                pass
        finally:
            with self._lock:
                self._threads -= 1

    def _take(self, listener: socket.socket) -> bool:
        """One call; whether this thread is to wait for another."""
        try:
            sock, _ = listener.accept()
        except OSError:
            if self._listener is listener:
                time.sleep(_LATER)
                return True
            with self._lock:
                self._idle -= 1
            return False
        with self._lock:
            self._idle -= 1
            self._wires.add(sock)
            if self._idle == 0 and self._threads < self._bounds.calls and self._listener is listener:
                self._begin(listener)
        try:
            self._look_after(sock)
        finally:
            with self._lock:
                self._wires.discard(sock)
                stays = self._idle < _WAITING and self._listener is listener
                self._idle += stays
            sock.close()
        return stays

    # -- a call --------------------------------------------------------------------------------------------------

    def _look_after(self, sock: socket.socket) -> None:
        with suppress(Gone):
            try:
                call = self._read(sock)
                admitted = self._admit(call)
            except _NotMade as error:
                return self._say(sock, {"error": error.failure}, ())
            except Exception as error:  # of a validator of the embedder's: it ends no thread of ours
                return self._say(sock, {"error": self._presented(error)}, ())
            if isinstance(admitted, Recorded):
                return self._say(sock, admitted.answer, admitted.parts)
            self._make(sock, call, admitted)

    def _say(self, sock: socket.socket, answer: Any, parts: tuple[bytes, ...]) -> None:
        wire.send(sock, wire.frame(answer, parts), self._bounds.quiet)

    def _read(self, sock: socket.socket) -> Call:
        """Raises _NotMade, Gone."""
        try:
            text, parts = wire.receive(sock, self._bounds)
            message = Unpacking(parts).read(text)
        except Garbled as error:
            raise _NotMade("RuntimeError", f"the call could not be read: {error}") from error
        name, given = (
            (message.get("tool"), message.get("arguments")) if isinstance(message, dict) else (None, None)
        )
        if not isinstance(name, str) or not isinstance(given, dict):
            raise _NotMade("RuntimeError", "the call could not be read: it names no tool, or no arguments")
        tool = self._tools.get(name)
        if tool is None:
            raise _NotMade(
                "NameError", f"there is no tool of that name; there are {', '.join(self._tools)}"[:2000]
            )
        try:
            bound = tool.check(given)
            kept: list[bytes] = []
            plain = pack(dict(bound.arguments), kept)
        except BadArguments as error:
            raise _NotMade("TypeError", str(error)[:4000]) from error
        except Unpackable as error:
            raise _NotMade("TypeError", f"{name}(): {error} cannot be recorded") from error
        given, gone = tuple(bound.arguments.items()), partial(wire.hung_up, sock)
        return Call(tool=tool, bound=bound, given=given, plain=plain, parts=tuple(kept), gone=gone)

    def _admit(self, call: Call) -> int | Recorded:
        try:
            return self._overseer.admit(call)
        except Denied as error:
            raise _NotMade("PermissionError", str(error)) from error
        except Refused as error:
            raise _NotMade("RuntimeError", str(error)) from error
        except Exception as error:
            raise _NotMade(
                "RuntimeError", f"{call.tool.name} could not be recorded, so it was not called"
            ) from error

    def _make(self, sock: socket.socket, call: Call, number: int) -> None:
        """Raises Gone."""
        left = self._leaving(call, number)
        pending = Pending(sock, call.tool.said.timeout or self._bounds.wall, left)
        self._watch.add(pending)
        try:
            ended = self._run(call, pending)
        finally:
            self._watch.remove(pending)
        if not pending.settle():
            return self._overseer.ended(number, call, replace(ended, late=True))
        self._overseer.ended(number, call, ended)
        self._say(sock, ended.answer, ended.parts)

    def _run(self, call: Call, pending: Pending) -> Ended:
        try:
            result = call.tool.function(*call.bound.args, **call.bound.kwargs)
            if inspect.iscoroutine(result):
                pending.future = self._runner.begin(result)
                result = pending.future.result()
        except BaseException as error:  # also SystemExit: a tool ends no thread of ours
            return self._raised(error, pending)
        try:
            checked = call.tool.check_result(result)
        except Exception as error:
            return replace(self._raised(error, pending), returned=True, result=result)
        return self._returned(checked, pending)

    def _returned(self, result: Any, pending: Pending) -> Ended:
        parts: list[bytes] = []
        made: dict[str, Any] = {"returned": True, "result": result}
        try:
            answer = {"result": pack(result, parts)}
            framed = wire.frame(answer, parts)
        except Exception as error:  # Unpackable, or whatever the value's own code raises
            return replace(
                self._raised(TypeError(f"its result cannot be handed over: {error}"), pending), **made
            )
        if len(framed) > self._bounds.result:
            why = f"its result is larger than {self._bounds.result:,} bytes"
            return replace(self._raised(ValueError(why), pending), **made)
        return Ended(how="returned", seconds=pending.seconds, answer=answer, parts=tuple(parts), **made)

    def _raised(self, error: BaseException, pending: Pending) -> Ended:
        failure = self._presented(error)
        why = f"{failure['name']}: {failure['text']}"
        return Ended(how="raised", seconds=pending.seconds, answer={"error": failure}, why=why)

    def _presented(self, error: BaseException) -> failures.Failure:
        return failures.presented(error, self._overseer.without_secrets)

    def _leaving(self, call: Call, number: int) -> Callable[[Pending, Reason], None]:
        def leave(pending: Pending, why: Reason) -> None:
            cancelled = pending.future is not None and pending.future.cancel()
            text = f"{call.tool.name}: {_WHY[why]}, and it may go on"
            name, base = ("TimeoutError",) * 2 if why == "late" else ("ConnectionError",) * 2
            answer = {"error": failures.of_ours(name, text, base)}
            ended = Ended(
                how="cancelled" if cancelled else "left",
                seconds=pending.seconds,
                answer=answer,
                why=_WHY[why],
            )
            self._overseer.ended(number, call, ended)
            with suppress(Gone):
                self._say(pending.sock, answer, ())

        return leave


class _NotMade(Exception):
    """A call that is answered without its function."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.failure = failures.of_ours(name, text, name)
