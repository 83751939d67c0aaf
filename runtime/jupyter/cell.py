"""One request while it is under way: hears what the sandbox says of it, and makes the client's answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from mulligan.runtime.jupyter.page import Shown
from mulligan.runtime.jupyter.wire import Asked, unequivocal
from mulligan.runtime.outcome import Completed, Outcome, Raised, TimedOut
from mulligan.sandbox.errors import MulliganError
from mulligan.sandbox.messages import Envelope, number
from mulligan.sandbox.printable import printable

#: characters of a prompt
LONGEST_PROMPT = 10_000

Content = Mapping[str, Any] | Envelope


class Output(Protocol):
    def __call__(self, asked: Asked, kind: str, content: Content) -> None: ...


class Passed:
    """A request that is answered in the sandbox and is no execution."""

    def __init__(self, asked: Asked, output: Output) -> None:
        self._asked, self._output = asked, output
        self.reply: Envelope | None = None
        self.interrupted = False

    def heard(self, message: Envelope) -> None:
        self._output(self._asked, message.kind, message)

    def asked(self, question: Envelope) -> None:
        """Only an execution may ask."""

    def answered(self, reply: Envelope) -> None:
        if unequivocal(reply.packed) and unequivocal(reply.metadata):
            self.reply = reply


class Cell(Passed):
    """An execution. `hidden`: a program's, not one that a person would call a cell; `counted`: its number is its own;
    `next`: the number that the next one will have."""

    def __init__(self, asked: Asked, output: Output, number: int, interrupt: Callable[[], None]) -> None:
        super().__init__(asked, output)
        self.code = asked.text("code")
        self.silent = asked.content.get("silent") is True
        stored = asked.content.get("store_history", True) is True and not self.silent
        self.counted = stored and bool(self.code.strip())
        self.hidden = not self.counted
        self.next = number
        self.failed = False
        self.number = number
        self._begun = False
        self._interrupt = interrupt

    # -- from the sandbox ----------------------------------------------------------------------------------------

    def heard(self, message: Envelope) -> None:
        if message.kind == "execute_input":
            self.begin(number(message.content.get("execution_count")))
        else:
            super().heard(message)

    def asked(self, question: Envelope) -> None:
        if self._asked.content.get("allow_stdin") is not True:
            return
        prompt = question.content.get("prompt")
        content = {
            "prompt": printable(prompt[:LONGEST_PROMPT]) if isinstance(prompt, str) else "",
            "password": question.content.get("password") is True,
        }
        self._output(self._asked, "input_request", content)

    # -- for the client ------------------------------------------------------------------------------------------

    def begin(self, number: int) -> None:
        """It runs now, under this number."""
        if self._begun:
            return
        self._begun = True
        self.number = number
        if not self.silent:
            self._output(self._asked, "execute_input", {"code": self.code, "execution_count": number})
        if self.interrupted:  # while it waited for its turn
            self._interrupt()

    def end(self, outcome: Outcome) -> Content:
        """What the client is told. What the sandbox replied, where it lives; else what became of it, in our words."""
        if isinstance(outcome, TimedOut) and not outcome.restored:
            self._say(outcome)
        if isinstance(outcome, (Completed, Raised)) or (
            isinstance(outcome, TimedOut) and not outcome.restored
        ):
            self.failed = not isinstance(outcome, Completed)
            self.next = self.number + 1 if self.counted else self.number
            return self.reply or self._reply({"status": "error" if self.failed else "ok"})
        return self.fail(type(outcome).__name__, outcome.notice, "")

    def _say(self, outcome: Outcome) -> None:
        self._output(self._asked, "stream", {"name": "stderr", "text": outcome.notice + "\n"})

    def fail(self, name: str, why: str, hint: str) -> Content:
        """It did not run, or what it did is gone."""
        self.failed = True
        self.begin(self.number)
        error = refusal(name, why, hint)
        if not self.silent:
            self._output(self._asked, "error", {key: error[key] for key in ("ename", "evalue", "traceback")})
        return self._reply(error)

    def show(self, work: Callable[[], Shown]) -> Content:
        """Do what a magic asks for and display what came of it."""
        try:
            shown = work()
        except MulliganError as error:
            return self.fail(type(error).__name__, error.message, error.hint)
        data = {"text/plain": shown.text, "text/html": shown.html}
        self._output(self._asked, "display_data", {"data": data, "metadata": {}, "transient": {}})
        return self._reply({"status": "ok"})

    def _reply(self, content: Mapping[str, Any]) -> Mapping[str, Any]:
        more: dict[str, Any] = {"payload": [], "user_expressions": {}} if content["status"] == "ok" else {}
        return {**content, "execution_count": self.number, **more}


def refusal(name: str, why: str, hint: str = "") -> dict[str, Any]:
    """The content of a reply that says no."""
    said = [f"{name}: {printable(why)}", *([printable(hint)] if hint else [])]
    return {"status": "error", "ename": name, "evalue": printable(why), "traceback": said}
