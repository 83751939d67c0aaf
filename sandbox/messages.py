"""Bytes from the guest become objects here and nowhere else: JSON to frozen values, checked, bounded.

The supervisor signs everything that leaves the sandbox, but what it signs was written by hostile code: any
field may be missing, of another type, nested a million deep. What cannot be read is dropped, with a count.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mulligan.sandbox.printable import printable

Json = Any


@dataclass(frozen=True, slots=True)
class Stream:
    """Text on `name`, "stdout" or "stderr"."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Display:
    """A MIME bundle: `data` maps a media type to text, or to base64 text for binary types. `update` says that it
    replaces what was shown under `display_id`."""

    data: Mapping[str, Json]
    metadata: Mapping[str, Json] = field(default_factory=dict)
    display_id: str | None = None
    update: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """The value of an action's last expression, as a MIME bundle."""

    data: Mapping[str, Json]
    metadata: Mapping[str, Json] = field(default_factory=dict)
    execution_count: int = 0


@dataclass(frozen=True, slots=True)
class Error:
    """An exception that left the action: class name, message, traceback lines."""

    name: str
    value: str
    traceback: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Clear:
    wait: bool = False


Event = Stream | Display | Result | Error | Clear


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message: what kind, which request it answers, what it says. `packed` is the content as it came, `metadata`
    likewise."""

    kind: str
    parent: str
    content: Mapping[str, Json]
    packed: bytes = b"{}"
    metadata: bytes = b"{}"
    buffers: tuple[bytes, ...] = ()


def envelope(
    header: bytes,
    parent: bytes,
    content: bytes,
    metadata: bytes = b"{}",
    buffers: tuple[bytes, ...] = (),
) -> Envelope | None:
    """Read the JSON frames of a Jupyter message whose signature was checked; None when they make no sense, or would
    become objects many times their size here."""
    if max(map(_pieces, (header, parent, content))) > MOST_PIECES:
        return None
    try:
        head, body, above = json.loads(header.decode()), json.loads(content.decode()), _parent(parent)
    except (ValueError, RecursionError):
        return None
    if not (isinstance(head, dict) and isinstance(body, dict)) or above is None:
        return None
    return Envelope(_text(head.get("msg_type")), above, body, content, metadata, buffers)


def _parent(header: bytes) -> str | None:
    """The id in the header of a request; None when it is none."""
    return _read_parent(header) if len(header) > _USUAL else _known_parent(header)


def _read_parent(header: bytes) -> str | None:
    above = json.loads(header.decode())
    return _text(above.get("msg_id")) if isinstance(above, dict) else None


#: bytes of a header as ours are: it comes again with all that answers one request
_USUAL = 1000
_known_parent = functools.lru_cache(maxsize=4)(_read_parent)

#: values that one JSON text may hold: each becomes an object of some hundred bytes
MOST_PIECES = 1_000_000


def _pieces(text: bytes) -> int:
    """At most so many values; looked at only in texts that are long enough to matter."""
    return 0 if len(text) < MOST_PIECES else text.count(b",") + text.count(b"[") + text.count(b"{")


def unreadable(size: int) -> Stream:
    """What takes the place of a message that could not be read."""
    return Stream("stderr", f"[a message of {size:,} bytes could not be read]\n")


def event(message: Envelope) -> Event | None:
    """The output event in a message of the iopub channel; None when it is none."""
    content = message.content
    match message.kind:
        case "stream":
            return Stream(
                "stderr" if content.get("name") == "stderr" else "stdout", _text(content.get("text"))
            )
        case "display_data" | "update_display_data":
            transient = _object(content.get("transient"))
            shown = transient.get("display_id")
            return Display(
                _object(content.get("data")),
                _object(content.get("metadata")),
                shown if isinstance(shown, str) else None,
                message.kind == "update_display_data",
            )
        case "execute_result":
            count = content.get("execution_count")
            return Result(
                _object(content.get("data")),
                _object(content.get("metadata")),
                count if isinstance(count, int) else 0,
            )
        case "error":
            return error(content)
        case "clear_output":
            return Clear(bool(content.get("wait")))
    return None


def error(content: Mapping[str, Json]) -> Error:
    """The error in an `error` message or in an execute_reply."""
    trace = content.get("traceback")
    lines = tuple(_text(line) for line in trace) if isinstance(trace, list) else ()
    return Error(_text(content.get("ename")), _text(content.get("evalue")), lines)


def out_of_reach(seen: Mapping[str, Json], said: Mapping[str, Json]) -> tuple[str, ...]:
    """What the supervisor has seen of a worker that a fork does not carry, in words. The names of threads come from
    the worker and are only decoration."""
    if "unseen" in seen:
        return strings([seen["unseen"]])
    named = strings(said.get("threads"))
    # A worker that names too many threads only makes the list longer; one that hides some is still counted.
    unnamed = max(0, number(seen.get("threads")) - len(named) - number(seen.get("pool_threads")))
    stands = [f"thread {thread} does not come back" for thread in named]
    if unnamed:
        stands.append(f"{unnamed} more thread(s) do not come back")
    stands += [f"{count} {words}" for what, words in _COUNTED.items() if (count := number(seen.get(what)))]
    stands += [
        f"{path}: deleted while open; its contents are not kept" for path in strings(seen.get("deleted"))
    ]
    stands += [f"shared memory ({path})" for path in strings(seen.get("shared_memory"))]
    return tuple(stands)


_COUNTED = {
    "sockets": "socket(s): the other end keeps what was sent",
    "pipes": "end(s) of pipes: what is in them is shared with later states",
    "eventpoll": "epoll(s): what they watch is shared with later states",
    "eventfd": "eventfd(s): their count is shared with later states",
    "timerfd": "timerfd(s): they run on through later states",
    "timers": "timer(s) of timer_create: they do not come back, and run as long as one goes forward",
    "signalfd": "signalfd(s), shared with later states",
    "inotify": "inotify queue(s), shared with later states",
    "other": "descriptor(s) of another kind, shared with later states",
    "devices": "device(s): what they hold (a GPU's memory, say) is not kept",
}


def strings(value: Json, most: int = 100) -> tuple[str, ...]:
    """A list of words from the guest, to be shown: bounded, printable; anything else in it is left out."""
    if not isinstance(value, list):
        return ()
    return tuple(printable(_text(item[:1000])) for item in value[:most] if isinstance(item, str))


def paths(value: Json, most: int = 1000) -> tuple[bytes, ...]:
    """A list of paths, as bytes. They are hints of what to look at, never opened."""
    if not isinstance(value, list):
        return ()
    return tuple(_bytes(item[:4096]) for item in value[:most] if isinstance(item, str))


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def number(value: Json) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0


def _text(value: Json) -> str:
    """A string that can be encoded: lone surrogates, which JSON may carry, become U+FFFD."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _object(value: Json) -> Mapping[str, Json]:
    return (
        {key: item for key, item in value.items() if isinstance(key, str)} if isinstance(value, dict) else {}
    )
