"""What the REPL shows: the action's output as it comes, and one quiet line for each step.

Two threads write: the session's, with what comes, and the main one, with how long it has taken so far. That stands on
the last line of the terminal and goes whenever something is to be shown.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.text import Text

from mulligan.runtime.outcome import shorten
from mulligan.runtime.render import Lines, Page, spell
from mulligan.runtime.repl.colours import Colours
from mulligan.runtime.repl.images import Album, Way, picture_in, shown
from mulligan.runtime.repl.tables import table_of
from mulligan.sandbox.messages import Clear, Display, Error, Event, Result, Stream
from mulligan.sandbox.printable import one_line, printable

if TYPE_CHECKING:
    from rich.console import Console

    from mulligan.policies.errors import PolicyError
    from mulligan.runtime.prompt import Curtain
    from mulligan.runtime.step import Step
    from mulligan.sandbox.errors import MulliganError

#: characters of one action's streams that are shown as they come, and of what follows them, at the end
LIVE, TAIL = 1 << 20, 4000
#: seconds that an action runs before it is said how many
LONG = 1.0


class Screen(Page):
    def __init__(self, console: Console, curtain: Curtain, album: Album, way: Way) -> None:
        super().__init__(console)
        self._curtain, self._album, self._way = curtain, album, way
        self._lock = threading.RLock()
        self._colours = {name: Colours() for name in ("stdout", "stderr")}
        self._streams = {
            "stdout": Lines(lambda text: self._said("stdout", text)),
            "stderr": Lines(lambda text: self._said("stderr", text)),
        }
        self._step = self._shown = self._left_out = 0
        self._tail = ""
        self._ticking = False

    @property
    def width(self) -> int:
        return self._console.width

    # -- while an action runs ----------------------------------------------------------------------------------

    def begin(self, step: int) -> None:
        self._step, self._shown, self._left_out, self._tail = step, 0, 0, ""
        for colours in self._colours.values():
            colours.reset()

    def event(self, event: Event) -> None:
        with self._lock:
            match event:
                case Stream(name=name, text=text):
                    self._stream(name, text)
                case Clear():
                    return
                case Display(data=data) | Result(data=data):
                    self._flush()
                    self._bundle(data)
                case Error():
                    self._flush()
                    self._traceback(event)

    def _stream(self, name: str, text: str) -> None:
        other = "stdout" if name == "stderr" else "stderr"
        self._streams[other].flush()
        room = max(0, LIVE - self._shown)
        self._shown += len(text)
        if room:
            self._streams[name].add(text[:room])
        if rest := text[room:]:
            self._left_out += len(rest)
            self._tail = (self._tail + rest)[-TAIL:]

    def tick(self, seconds: float) -> None:
        """Called now and then while an action runs."""
        if not self._console.is_terminal or self._console.is_dumb_terminal:
            return
        with self._lock:
            begun = "".join(lines.held for lines in self._streams.values())[-self.width :]
            said = one_line(self._colours["stdout"].text(begun).plain.rpartition("\n")[2])
            if self._curtain.is_drawn or not (said or seconds >= LONG):
                return
            took = f"{seconds:.0f} s, Ctrl-C interrupts" if seconds >= LONG else ""
            if self._left_out:
                took = f"{self._left_out:,} characters not shown, {took}"
            room = self.width - len(took) - 3
            line = Text.assemble((said[-room:] if room > 0 else "", ""), "  " if said else "", (took, "dim"))
            self._wipe()
            self._console.print(line, end="", no_wrap=True, overflow="crop", crop=True)
            self._console.file.flush()
            self._ticking = True

    def pause(self) -> None:
        """Before something else is written to the terminal: what is held back is shown first."""
        with self._lock:
            self._flush()
            self._wipe()
            self._console.file.flush()

    def _wipe(self) -> None:
        if self._ticking:
            self._console.file.write("\r\x1b[2K")
            self._ticking = False

    # -- what came ---------------------------------------------------------------------------------------------

    def _said(self, name: str, text: str) -> None:
        found = self._colours[name].text(text)
        if name == "stderr":
            found.stylize_before("red")
        self._show(found)

    def _bundle(self, data: Mapping[str, Any]) -> None:
        if (picture := picture_in(data)) is not None:
            sequence = shown(picture, self._way) if self._console.is_terminal else ""
            if sequence:
                self._wipe()
                self._console.file.write(sequence)
                return
            self._saved(picture.kind, self._save(picture))
            return
        if (table := table_of(data, self.width)) is not None:
            self._wipe()
            self._console.print(table)
            return
        text = data.get("text/plain")
        if isinstance(text, str):
            self._show(Colours().text(shorten_raw(text)))
        else:
            kinds = ", ".join(sorted(data)) or "nothing"
            self._show(Text(f"[not shown: {one_line(kinds[:200])}]", "dim"))

    def _save(self, picture: Any) -> str:
        try:
            path = self._album.save(picture, self._step)
        except OSError as error:
            return f"could not be saved: {error.strerror}"
        return f"is saved as {path}" if path is not None else "is not saved: there are too many already"

    def _saved(self, kind: str, where: str) -> None:
        self._show(Text.assemble((f"[{kind}] ", "magenta"), (printable(where), "")))

    def _traceback(self, error: Error) -> None:
        lines = shorten("\n".join(error.traceback) or f"{error.name}: {error.value}").split("\n")
        text = Text()
        for at, line in enumerate(lines):
            last = at == len(lines) - 1
            style = (
                "bold red" if last else "yellow" if line.startswith("-->") or "--->" in line[:12] else "red"
            )
            text.append(line if last else f"{line}\n", style if last or style == "yellow" else "")
        self._show(text)

    def step(self, number: int, step: Step) -> None:
        with self._lock:
            self._flush()
            if self._left_out:
                whole = step.outcome.transcript
                where = f"; all of it is in {whole.folder}" if whole is not None else ""
                left = self._left_out - len(self._tail)
                self._show(Text(printable(f"[... {left:,} characters not shown{where}]"), "dim"))
                self._show(Colours().text(self._tail))
            self._wipe()
            super().step(number, step)

    # -- of our own --------------------------------------------------------------------------------------------

    def say(self, text: str, style: str = "") -> None:
        """Words of ours; what is in them of the sandbox is escaped by whoever calls."""
        with self._lock:
            self._show(Text(printable(text), style))

    def print(self, *things: Any) -> None:
        with self._lock:
            self._wipe()
            for each in things:
                self._console.print(each)

    def described(self, text: str) -> None:
        """What `name?` tells: its titles stand out."""
        found = Text(printable(shorten_raw(text)))
        found.highlight_regex(r"(?m)^[A-Z][\w ]{2,20}:", "bold cyan")
        with self._lock:
            self._show(found)

    def line(self, text: Text) -> None:
        """One line of ours, cut at the width."""
        with self._lock:
            self._line(text)

    def failed(self, error: MulliganError | PolicyError) -> None:
        with self._lock:
            self._show(Text(printable(error.message), "bold red"))
            if error.hint:
                self._show(Text(f"  {as_commands(printable(error.hint))}"))

    def _show(self, text: Text) -> None:
        self._wipe()
        text.rstrip()
        self._console.print(text, soft_wrap=True)

    def _line(self, *lines: Text) -> None:
        self._wipe()
        super()._line(*lines)

    def _text(self, text: str, style: str) -> None:
        self._wipe()
        super()._text(text, style)


#: a call that a hint names, and which command does the same
_CALL = re.compile(r"(?:undo\(to=(\d+)\) or )?\b(undo|redo|goto|commit|uncommit|diff)\((\w*)\)")


def as_commands(hint: str) -> str:
    """What errors advise callers to do, as it is typed here."""
    return _CALL.sub(lambda found: f":{found[2]} {found[3].replace('step', 'STEP')}".rstrip(), hint)


def shorten_raw(text: str, most: int = 20_000) -> str:
    """Head and tail of a text that is not printable yet."""
    if len(text) <= most:
        return text
    return f"{text[: most // 2]}\n[... {len(text) - most:,} characters ...]\n{text[-most // 2 :]}"


__all__ = ["Screen", "spell"]
