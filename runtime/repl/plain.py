"""Without a terminal: what is read is run, piece by piece, and shown plainly.

A line that begins with `:` is a command. Else a piece is what the kernel calls whole: a statement, or a block with all
that is set in below it, blank lines among it. It ends with the first error, as a script would.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from mulligan.runtime.repl.commands import perform
from mulligan.runtime.repl.leaving import may_leave
from mulligan.runtime.repl.loop import explain
from mulligan.runtime.repl.words import is_command, is_question

if TYPE_CHECKING:
    from mulligan.runtime.repl.desk import Desk

DONE, FAILED = 0, 1
#: how a line begins that belongs to the block above it, though it is not set in
_GOES_ON = re.compile(r"(?:else|elif|except|finally|case)\b")
#: how one begins that has a block below it
_BLOCK = re.compile(r"(?:async\s+)?(?:if|for|while|with|def|class|try|match)\b|@")


def live(desk: Desk, lines: Iterable[str]) -> int:
    """Raises MulliganError for a command that cannot be done."""
    code = DONE
    for piece in pieces(lines, lambda text: desk.session.is_complete(text).says != "incomplete"):
        if is_command(piece):
            perform(desk, piece)
        elif is_question(piece):
            explain(desk, piece)
        elif not desk.run(piece).outcome.ok:
            code = FAILED
            break
        if desk.leaving:
            break
    may_leave(desk)
    return code


def pieces(lines: Iterable[str], is_whole: Callable[[str], bool]) -> Iterator[str]:
    held: list[str] = []
    block = False
    for line in (each.rstrip("\r\n") for each in lines):
        begins = bool(line.strip()) and line[:1] not in " \t" and not _GOES_ON.match(line)
        if held and block and begins and is_whole("\n".join(held) + "\n\n"):
            yield "\n".join(held)
            held = []
        if not held:
            if not line.strip():
                continue
            block = bool(_BLOCK.match(line))
            if is_command(line):
                yield line
                continue
        held.append(line)
        if line.startswith("@"):
            continue
        if not block and is_whole("\n".join(held)):
            yield "\n".join(held)
            held = []
    if held:
        yield "\n".join(held)
