"""Taking calls back: each tool's own inverse, called when the step of the call is undone, the newest call first.

An inverse is on record before it is called, and what came of it after. It is called once: one that raised, or did not
end in time, may have done a part of what it does, so it is not tried again, and the call stands.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mulligan.runtime.effects import Effects
from mulligan.sandbox.errors import MulliganError
from mulligan.sandbox.printable import one_line
from mulligan.sandbox.tools.failures import presented
from mulligan.sandbox.tools.runner import Runner

#: calls that can be taken back, of which what that takes is kept; of those beyond, the ledger has what they were
KEPT = 10_000


@dataclass(frozen=True, slots=True)
class _Inverse:
    what: str
    job: Callable[[], Any]
    seconds: float


class Inverses:
    """Of one session; `add` from any thread, the rest on the session's."""

    def __init__(self, effects: Effects, runner: Runner, without: Callable[[str], str], name: str) -> None:
        """`name` is that of the threads that inverses are called on."""
        self._name = name
        self._effects, self._runner, self._without = effects, runner, without
        self._kept: dict[int, _Inverse] = {}
        self._lock = threading.Lock()

    def add(self, number: int, what: str, job: Callable[[], Any], seconds: float) -> None:
        with self._lock:
            if len(self._kept) < KEPT:
                self._kept[number] = _Inverse(what, job, seconds)

    def take_back(self, since: int) -> tuple[list[str], list[str]]:
        """The calls with a number beyond `since`. In words: those that were taken back, and those that could not be."""
        with self._lock:
            numbers = sorted((number for number in self._kept if number > since), reverse=True)
            due = [(number, self._kept.pop(number)) for number in numbers]
        back: list[str] = []
        failed: list[str] = []
        for number, inverse in due:
            if why := self._take_back(number, inverse):
                failed.append(f"{inverse.what} was to be taken back, and that failed: {why}")
            else:
                back.append(inverse.what)
        return back, failed

    def _take_back(self, number: int, inverse: _Inverse) -> str:
        """Why it failed, or ""."""
        try:
            self._effects.note("tool_undoing", number, {})
        except (MulliganError, ValueError):
            return "it could not be recorded, so it was not tried"
        why = self._call(inverse)
        if not why:
            self._effects.change(number, taken_back=True)
        with suppress(MulliganError, ValueError):
            self._effects.note("tool_undone", number, {"why": why})
        return why

    def _call(self, inverse: _Inverse) -> str:
        """Why it failed, or ""."""
        done: Future[Any] = Future()
        thread = threading.Thread(target=self._run, args=(inverse.job, done), name=self._name, daemon=True)
        thread.start()
        try:
            done.result(inverse.seconds)
        except TimeoutError:
            if not done.done():
                return f"it did not end within {inverse.seconds:g} s, and may go on"
        except BaseException:
            pass
        error = done.exception(0)
        if error is None:
            return ""
        told = presented(error, self._without)
        return one_line(f"{told['name']}: {told['text']}")[:500]

    def _run(self, job: Callable[[], Any], done: Future[Any]) -> None:
        try:
            result = job()
            if inspect.iscoroutine(result):
                result = self._runner.begin(result).result()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(result)
