"""Gathers the events of one execution into an `Output`, in bounded memory; what goes beyond is written to a file."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from mulligan.runtime.outcome import RECORDED, Output
from mulligan.runtime.transcript import Writing
from mulligan.sandbox.messages import Clear, Display, Error, Event, Result, Stream

#: characters kept of each stream: so many of its head, so many of its tail
HEAD = TAIL = 8 << 20
#: displays, and characters of them, that are kept: half of their head, half of their tail
DISPLAYS = 1000
DISPLAY_SIZE = 256 << 20


class Text:
    """The head and the tail of a text that arrives in pieces."""

    def __init__(self, name: str, whole: Writing) -> None:
        self._name, self._whole = name, whole
        self._head: list[str] = []
        self._tail: deque[str] = deque()
        self._head_size = self._tail_size = 0
        self._all = 0
        self.left_out = 0

    def add(self, piece: str) -> None:
        self._write(piece)
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

    def _write(self, piece: str) -> None:
        before, self._all = self._all, self._all + len(piece)
        if self._all > RECORDED:
            if before <= RECORDED:  # all of it is in the head still
                self._whole.add(self._name, "".join(self._head))
            self._whole.add(self._name, piece)

    def clear(self) -> None:
        self.__init__(self._name, self._whole)  # type: ignore[misc]

    def __str__(self) -> str:
        gap = f"\n[... {self.left_out:,} characters ...]\n" if self.left_out else ""
        return "".join(self._head) + gap + "".join(self._tail)


class Displays:
    """The head and the tail of what was shown besides text."""

    def __init__(self, whole: Writing) -> None:
        self._whole = whole
        self._head: list[tuple[Display, int]] = []
        self._tail: deque[tuple[Display, int]] = deque()
        self.size = self._tail_size = 0
        self.dropped = 0
        self._begun = False

    def add(self, display: Display) -> None:
        if self._begun:
            self._write(display)
        if display.update:
            self._update(display)
            return
        size = _size(display.data)
        if not self._tail and len(self._head) < DISPLAYS // 2 and self.size + size <= DISPLAY_SIZE // 2:
            self._head.append((display, size))
        else:
            self._make_room(size, display)
            if self.size + size > DISPLAY_SIZE:
                self.dropped += 1
                return
            self._tail.append((display, size))
            self._tail_size += size
        self.size += size

    def _make_room(self, size: int, newest: Display) -> None:
        """Drop the oldest of the tail where it has become too long."""
        full = len(self._tail) >= DISPLAYS // 2 or self._tail_size + size > DISPLAY_SIZE // 2
        if full and not self._begun:
            self._begun = True
            for each in (*self, newest):
                self._write(each)
        while self._tail and (len(self._tail) >= DISPLAYS // 2 or self._tail_size + size > DISPLAY_SIZE // 2):
            _, gone = self._tail.popleft()
            self._tail_size -= gone
            self.size -= gone
            self.dropped += 1

    def _update(self, display: Display) -> None:
        size = _size(display.data)
        for shown in (self._head, self._tail):
            for at, (old, before) in enumerate(shown):
                if old.display_id == display.display_id:
                    if self.size - before + size > DISPLAY_SIZE:
                        self.dropped += 1
                        continue
                    shown[at] = (display, size)
                    self.size += size - before
                    self._tail_size += size - before if shown is self._tail else 0

    def _write(self, display: Display) -> None:
        self._whole.add_display(
            {
                "data": display.data,
                "metadata": display.metadata,
                "display_id": display.display_id,
                "update": display.update,
            }
        )

    def __iter__(self) -> Iterator[Display]:
        yield from (display for shown in (self._head, self._tail) for display, _ in shown)


def _size(data: Mapping[str, Any]) -> int:
    """Characters of a bundle; more than is ever kept where it is nested as deep as can just be read."""
    try:
        return sum(len(each) if isinstance(each, str) else len(json.dumps(each)) for each in data.values())
    except RecursionError:
        return DISPLAY_SIZE + 1


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
    """A context manager: at its end the files of the transcript are closed."""

    def __init__(self, whole: Writing) -> None:
        self._whole = whole
        self._streams = {name: Text(f"{name}.txt", whole) for name in ("stdout", "stderr")}
        self._displays = Displays(whole)
        self._dropped = 0
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
                self._displays.add(event)
            case Result():
                self._keep(event)

    def _keep(self, result: Result) -> None:
        if _size(result.data) + self._displays.size > DISPLAY_SIZE:
            self._dropped += 1
            self._whole.add_display({"data": result.data, "metadata": result.metadata})
        else:
            self._result = result

    def _clear(self) -> None:
        self._clear_next = False
        for text in self._streams.values():
            text.clear()
        self._displays = Displays(self._whole)
        self._whole.clear()

    def error_of(self, replied: Error | None) -> Error | None:
        """The exception of an execution that replied with this one. Of a result whose repr failed the reply knows
        none, and what was shown does."""
        shown = self.error
        return shown if replied is None or (shown and replied.name == "NoneType") else replied

    def output(self) -> Output:
        out, err = self._streams["stdout"], self._streams["stderr"]
        return Output(
            stdout=str(out),
            stderr=str(err),
            result=self._result,
            displays=tuple(self._displays),
            left_out=out.left_out + err.left_out + self._displays.dropped + self._dropped,
            transcript=self._whole.close(),
        )

    def __enter__(self) -> Collector:
        return self

    def __exit__(self, *_: object) -> None:
        self._whole.close()
