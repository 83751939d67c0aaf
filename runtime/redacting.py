"""An action's events with secret values taken out, also where one is cut between two of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mulligan.runtime.outcome import Lost, Outcome
from mulligan.sandbox.messages import Clear, Display, Error, Event, Result
from mulligan.sandbox.messages import Stream as Printed
from mulligan.sandbox.redaction import Redactor, Stream


class Redacting:
    """Of one execution. Events keep their order: what was held back of a stream comes before whatever follows it."""

    def __init__(self, redactor: Redactor, give: Callable[[Event], None]) -> None:
        self._redactor = redactor
        self._give = give
        self._streams = {name: Stream(redactor) for name in ("stdout", "stderr")}

    def add(self, event: Event) -> None:
        for name in self._streams:
            if not (isinstance(event, Printed) and event.name == name):
                self._flush(name)
        if isinstance(event, Printed) and event.name in self._streams:
            return self._say(
                event.name, self._streams[event.name].add(event.text.encode("utf-8", "surrogatepass"))
            )
        try:
            self._give(redacted(event, self._redactor))
        except RecursionError:  # nested as deep as can just be read
            self._give(
                Printed("stderr", "[a display is left out: it is nested too deep to be looked through]\n")
            )

    def end(self) -> None:
        for name in self._streams:
            self._flush(name)

    def _flush(self, name: str) -> None:
        self._say(name, self._streams[name].end())

    def _say(self, name: str, data: bytes) -> None:
        if data:
            self._give(Printed(name, data.decode("utf-8", "surrogatepass")))


def redacted(event: Event, redactor: Redactor) -> Event:
    match event:
        case Clear():
            return event
        case Printed():
            return replace(event, text=redactor.text(event.text))
        case Display() | Result():
            return replace(event, data=redactor.plain(event.data), metadata=redactor.plain(event.metadata))
        case Error():
            return _error(event, redactor)


def _error(error: Error, redactor: Redactor) -> Error:
    trace = tuple(map(redactor.text, error.traceback))
    return Error(redactor.text(error.name), redactor.text(error.value), trace)


def outcome_without(outcome: Outcome, redactor: Redactor) -> Outcome:
    """Once more over the whole: a value may have been printed around a display."""
    output = outcome.output
    output = replace(output, stdout=redactor.text(output.stdout), stderr=redactor.text(output.stderr))
    error = None if outcome.error is None else _error(outcome.error, redactor)
    if isinstance(outcome, Lost):
        outcome = replace(outcome, cause=redactor.text(outcome.cause))
    return replace(outcome, output=output, error=error)
