"""The line that is typed: keys, colours, history, and what Enter does."""

from __future__ import annotations

import codeop
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, completion_is_selected, has_focus, is_searching
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import Lexer, PygmentsLexer
from prompt_toolkit.styles import Style

from mulligan.runtime.insight import Wholeness
from mulligan.runtime.repl.completion import Signatures, Words
from mulligan.runtime.repl.words import is_command, is_question
from mulligan.sandbox.errors import MulliganError

if TYPE_CHECKING:
    from mulligan.runtime.repl.opening import Opening

#: bytes of the history that are kept
_HISTORY = 4 << 20
#: seconds that Enter waits for the kernel's word on whether the code is whole
_PATIENCE = 1.0

#: Colours of the terminal's own palette alone, and none of those that a light or a dark background swallows.
STYLE = Style.from_dict(
    {
        "prompt": "ansicyan bold",
        "continuation": "ansicyan",
        "command": "ansimagenta bold",
        "bottom-toolbar": "noreverse",
        "bottom-toolbar.text": "italic",
        "pygments.keyword": "ansimagenta",
        "pygments.operator.word": "ansimagenta",
        "pygments.literal.string": "ansigreen",
        "pygments.literal.number": "ansicyan",
        "pygments.name.function": "bold",
        "pygments.name.class": "bold",
        "pygments.name.decorator": "ansiyellow",
        "pygments.name.builtin": "ansicyan",
        "pygments.name.exception": "ansired",
        "pygments.comment": "italic",
        "auto-suggestion": "ansibrightblack",
    }
)


class Editor:
    def __init__(self, opening: Opening, history: Path | None, kernel: str = "") -> None:
        self._opening = opening
        self._kernel = kernel
        self._signature = ""
        self._signatures = Signatures(self._session, self._show_signature)
        self.prompt: PromptSession[str] = PromptSession(
            message=self._message,
            multiline=True,
            prompt_continuation=self._continuation,
            lexer=Highlighting(kernel),
            completer=Words(self._session),
            complete_in_thread=True,
            complete_while_typing=Condition(lambda: is_command(self.prompt.default_buffer.text)),
            auto_suggest=AutoSuggestFromHistory(),
            history=_history(history),
            key_bindings=_keys(self),
            style=STYLE,
            enable_open_in_editor=True,
            enable_suspend=True,
            include_default_pygments_style=False,
            erase_when_done=False,
        )
        # The sandbox is started when the prompt is there: what it imports would hold the first drawing up.
        self.prompt.app.after_render += lambda app: opening.start()
        self.prompt.default_buffer.on_text_changed += lambda buffer: self._signatures.typed(
            buffer.document.text_before_cursor
        )

    def _session(self) -> Any:
        return self._opening.ready

    def read(self, began: Callable[[], None]) -> str:
        """A whole action or a command. `began` is called when the terminal is read. Raises EOFError at Ctrl-D and
        KeyboardInterrupt at Ctrl-C."""
        self._show_signature("")
        self.prompt.bottom_toolbar = None if self._opening.ready else self._toolbar
        return self.prompt.prompt(pre_run=began)

    def close(self) -> None:
        self._signatures.close()

    # -- what stands around it ---------------------------------------------------------------------------------

    def _message(self) -> StyleAndTextTuples:
        session = self._opening.ready
        number = 1 if session is None else len(session.timeline.nodes)
        return [("class:prompt", f"[{number}]> ")]

    def _continuation(self, width: int, number: int, wrapped: int) -> StyleAndTextTuples:
        return [("class:continuation", "... ".rjust(width))]

    def _toolbar(self) -> StyleAndTextTuples:
        if self._opening.ready is None:
            return [("", self._opening.words)]
        return [("", self._signature)]

    def _show_signature(self, text: str) -> None:
        if text != self._signature or not text:
            self._signature = text
            if self._opening.ready is not None:
                self.prompt.bottom_toolbar = self._toolbar if text else None
            self.prompt.app.invalidate()

    def refresh(self) -> None:
        """Of the session there is news. From any thread."""
        self._show_signature("")

    # -- Enter -------------------------------------------------------------------------------------------------

    def wholeness(self, code: str) -> Wholeness:
        """What the kernel says; where it says nothing in time, or is not there, what Python's own compiler says."""
        session = self._opening.ready
        if session is not None:
            try:
                found = session.is_complete(code, timeout=_PATIENCE)
            except MulliganError:
                found = Wholeness("unknown")
            if found.says != "unknown" or self._kernel:
                return found
        return whole_for_python(code)


