"""A session's ledger, told to people: one line an entry, and below it what it says.

The JSON form is the entry as it is (`mulligan log --json`). Here every text is made safe for a terminal and cut: the
source of actions, their output and the names of their files come from the sandbox.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mulligan.policies.source import CAVEAT, advise
from mulligan.runtime.ledger import Entry
from mulligan.runtime.timeline import headline
from mulligan.sandbox.printable import one_line

#: characters of a line, and lines below an entry
_WIDTH, _BELOW = 200, 20
#: lines of advice about a proposal
_ADVICE = 8


def spell_entry(entry: Entry) -> Iterator[str]:
    """The lines that tell of an entry: when, which step, what; and further ones, set in."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.time / 1e9))
    step = "-" if entry.step is None else str(entry.step)
    tell = _TELLERS.get(entry.kind, _anything)
    head, below = tell(entry.body)
    yield f"{when}  {step:>4}  {one_line(entry.kind):<12}  {_cut(head)}".rstrip()
    for line in below[:_BELOW]:
        yield f"{'':27}{_cut(line)}"
    if len(below) > _BELOW:
        yield f"{'':27}and {len(below) - _BELOW} more"


def record(entry: Entry) -> dict[str, Any]:
    """The entry as plain JSON data; beside a proposal, what its text seems about to do."""
    told = {"id": entry.id, "time": entry.time, "kind": entry.kind, "step": entry.step, "body": entry.body}
    if entry.kind == "proposed":
        told["advice"] = [asdict(each) for each in advise(_text(entry.body, "source"))]
    return told


_Told = tuple[str, Sequence[str]]


def _proposed(body: Mapping[str, Any]) -> _Told:
    why = _text(body, "why")
    head = f"by {_text(body, 'proposer') or 'nobody named'}: {headline(_text(body, 'source'), 100)}"
    advice = advise(_text(body, "source"))
    seems = [f"seems to {each}" for each in advice[:_ADVICE]]
    more = f"; and {len(advice) - _ADVICE} more like it" if len(advice) > _ADVICE else ""
    return head, [
        *([f"because: {why}"] if why else []),
        *seems,
        *([f"({CAVEAT}{more})"] if seems else []),
    ]


def _settled(body: Mapping[str, Any]) -> _Told:
    outcome = _mapping(body, "outcome")
    error, verdict = _mapping(outcome, "error"), _mapping(outcome, "verdict")
    head = f"{_text(outcome, 'kind')} after {_number(outcome, 'duration') * 1000:,.1f} ms"
    below = [f"{_text(error, 'name')}: {_text(error, 'value')}"] if error else []
    below += [f"cause: {_text(outcome, 'cause')}"] if "cause" in outcome else []
    below += [_finding(each) for each in _list(verdict, "findings")]
    return head, below


def _finding(finding: Any) -> str:
    said = finding if isinstance(finding, Mapping) else {}
    instead = _text(said, "instead")
    line = f"{_text(said, 'decision')} by {_text(said, 'rule')}: {_text(said, 'reason')}"
    return line + (f"; instead: {instead}" if instead else "")


def _checkpointed(body: Mapping[str, Any]) -> _Told:
    changes = _mapping(body, "changes")
    paths = _list(changes, "paths")
    head = f"{_number(changes, 'count'):.0f} files changed, in {_number(body, 'duration') * 1000:,.1f} ms"
    return head, [*map(str, paths), *(f"an undo to here: {line}" for line in _list(body, "reach"))]


def _asked(body: Mapping[str, Any]) -> _Told:
    return _text(body, "what"), [f"by {_text(body, 'rule')}: {_text(body, 'reason')}"]


def _answered(body: Mapping[str, Any]) -> _Told:
    return f"{_text(body, 'says')}: {_text(body, 'why')}", [_text(body, "what")]


def _moved(body: Mapping[str, Any]) -> _Told:
    return f"{_text(body, 'by')} to step {body.get('cursor')}", []


def _committed(body: Mapping[str, Any]) -> _Told:
    conflicts = [f"conflict: {path}" for path in _list(body, "conflicts")]
    databases = [f"database {name}: committed" for name in _list(body, "databases")]
    requests = [*_list(body, "sent"), *(f"not sent: {each}" for each in _list(body, "held"))]
    return f"{body.get('count')} paths", [
        *map(str, _list(body, "applied")),
        *conflicts,
        *databases,
        *map(str, requests),
    ]


def _held(body: Mapping[str, Any]) -> _Told:
    query = f"?{_text(body, 'query')}" if _text(body, "query") else ""
    head = f"{_text(body, 'what')}{query}, {_number(body, 'size'):,.0f} bytes, is held until commit"
    return head, [f"by {_text(body, 'rule')}: {_text(body, 'reason')}"]


def _held_failed(body: Mapping[str, Any]) -> _Told:
    return f"request {_number(body, 'number'):.0f} stays held", [_text(body, "why")]


def _unrecorded(body: Mapping[str, Any]) -> _Told:
    return f"{_number(body, 'denied'):,.0f} more requests were denied: they are counted and not recorded", []


def _called(body: Mapping[str, Any]) -> _Told:
    return _text(body, "what"), [f"by {_text(body, 'rule')}: {_text(body, 'reason')}"]


def _call_ended(body: Mapping[str, Any]) -> _Told:
    error = _text(body, "error")
    return f"call {body.get('number')} {_text(body, 'ended')}", [error] if error else []


def _call_undone(body: Mapping[str, Any]) -> _Told:
    why = _text(body, "why")
    return f"call {body.get('number')} " + (f"was not taken back: {why}" if why else "was taken back"), []


def _anything(body: Mapping[str, Any]) -> _Told:
    return (json.dumps(body, ensure_ascii=False) if body else ""), []


_TELLERS: Mapping[str, Callable[[Mapping[str, Any]], _Told]] = {
    "proposed": _proposed,
    "settled": _settled,
    "checkpointed": _checkpointed,
    "asked": _asked,
    "answered": _answered,
    "moved": _moved,
    "committed": _committed,
    "uncommitted": _committed,
    "effect_held": _held,
    "held_failed": _held_failed,
    "effects_unrecorded": _unrecorded,
    "tool_called": _called,
    "tool_ended": _call_ended,
    "tool_undone": _call_undone,
}


# A ledger is read as it lies on the disk: any value may be missing or of another type.


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    return value if isinstance(value, str) else ""


def _number(body: Mapping[str, Any], key: str) -> float:
    value = body.get(key)
    return float(value) if isinstance(value, int | float) else 0.0


def _mapping(body: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = body.get(key)
    return value if isinstance(value, Mapping) else {}


def _list(body: Mapping[str, Any], key: str) -> Sequence[Any]:
    value = body.get(key)
    return value if isinstance(value, list) else ()


def _cut(text: str) -> str:
    shown = one_line(text[: 4 * _WIDTH])
    return shown if len(shown) <= _WIDTH else shown[: _WIDTH - 1] + "…"
