"""Gathers the events of one execution into an `Output`, in bounded memory."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from typing import Any

from mulligan.runtime.outcome import Output
from mulligan.sandbox.messages import Clear, Display, Error, Event, Result, Stream

#: characters kept of each stream: so many of its head, so many of its tail
HEAD = TAIL = 8 << 20
DISPLAYS = 1000
DISPLAY_SIZE = 256 << 20


class Text:
    """The head and the tail of a text that arrives in pieces."""

    def __init__(self) -> None:
        self._head: list[str] = []
        self._tail: deque[str] = deque()
        self._head_size = self._tail_size = 0
        self.left_out = 0

    def add(self, piece: str) -> None:
        room = HEAD - self._head_size
        if room > 0:
            self._head.append(piece[:room])
            self._head_size += len(self._head[-1])
            piece = piece[room:]
        if piece:
            self._tail.append(piece)
            self._tail_size += len(piece)
            while self._tail_size - len(self._tail[0]) >= TAIL:
                dropped = len(self._tail.popleft())
                self._tail_size -= dropped
                self.left_out += dropped

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]

    def __str__(self) -> str:
        gap = f"\n[... {self.left_out:,} characters ...]\n" if self.left_out else ""
        return "".join(self._head) + gap + "".join(self._tail)


def _bounded(error: Error) -> Error:
    most = 1 << 20
    trace = tuple(line[:most] for line in error.traceback[:1000])
    while sum(map(len, trace)) > 4 * most:
        trace = trace[: len(trace) // 2]
    return Error(error.name[:1000], error.value[:most], trace)


class Stray:
    """Output that came while nothing ran, kept for the next action within bounds."""

    MOST = 1 << 20

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._size = self._dropped = 0

    def add(self, event: Event) -> None:
        size = len(event.text) if isinstance(event, Stream) else 1000
        if not isinstance(event, Stream) or self._size + size > self.MOST:
            self._dropped += 1
            return
        self._size += size
        self._events.append(event)

    def take(self) -> list[Event]:
        """What came, and begin anew."""
        events, dropped = self._events, self._dropped
        self.__init__()  # type: ignore[misc]
        if dropped:
            events.append(Stream("stderr", f"[{dropped:,} outputs between actions were left out]\n"))
        return events


class Collector:
    def __init__(self) -> None:
        self._streams = {"stdout": Text(), "stderr": Text()}
        self._displays: list[Display] = []
        self._size = self._dropped = 0
        self._result: Result | None = None
        self._clear_next = False
        self.error: Error | None = None

    def add(self, event: Event) -> None:
        match event:
            case Clear(wait=wait):
                self._clear_next = wait
                if not wait:
                    self._clear()
                return
            case Error():
                self.error = _bounded(event)
                return
        if self._clear_next:
            self._clear()
        match event:
            case Stream(name=name, text=text):
                self._streams[name].add(text)
            case Display():
                self._show(event)
            case Result() if self._fits(event.data):
                self._result = event

    def _show(self, display: Display) -> None:
        if not self._fits(display.data):
            return
        if display.update:
            for at, shown in enumerate(self._displays):
                if shown.display_id == display.display_id:
                    self._displays[at] = display
        elif len(self._displays) < DISPLAYS:
            self._displays.append(display)
        else:
            self._dropped += 1

    def _fits(self, data: Mapping[str, Any]) -> bool:
        """Whether there is room for one more bundle; what was replaced has been counted too."""
        try:
            size = sum(
                len(text) if isinstance(text, str) else len(json.dumps(text)) for text in data.values()
            )
        except RecursionError:  # nested as deep as can just be read
            size = DISPLAY_SIZE + 1
        if self._size + size > DISPLAY_SIZE:
            self._dropped += 1
            return False
        self._size += size
        return True

    def _clear(self) -> None:
        self._clear_next = False
        for text in self._streams.values():
            text.clear()
        self._displays, self._size = [], 0

    def output(self) -> Output:
        out, err = self._streams["stdout"], self._streams["stderr"]
        return Output(
            stdout=str(out),
            stderr=str(err),
            result=self._result,
            displays=tuple(self._displays),
            left_out=out.left_out + err.left_out + self._dropped,
        )