def whole_for_python(code: str) -> Wholeness:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            done = codeop.compile_command(code, "<typed>", "exec") is not None
        except (SyntaxError, ValueError, OverflowError, MemoryError, RecursionError):
            return Wholeness("invalid")
    last = code.rstrip("\n").rpartition("\n")[2]
    indent = last[: len(last) - len(last.lstrip())] + ("    " if last.rstrip().endswith(":") else "")
    return Wholeness("complete") if done else Wholeness("incomplete", indent)


def _history(path: Path | None) -> History:
    """In a file that only the user reads; without one where there can be none."""
    if path is None:
        return InMemoryHistory()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        os.fchmod(descriptor, 0o600)
        with open(descriptor, "rb+") as file:
            _shorten(file)
    except OSError as error:
        print(f"mulligan: no history: {path}: {error.strerror}", file=sys.stderr)
        return InMemoryHistory()
    return FileHistory(str(path))


def _shorten(file: Any) -> None:
    """Where it has become long, its newer half stays, from the beginning of an entry."""
    size = file.seek(0, os.SEEK_END)
    if size <= _HISTORY:
        return
    file.seek(size - _HISTORY // 2)
    _, begin, rest = file.read().partition(b"\n\n# ")
    file.seek(0)
    file.write((begin + rest).lstrip(b"\n"))
    file.truncate()


class Highlighting(Lexer):
    """Python, or the language of another kernel; the name of a command."""

    def __init__(self, kernel: str) -> None:
        self._code = _lexer(kernel)

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        if not is_command(document.text):
            return self._code.lex_document(document)

        def line(number: int) -> StyleAndTextTuples:
            name, space, rest = document.lines[number].partition(" ")
            return [("class:command", name), ("", space + rest)]

        return line


def _lexer(kernel: str) -> Lexer:
    from pygments.lexers.python import PythonLexer
    from pygments.util import ClassNotFound

    if not kernel:
        return PygmentsLexer(PythonLexer)
    from pygments.lexers import find_lexer_class_by_name

    try:
        return PygmentsLexer(find_lexer_class_by_name({"ir": "r"}.get(kernel, kernel)))
    except ClassNotFound:
        from pygments.lexers.special import TextLexer

        return PygmentsLexer(TextLexer)


def _keys(editor: Editor) -> KeyBindings:
    keys = KeyBindings()
    typing = has_focus(DEFAULT_BUFFER) & ~is_searching

    @keys.add("enter", filter=typing & ~completion_is_selected)
    def _(event: KeyPressEvent) -> None:
        _enter(event, editor)

    @keys.add("enter", filter=typing & completion_is_selected)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.complete_state = None

    @keys.add("escape", "enter", filter=typing)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=True)

    @keys.add("tab", filter=typing & Condition(_begins_line))
    def _(event: KeyPressEvent) -> None:
        column = event.current_buffer.document.cursor_position_col
        event.current_buffer.insert_text(" " * (4 - column % 4))

    @keys.add("backspace", filter=typing & Condition(_is_indented), save_before=lambda event: True)
    def _(event: KeyPressEvent) -> None:
        column = event.current_buffer.document.cursor_position_col
        event.current_buffer.delete_before_cursor((column - 1) % 4 + 1)

    return keys


def _enter(event: KeyPressEvent, editor: Editor) -> None:
    buffer, document = event.current_buffer, event.current_buffer.document
    if not document.text.strip() or is_command(document.text) or is_question(document.text):
        return buffer.validate_and_handle()
    if document.text[document.cursor_position :].strip():  # in the middle of it
        return buffer.newline(copy_margin=True)
    found = editor.wholeness(document.text_before_cursor)
    if found.says != "incomplete":
        return buffer.validate_and_handle()
    pasted = bool(
        event.key_processor.input_queue
    )  # with its own indentation, by a terminal that does not mark it
    buffer.insert_text("\n" if pasted else "\n" + found.indent)


def _begins_line() -> bool:
    from prompt_toolkit.application import get_app

    before = get_app().current_buffer.document.current_line_before_cursor
    return not before.strip()


def _is_indented() -> bool:
    from prompt_toolkit.application import get_app

    before = get_app().current_buffer.document.current_line_before_cursor
    return len(before) > 0 and not before.strip(" ")
