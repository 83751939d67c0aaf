"""A model's reply becomes actions: CodeAct's protocol, and what is done where it is not kept to.

    an action is     a fence of ```python (or py, python3, ipython), or <execute> ... </execute>
    several          are run in order; the first that fails is the last
    none             is for the loop to answer (loop.py)
    open at the end  is whole where the model ended by itself: then a stop string was cut off, or the closing fence was
                     forgotten. It is not run where the reply was cut at its length, or nobody knows why it ended
    no action        is what stands in <think> ... </think>, or in a fence of another language: that is said

The first marker that opens an action is what it is read by; others inside it are text. A closing marker that stands in
a string of the code ends it too early: then the code does not parse, and where it does up to a later marker, that one
is meant. Parsing decides nothing else, and nothing here runs anything.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from dataclasses import dataclass

#: the model is stopped after one action in tags, and before it makes up an observation
STOPS = ("</execute>", "\nObservation of step")
#: why a model ended its reply, of those that say that it had said all it meant to
_BY_ITSELF = frozenset(("stop", "eos", "end_turn", "stop_sequence"))

_OPENING = re.compile(
    r"^[ \t]*(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[\w+.#-]*)[^\n`]*$|(?P<tag><execute>)", re.MULTILINE
)
_THINKING = re.compile(r"<(think|thinking)>.*?(?:</\1>|\Z)", re.DOTALL)
_PYTHON = frozenset(("python", "py", "python3", "ipython", "ipython3"))
#: closing markers that are tried for one action
_TRIES = 50
#: characters of an action that are parsed to find its end
_PARSED = 200_000


@dataclass(frozen=True, slots=True)
class Parsed:
    """`actions` are sources of Python, in order; `thinking` is the text around them; `complaints` is what the model is
    told of its reply; `cut`: an action was cut off and is not among them."""

    actions: tuple[str, ...] = ()
    thinking: str = ""
    complaints: tuple[str, ...] = ()
    cut: bool = False


def parse(reply: str, finish: str) -> Parsed:
    """`finish` is why the model ended, as its server says."""
    text = _THINKING.sub("", reply.replace("\r\n", "\n"))
    reader = _Reader(text, by_itself=finish in _BY_ITSELF)
    reader.read()
    thoughts = [found[0] for found in _THINKING.finditer(reply)] + reader.around
    thinking = "\n".join(thought for each in thoughts if (thought := each.strip()))
    return Parsed(tuple(reader.actions), thinking, tuple(dict.fromkeys(reader.complaints)), reader.cut)


class _Reader:
    def __init__(self, text: str, *, by_itself: bool) -> None:
        self._text, self._by_itself = text, by_itself
        self.actions: list[str] = []
        self.around: list[str] = []
        self.complaints: list[str] = []
        self.cut = False

    def read(self) -> None:
        at = 0
        while (opening := _OPENING.search(self._text, at)) is not None:
            self.around.append(self._text[at : opening.start()])
            at = self._read_action(opening)
        self.around.append(self._text[at:])
        if any("</execute>" in each for each in self.around):
            self.complaints.append("an </execute> closes nothing: write <execute> before the code")
            self.around = [each.replace("</execute>", "") for each in self.around]

    def _read_action(self, opening: re.Match[str]) -> int:
        """The place after it."""
        closing = re.compile(r"</execute>")
        if fence := opening["fence"]:
            closing = re.compile(rf"^[ \t]*{re.escape(fence[0])}{{{len(fence)},}}[ \t]*$", re.MULTILINE)
        source, end = self._extent(opening.end(), closing, opening)
        language = (opening["language"] or "").lower()
        if fence and language not in _PYTHON:
            self._pass_over(source, language)
        elif end is None and not self._by_itself:
            self.cut = True
            self.complaints.append(
                "your reply was cut off inside an action, which was not run: write less at once"
            )
        elif code := _code(source):
            self.actions.append(code)
        else:
            self.complaints.append("an action was empty")
        return len(self._text) if end is None else end

    def _extent(self, start: int, closing: re.Pattern[str], opening: re.Match[str]) -> tuple[str, int | None]:
        """The source up to its closing marker, and the place after that: None where there is none."""
        found = [each for each, _ in zip(closing.finditer(self._text, start), range(_TRIES), strict=False)]
        if not found:
            return self._text[start:], None
        ends = [(self._text[start : each.start()], each.end()) for each in found]
        python = opening["tag"] or (opening["language"] or "").lower() in _PYTHON
        if not python or is_python(_code(ends[0][0])):
            return ends[0]
        return next((each for each in ends[1:] if is_python(_code(each[0]))), ends[0])

    def _pass_over(self, source: str, language: str) -> None:
        self.around.append(source)
        what = f"a fence of {language}" if language else "a fence without a language"
        self.complaints.append(f"{what} was not run: only ```python and <execute> are")


def _code(source: str) -> str:
    """Without the margin, and without a fence around all of what stands in tags."""
    text = source.strip("\n")
    inner = re.fullmatch(r"\s*```[ \t]*\w*[ \t]*\n(.*?)\n?[ \t]*(?:```)?\s*", text, re.DOTALL)
    return textwrap.dedent(inner[1] if inner else text).rstrip() if text.strip() else ""


def is_python(source: str) -> bool:
    """Whether it can be parsed; True as well where it is too long to try."""
    if len(source) > _PARSED:
        return True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
