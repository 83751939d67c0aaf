"""What Tab offers: commands and their arguments from the host, names from the kernel, nothing before it is there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from mulligan.runtime.repl.commands import all_commands
from mulligan.runtime.repl.words import is_command
from mulligan.sandbox.errors import MulliganError

if TYPE_CHECKING:
    from mulligan.runtime.session import Session

#: an open call, as far as it can be told from text: a name and what stands before its parenthesis
_CALL = re.compile(r"[\w\])]\($|,\s?$")
_FIELD = re.compile(
    r"^(?:Init signature|Signature|Call signature):(.*?)(?=^\S[\w ]*:|\Z)", re.MULTILINE | re.DOTALL
)


class Words(Completer):
    """`session` gives the session, if it is there by now."""

    def __init__(self, session: Callable[[], Session | None]) -> None:
        self._session = session
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, event: CompleteEvent) -> Iterable[Completion]:
        if is_command(document.text):
            return self._command(document, event)
        return self._python(document) if event.completion_requested else ()

    def _command(self, document: Document, event: CompleteEvent) -> Iterable[Completion]:
        name, space, rest = document.text_before_cursor.lstrip().removeprefix(":").partition(" ")
        known = all_commands()
        if not space:
            for each in known.values():
                if each.name.startswith(name):
                    yield Completion(
                        f":{each.name}", -len(name) - 1, display=each.usage, display_meta=each.words
                    )
        elif name in known:
            yield from self._argument(known[name].takes, rest, event)

    def _argument(self, takes: str, rest: str, event: CompleteEvent) -> Iterable[Completion]:
        from mulligan.runtime.timeline import headline

        word = rest.rpartition(" ")[2]
        session = self._session()
        if takes == "step" and session is not None:
            for node in reversed(tuple(session.timeline.nodes.values())):
                if str(node.id).startswith(word):
                    yield Completion(str(node.id), -len(word), display_meta=headline(node.source, 40))
        elif takes == "file" and event.completion_requested:
            yield from self._paths.get_completions(Document(rest), event)
        elif takes == "command":
            for name, command in all_commands().items():
                if name.startswith(word):
                    yield Completion(name, -len(word), display_meta=command.words)

    def _python(self, document: Document) -> Iterable[Completion]:
        session = self._session()
        if session is None:
            return
        with suppress(MulliganError):
            found = session.complete(document.text, document.cursor_position)
            behind = found.start - document.cursor_position
            for match in found.matches:
                yield Completion(match.text, behind, display_meta=f"{match.kind} {match.signature}".strip())


class Signatures:
    """How what is being called is called: asked of the kernel when a parenthesis or a comma was typed, and told to
    `show`, on a thread of its own. Only the last that was asked for is shown."""

    def __init__(self, session: Callable[[], Session | None], show: Callable[[str], None]) -> None:
        self._session, self._show = session, show
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mulligan-signatures")
        self._newest = ""

    def typed(self, before: str) -> None:
        """The text before the cursor, after each change of it."""
        self._newest = before
        if not before or is_command(before) or before.count("(") <= before.count(")"):
            self._show("")
        elif _CALL.search(before) and len(before) < 10_000:
            self._thread.submit(self._look, before)

    def _look(self, before: str) -> None:
        session = self._session()
        if session is None or self._newest != before:
            return
        with suppress(MulliganError):
            self._show(signature_in(session.inspect(before, timeout=1.0)))

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


def signature_in(described: str) -> str:
    """On one line."""
    found = _FIELD.search(described)
    return " ".join(found[1].split())[:500] if found else ""
