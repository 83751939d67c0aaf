"""What begins with `:`. Each command is a function of the desk and the words after its name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mulligan.runtime.errors import CommandMisused

if TYPE_CHECKING:
    from mulligan.runtime.repl.desk import Desk

Work = Callable[["Desk", str], None]


@dataclass(frozen=True, slots=True)
class Command:
    """`usage` as in ":undo [n]"; `words` says what it does; `takes` is what its arguments are, for completion: "step",
    "file" or nothing."""

    usage: str
    words: str
    work: Work
    takes: str = ""

    @property
    def name(self) -> str:
        return self.usage.split()[0].removeprefix(":")


def all_commands() -> Mapping[str, Command]:
    from mulligan.runtime.repl import ask, looking, moving, saving

    return {
        command.name: command
        for command in (*moving.COMMANDS, *looking.COMMANDS, *saving.COMMANDS, *ask.COMMANDS, *COMMANDS)
    }


def perform(desk: Desk, text: str) -> None:
    """Raises MulliganError, PolicyError."""
    name, _, rest = text.strip().removeprefix(":").partition(" ")
    known = all_commands()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5) or [
            each for each in known if name and each.startswith(name)
        ]
        meant = f"did you mean {known[near[0]].usage}? " if near else ""
        raise CommandMisused(f"there is no :{name}", hint=f"{meant}:help lists what there is")
    known[name].work(desk, rest.strip())


def words_of(rest: str, usage: str, most: int, least: int = 0) -> list[str]:
    """Raises CommandMisused where there are too many or too few."""
    words = rest.split()
    if not least <= len(words) <= most:
        raise CommandMisused("that is not how it is used", hint=f"write {usage}")
    return words


def count_of(words: list[str], usage: str) -> int:
    """The one number, 1 where there is none."""
    if not words:
        return 1
    if not (words[0].isascii() and words[0].isdecimal()) or len(words[0]) > 9 or int(words[0]) == 0:
        raise CommandMisused(f"{words[0]!r} is not a number of steps", hint=f"write {usage}")
    return int(words[0])


def step_of(word: str, usage: str) -> int:
    if not (word.isascii() and word.isdecimal()) or len(word) > 9:
        raise CommandMisused(
            f"{word!r} is not the number of a step", hint=f"write {usage}; :timeline has them"
        )
    return int(word)


def _help(desk: Desk, rest: str) -> None:
    from rich.text import Text

    known = all_commands()
    if rest:
        command = known.get(rest.removeprefix(":"))
        if command is None:
            return perform(desk, f":{rest.removeprefix(':')}")
        return desk.screen.print(Text.assemble((command.usage, "bold"), f"\n    {command.words}"))
    widest = max(len(command.usage) for command in known.values())
    for command in known.values():
        desk.screen.print(Text.assemble((f"  {command.usage:<{widest}}  ", "bold"), command.words))
    desk.screen.print(Text(_KEYS, "dim"))


_KEYS = """
  name?   what it is    name??   its source    Tab  completes    Ctrl-R  searches what was typed
  Ctrl-C  interrupts what runs, or empties the line    Alt-Enter  a new line, where Enter would run"""


def _quit(desk: Desk, rest: str) -> None:
    words_of(rest, ":quit", 0)
    desk.leaving = True


COMMANDS = (
    Command(":help [COMMAND]", "this list, or what one command does", _help, "command"),
    Command(":quit", "leaves; asks first if something was not committed (Ctrl-D too)", _quit),
)
