"""What the kernel says of code that is only being written: how it goes on, what a name stands for, whether it is whole,
and which variables there are.

None of it is a step. The kernel may run code for it all the same (a property that is looked at, say), and what that
does belongs to the next step. So each has an end: code that does not answer in time is interrupted, and killed where
it does not obey, as an action would be. What is answered was written by code in the sandbox: it is checked, bounded
and made printable here.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

from mulligan.sandbox.client import Exchange, Request
from mulligan.sandbox.messages import Envelope, Stream, event, number
from mulligan.sandbox.printable import one_line, printable

if TYPE_CHECKING:
    from mulligan.runtime.story import Story

#: seconds that an answer may take
PATIENCE = 5.0
#: completions, and characters of one, of an indentation, of a description; variables
_MATCHES, _LONGEST, _DEEPEST, _TEXT, _VARIABLES = 1000, 300, 200, 200_000, 500


@dataclass(frozen=True, slots=True)
class Match:
    """`kind` is what it stands for ("function", "module", ...) and `signature` how it is called, if that is known."""

    text: str
    kind: str = ""
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Completions:
    """What may stand in place of the characters from `start` to the cursor."""

    start: int
    matches: tuple[Match, ...] = ()


@dataclass(frozen=True, slots=True)
class Wholeness:
    """Whether code can be run as it is; `indent` is how its next line would begin, where it goes on."""

    says: Literal["complete", "incomplete", "invalid", "unknown"]
    indent: str = ""


@dataclass(frozen=True, slots=True)
class Variable:
    """`size` is a length or a shape, in words; `bytes` what the object itself takes, without what it refers to."""

    name: str
    type: str
    size: str
    bytes: int


class _Listener:
    def __init__(self) -> None:
        self.reply: Envelope | None = None
        self.said: list[str] = []
        self._room = 1 << 20

    def heard(self, message: Envelope) -> None:
        heard = event(message)
        if isinstance(heard, Stream) and heard.name == "stdout" and self._room > 0:
            self.said.append(heard.text[: self._room])
            self._room -= len(heard.text)

    def asked(self, question: Envelope) -> None:
        """Only an action may ask."""

    def answered(self, reply: Envelope) -> None:
        self.reply = reply


def complete(story: Story, code: str, cursor: int | None, timeout: float) -> Completions:
    at = _place(code, cursor)
    said = _ask(story, "complete_request", {"code": code, "cursor_pos": at}, timeout).content
    start, matches = said.get("cursor_start"), said.get("matches")
    if not isinstance(start, int) or not 0 <= start <= at or "\n" in code[start:at]:
        return Completions(at)
    texts = matches[:_MATCHES] if isinstance(matches, list) else []
    told = _told_of(said.get("metadata"))
    found = (told.get(text, Match(text)) for text in texts if _is_plain(text))
    return Completions(start, tuple(found))


def inspect(story: Story, code: str, cursor: int | None, detail: int, timeout: float) -> str:
    content = {"code": code, "cursor_pos": _place(code, cursor), "detail_level": detail}
    data = _ask(story, "inspect_request", content, timeout).content.get("data")
    text = data.get("text/plain") if isinstance(data, dict) else None
    return printable(text[:_TEXT]) if isinstance(text, str) else ""


def is_complete(story: Story, code: str, timeout: float) -> Wholeness:
    said = _ask(story, "is_complete_request", {"code": code}, timeout).content
    status, indent = said.get("status"), said.get("indent")
    if status not in ("complete", "incomplete", "invalid"):
        return Wholeness("unknown")
    blank = isinstance(indent, str) and not indent.strip(" \t") and len(indent) < _DEEPEST
    return Wholeness(status, str(indent) if blank else "")


def variables(story: Story, timeout: float) -> tuple[Variable, ...] | None:
    """None where they could not be told in time, or not by this kernel."""
    if story.confined.other:
        return None
    listener = _Listener()
    mark = secrets.token_hex(8)
    content = {
        "code": _LIST_VARIABLES.replace("MARK", mark),
        "silent": True,
        "store_history": False,
        "user_expressions": {},
        "allow_stdin": False,
    }
    _ask(story, "execute_request", content, timeout, listener)
    _, _, told = "".join(listener.said).partition(mark)
    try:
        rows = json.loads(told.partition("\n")[0])
    except (ValueError, RecursionError):
        return None
    return tuple(map(_variable, rows[:_VARIABLES])) if isinstance(rows, list) else None


def _ask(
    story: Story, kind: str, content: Mapping[str, Any], timeout: float, listener: _Listener | None = None
) -> Envelope:
    """The reply; an empty one where there was none in time. Raises WorkerLost, SandboxLost."""
    listener = listener or _Listener()
    story.pass_on(kind, Exchange(request(kind, content), listener), timeout, heard=False)
    return listener.reply or Envelope(kind, "", {})


def request(kind: str, content: Mapping[str, Any]) -> Request:
    """As if a Jupyter client had sent it."""
    header = {
        "msg_id": secrets.token_hex(16),
        "session": "mulligan",
        "username": "mulligan",
        "date": datetime.now(UTC).isoformat(),
        "msg_type": kind,
        "version": "5.4",
    }
    return Request(header, content)


def _place(code: str, cursor: int | None) -> int:
    return len(code) if cursor is None else max(0, min(cursor, len(code)))


def _told_of(metadata: Any) -> dict[str, Match]:
    """What IPython says of its completions besides."""
    told = metadata.get("_jupyter_types_experimental") if isinstance(metadata, dict) else None
    found: dict[str, Match] = {}
    for each in told[:_MATCHES] if isinstance(told, list) else ():
        if isinstance(each, dict) and _is_plain(text := each.get("text")):
            found.setdefault(text, Match(text, _words(each.get("type")), _words(each.get("signature"))))
    return found


def _is_plain(text: Any) -> TypeGuard[str]:
    """Whether it can stand in a line as it is: it would be typed for the user."""
    return isinstance(text, str) and 0 < len(text) <= _LONGEST and one_line(text) == text


def _words(value: Any) -> str:
    return one_line(value[:_LONGEST]) if isinstance(value, str) and value != "<unknown>" else ""


def _variable(row: Any) -> Variable:
    name, type, size, bytes = row if isinstance(row, list) and len(row) == 4 else ("?", "?", "", 0)
    return Variable(_words(name), _words(type), _words(size), number(bytes))


#: Names of its own would be seen, and names of the user's may be anything: it is run in a scope apart. No repr is
#: called, and no attribute of an object but of those that are arrays and frames of the libraries named.
_LIST_VARIABLES = '''
__import__("builtins").exec("""
import json, sys
def size(value, kind):
    if kind in (str, bytes, bytearray, list, tuple, dict, set, frozenset):
        return format(len(value), ",")
    if kind.__module__.partition(".")[0] in ("numpy", "pandas", "polars", "torch", "pyarrow", "scipy"):
        shape = getattr(value, "shape", None)
        if isinstance(shape, tuple) and all(isinstance(each, int) for each in shape):
            return " x ".join(format(each, ",") for each in shape)
    return ""
def weigh(value, kind):
    weight = getattr(value, "nbytes", None) if kind.__module__ == "numpy" else None
    return weight if isinstance(weight, int) else sys.getsizeof(value, 0)
def rows(shell):
    hidden = shell.user_ns_hidden
    for name, value in list(shell.user_ns.items()):
        kind = type(value)
        if name.startswith("_") or (name in hidden and hidden[name] is value):
            continue
        if kind is type(sys):
            continue
        home = "" if kind.__module__ in ("builtins", "__main__") else kind.__module__ + "."
        yield [name, home + kind.__qualname__, size(value, kind), weigh(value, kind)]
from IPython import get_ipython
from itertools import islice
print("MARK" + json.dumps(list(islice(rows(get_ipython()), 500))), flush=True)
""", {})
'''
