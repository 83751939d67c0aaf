"""What a person is asked, and what they may answer.

What is asked about was made by code in a sandbox: every field but `rule` and `scope` may hold anything that it
could think of. `text` shows it so that none of it acts on a terminal, stands at the beginning of a line or is taken
for words of ours.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from mulligan.sandbox.printable import escaped

#: lines that are shown of one thing and of one header; columns that a scope may take
_LINES, _HEADER, _SCOPE = 8, 2, 200
_MARGIN = "  | "


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """`about` is "request" (it waits, and leaves if that is allowed), "call" (of a tool, likewise) or "step" (it broke
    a rule, and is kept if that is allowed). `rule` says who asks, `reason` why; `scope` is the line of the policy that
    "session" and "always" allow, or the tool that "session" does, empty where they cannot be answered, and `file` where
    "always" writes it, None where it cannot. `headers`
    are those that a request sends, with placeholders where secrets will be; `body` is the beginning of what follows,
    `length` how much that is altogether, None where nobody knows; `opens`: and then anything, both ways. `paths` is
    what a step did. After `timeout` seconds it is denied."""

    session: str
    step: int
    about: Literal["request", "call", "step"]
    what: str
    rule: str
    reason: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    length: int | None = 0
    opens: bool = False
    paths: tuple[str, ...] = ()
    scope: str = ""
    file: str | None = None
    timeout: float = 300.0

    @property
    def choices(self) -> tuple[str, ...]:
        """What may be answered."""
        lasting = ("session", *(("always",) if self.file is not None else ())) if self.scope else ()
        return ("once", *lasting, "no")

    def text(self, width: int = 100) -> str:
        """All of it for a terminal that is so many columns wide: bounded, and each line of it begins as ours do."""
        asks = {"request": "would send", "call": "would call", "step": "broke a rule"}[self.about]
        lines = [f"step {self.step} {asks}:", *shown(self.what, width)]
        if self.query:
            lines += ["with the query:", *shown(self.query, width)]
        if self.about == "request":
            lines += [
                *_headed(self.headers, width),
                _sends(self),
                *(shown(self.body.decode("utf-8", "backslashreplace"), width)),
            ]
        if self.paths:
            lines += ["what it did:", *_listed(self.paths, width)]
        lines += ["asked by the rule:", *shown(self.rule, width), "because:", *shown(self.reason, width)]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Answer:
    """`says` is "once", "session" (whatever `Question.scope` covers, until the session ends), "always" (the same, and
    it is written to the policy's file) or "no". The agent is told `why`."""

    says: Literal["once", "session", "always", "no"]
    why: str = ""


#: how an embedder is asked: an async function. It is cancelled where nobody waits for the answer any more
Approve = Callable[[Question], Awaitable[Answer]]


def _sends(question: Question) -> str:
    if question.length is None:
        return "with a body that is not there yet, so it cannot be shown"
    if len(question.body) < question.length:
        return f"with a body of {question.length:,} bytes, of which the first {len(question.body):,} are:"
    if question.opens:
        return "without a body, and then whatever it likes, both ways"
    return f"with a body of {question.length:,} bytes:" if question.length else "without a body"


def _headed(headers: tuple[tuple[str, str], ...], width: int) -> Iterator[str]:
    """The first as they are, of the rest the names."""
    size = sum(
        len(name) + len(value) + 4 for name, value in headers
    )  # as they are written: ": " and a line's end
    yield f"with {len(headers)} headers of {size:,} bytes altogether{':' if headers else ''}"
    for name, value in headers[:_LINES]:
        yield from shown(f"{name}: {value}", width, _HEADER)
    if rest := headers[_LINES:]:
        yield f"and {len(rest)} more, of which only the names are shown:"
        yield from shown(", ".join(name for name, _ in rest), width)


def _listed(paths: tuple[str, ...], width: int) -> Iterator[str]:
    for path in paths[:_LINES]:
        yield from shown(path, width)
    if len(paths) > _LINES:
        yield f"and {len(paths) - _LINES:,} more"


def fits(text: str, width: int = _SCOPE) -> bool:
    """Whether it is shown on one line, and as it is."""
    return list(shown(text, width)) == [f"{_MARGIN}{text}"]


def shown(text: str, width: int, most_lines: int = _LINES) -> Iterator[str]:
    """Behind a margin, in lines that no terminal of this width breaks."""
    room = max(10, width - len(_MARGIN) - 1)
    most = most_lines * room
    lines = [piece for line in _harmless(text[:most]).split("\n") for piece in _broken(line, room)]
    while lines and not lines[-1]:
        lines.pop()
    yield from (f"{_MARGIN}{line}" for line in lines[:most_lines])
    if len(lines) > most_lines or len(text) > most:
        yield f"and more, not shown: it has {len(text):,} characters"


def _harmless(text: str) -> str:
    """And no mark of a letter stacks up over the lines beside it."""
    text = escaped(text).replace("\t", "    ")
    return text if text.isascii() else _STACKED.sub(_spelt, text)


#: what combines with a letter: a letter of any script has a few
_STACKED = re.compile(r"(?<=[^\x00-\x7f]{3})[^\x00-\x7f]")


def _spelt(found: re.Match[str]) -> str:
    stacks = all(unicodedata.combining(char) for char in found.string[found.start() - 3 : found.end()])
    return ascii(found[0])[1:-1] if stacks else found[0]


def _broken(line: str, room: int) -> Iterator[str]:
    """No character of any terminal is wider than two columns."""
    begun = used = 0
    for at, char in enumerate(line):
        wide = 1 if char.isascii() else 2
        if used + wide > room:
            yield line[begun:at]
            begun, used = at, 0
        used += wide
    yield line[begun:]
