"""A session's ledger as OpenTelemetry spans: the session a trace, each step a span, each effect a span of its step.

The spans are made from what the ledger has, with the times that stand there: when a session with a tracer is closed, or
later by `mulligan log --otel`. No span has the text of an action, its output, or what was sent: names of rules,
addresses without their query, and counts are all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from mulligan.runtime.errors import TracingMissing
from mulligan.runtime.ledger import Entry

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

_BEGINS = {"effect": "effect", "effect_lookup": "look-up", "tool_called": "tool"}
_ENDS = ("effect_answered", "tool_ended")
_AT_ONCE = {"effect_denied": "denied", "effect_held": "held"}
_EVENTS = ("moved", "committed", "uncommitted", "let_go", "reentered", "overfilled", "tripped")
_TOLD = ("what", "by", "rule", "reversibility", "status", "sent", "received", "error", "ended", "size")
_LONGEST = 500


def emit(entries: Iterable[Entry], tracer: Tracer, session: str) -> None:
    """Make all spans of a ledger. Of one that was cut off, what had begun ends with its last entry."""
    telling = _Telling(tracer, session)
    for entry in entries:
        telling.add(entry)
    telling.end()


def write(entries: Iterable[Entry], session: str, file: TextIO = sys.stdout) -> None:
    """The spans as one JSON object a line, for collectors that read files. Raises TracingMissing."""
    try:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
    except ImportError as error:
        raise TracingMissing(
            f"spans need {error.name}, which is not installed", hint="Run: pip install 'mulligan[tracing]'"
        ) from error
    provider = TracerProvider()
    exporter = ConsoleSpanExporter(out=file, formatter=lambda span: span.to_json(indent=None) + "\n")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    emit(entries, provider.get_tracer("mulligan"), session)
    provider.shutdown()


class _Telling:
    def __init__(self, tracer: Tracer, session: str) -> None:
        self._tracer, self._session = tracer, session
        self._root: Span | None = None
        self._steps: dict[int, Span] = {}
        self._open: dict[int, Span] = {}
        #: steps whose outcome is there; their span ends with their last effect, or with all
        self._ended: dict[int, int] = {}
        self._last = 0

    def add(self, entry: Entry) -> None:
        self._last = entry.time
        if self._root is None:
            self._root = self._begin(
                "mulligan session", None, entry.time, {"mulligan.session": self._session}
            )
        body, number = entry.body, entry.body.get("number")
        if entry.kind == "proposed" and entry.step is not None:
            about = {"step": entry.step, "parent": body.get("parent"), "proposer": body.get("proposer")}
            self._steps[entry.step] = self._begin(
                f"step {entry.step}", self._root, entry.time, _told(about, about)
            )
        elif entry.kind == "settled" and entry.step in self._steps:
            self._settle(self._steps[entry.step], body)
            self._ended[entry.step] = entry.time
        elif entry.kind == "checkpointed" and entry.step in self._steps:
            changes = body.get("changes")
            count = changes.get("count") if isinstance(changes, Mapping) else None
            self._steps[entry.step].set_attributes(_told({"changes": count}, ("changes",)))
        elif entry.kind in _BEGINS and isinstance(number, int):
            self._open[number] = self._effect(_BEGINS[entry.kind], entry)
            if entry.kind == "effect_lookup":
                self._open.pop(number).end(entry.time)
        elif entry.kind in _ENDS and number in self._open:
            span = self._open.pop(number)
            span.set_attributes(_told(body, _TOLD))
            span.end(entry.time)
        elif entry.kind in _AT_ONCE:
            self._effect(_AT_ONCE[entry.kind], entry).end(entry.time)
        elif entry.kind in _EVENTS:
            about = {key: value for key, value in body.items() if isinstance(value, str | int | float)}
            self._root.add_event(entry.kind, _told(about, about), entry.time)

    def end(self) -> None:
        for span in self._open.values():
            span.end(self._last)
        for step, span in self._steps.items():
            span.end(self._ended.get(step, self._last))
        if self._root is not None:
            self._root.end(self._last)

    def _effect(self, name: str, entry: Entry) -> Span:
        within = self._steps.get(entry.step, self._root) if entry.step is not None else self._root
        return self._begin(name, within, entry.time, _told(entry.body, _TOLD))

    def _begin(self, name: str, within: Span | None, at: int, attributes: Mapping[str, Any]) -> Span:
        from opentelemetry.context import Context
        from opentelemetry.trace import set_span_in_context

        context = Context() if within is None else set_span_in_context(within, Context())
        return self._tracer.start_span(name, context=context, start_time=at, attributes=attributes)

    def _settle(self, span: Span, body: Mapping[str, Any]) -> None:
        from opentelemetry.trace import Status, StatusCode

        outcome = body.get("outcome")
        outcome = outcome if isinstance(outcome, Mapping) else {}
        verdict = outcome.get("verdict")
        verdict = verdict if isinstance(verdict, Mapping) else {}
        findings = verdict.get("findings")
        rules = [each.get("rule") for each in findings if isinstance(each, Mapping)] if findings else []
        kind = str(outcome.get("kind", ""))
        decision = verdict.get("decision", "allow")
        span.set_attributes(_told({"outcome": kind, "verdict": decision}, ("outcome", "verdict")))
        if rules:
            span.set_attribute("mulligan.rules", [str(rule)[:_LONGEST] for rule in rules])
        span.set_status(Status(StatusCode.OK if kind == "completed" else StatusCode.ERROR))


def _told(body: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """What of it an attribute can hold."""
    found = {key: body.get(key) for key in keys}
    return {
        f"mulligan.{key}": value[:_LONGEST] if isinstance(value, str) else value
        for key, value in found.items()
        if isinstance(value, str | int | float) and value != ""
    }
