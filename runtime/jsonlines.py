"""A run for programs: one JSON object a line on standard output, in the order of what happened.

Every object has `type`; these types and keys are stable, and new ones may be added.

    session      session, isolation, version, image, workspace, seconds, bounds {name: {enforcement, how}},
                 ungranted (what the policy allows and nothing carries out yet)
    action       action (its number from 1), count, place, source
    output       action, stream ("stdout" or "stderr"), text
    display      action, data (a MIME bundle), display_id, update
    result       action, data
    error        action, name, value, traceback (a list of lines)
    clear        action, wait
    step         action, step, outcome, duration, cause, changes [{path, change}],
                 reach {files, memory, exact, stands, sent}, effects [{what, reversibility, denied, held, rule, reason,
                 instead, status, sent, received, seconds, error}], transcript (null, or {folder, size, cut})
    restoration  step, memory, restored [{path, change}], stands, complete, duration
    commit       folder, applied [{path, change}], conflicts [{path, ours, theirs}], databases, sent [{what, rule,
                 step, size, state, status, error}], held (the same): state is sent, unknown (it may have been sent) or
                 held
    held_back    held: requests that waited for a commit, and were not sent
    kept_back    folder, why, changes [{path, change}]
    sessions     sessions [{session, state ("open", "kept" or "left"), opened, steps}]
    diff         session, before, after (steps), files [{path, was, change, facts, kind, summary, counts,
                 lines [[sign, text]], left_out, notes}], left_out (paths)
    entry        entry {id, time (nanoseconds since 1970), kind, step, body, and of a proposal advice [{kind, what}]}
    ledgers      sessions (ids, the newest last)
    chained      session, entries, head
    usage        memory, twins, twin_memory, cpu, processes, threads, disk, files, history (see usage.py)
    kept         session
    verified     session, faults (texts, none when all is whole), snapshots, contents, bytes
    forgotten    session
    failure      error, message, hint
    end          code (the exit code)

Durations are seconds. Texts are as the action gave them out: JSON hides escape codes and does not remove them, so
make them printable before you show them. All output is ASCII.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from mulligan.runtime.diffs.lines import Bounds, details
from mulligan.runtime.log import record
from mulligan.runtime.outcome import Lost, Outcome, Refused, Reverted
from mulligan.sandbox.messages import Clear, Display, Error, Event, Result, Stream
from mulligan.sandbox.snapshots import Holdings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mulligan.runtime.changes import FileChange
    from mulligan.runtime.checkpoint import Restoration
    from mulligan.runtime.commit import Commit
    from mulligan.runtime.diffs.detail import Detail
    from mulligan.runtime.diffs.diff import Diff, FileDiff
    from mulligan.runtime.effects import Effect
    from mulligan.runtime.ledger import Chain, Entry
    from mulligan.runtime.notebook import Cell
    from mulligan.runtime.outbox import Held
    from mulligan.runtime.past import Found, Verified
    from mulligan.runtime.session import Session
    from mulligan.runtime.step import Step
    from mulligan.runtime.usage import SessionUsage


class JsonLines:
    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._action = 0

    def opened(self, session: Session, workspace: str | None, seconds: float) -> None:
        report = session.report
        bounds = {
            name: {"enforcement": bound.enforcement, "how": bound.how}
            for name, bound in report.bounds.items()
        }
        self._write(
            "session",
            session=session.id,
            isolation=report.engine,
            version=report.version,
            image=report.image,
            workspace=workspace,
            seconds=seconds,
            bounds=bounds,
            ungranted=list(session.ungranted),
        )

    def begins(self, number: int, count: int, cell: Cell) -> None:
        self._action = number
        self._write("action", action=number, count=count, place=cell.place, source=cell.source)

    def event(self, event: Event) -> None:
        at = self._action
        match event:
            case Stream(name=name, text=text):
                self._write("output", action=at, stream=name, text=text)
            case Display(data=data, display_id=shown, update=update):
                self._write("display", action=at, data=data, display_id=shown, update=update)
            case Result(data=data):
                self._write("result", action=at, data=data)
            case Error(name=name, value=value, traceback=lines):
                self._write("error", action=at, name=name, value=value, traceback=lines)
            case Clear(wait=wait):
                self._write("clear", action=at, wait=wait)

    def step(self, number: int, step: Step) -> None:
        reach = step.reach
        self._write(
            "step",
            action=number,
            step=step.id,
            outcome=step.outcome.kind,
            duration=step.duration,
            cause=_cause(step.outcome),
            changes=_changes(step.changes),
            reach={
                "files": reach.files,
                "memory": reach.memory,
                "exact": reach.exact,
                "stands": reach.stands,
                "sent": reach.sent,
            },
            effects=[_effect(effect) for effect in step.effects],
            transcript=_transcript(step.outcome),
        )

    def restored(self, restoration: Restoration) -> None:
        self._write(
            "restoration",
            step=restoration.step,
            memory=restoration.memory,
            restored=_changes(restoration.restored),
            stands=restoration.stands,
            complete=restoration.complete,
            duration=restoration.duration,
        )

    def committed(self, commit: Commit, folder: str) -> None:
        self._write(
            "commit",
            folder=folder,
            applied=[{"path": _path(each.path), "change": each.did} for each in commit.applied],
            conflicts=[
                {"path": _path(each.path), "ours": each.ours, "theirs": each.theirs}
                for each in commit.conflicts
            ],
            databases=list(commit.databases),
            sent=[_held(each) for each in commit.sent],
            held=[_held(each) for each in commit.held],
        )

    def held_back(self, held: Sequence[Held]) -> None:
        if held:
            self._write("held_back", held=[_held(each) for each in held])

    def kept_back(self, changes: Iterable[FileChange], folder: str, why: str) -> None:
        self._write("kept_back", folder=folder, why=why, changes=_changes(changes))

    def sessions(self, found: Iterable[Found]) -> None:
        listed = [
            {
                "session": each.id,
                "state": each.state,
                "opened": each.opened,
                "steps": None if each.timeline is None else len(each.timeline.nodes) - 1,
            }
            for each in found
        ]
        self._write("sessions", sessions=listed)

    def diff(self, session: str, diff: Diff, bounds: Bounds) -> None:
        files = diff.files
        self._write(
            "diff",
            session=session,
            before=diff.before,
            after=diff.after,
            files=[_file(file, told) for file, told in details(files, bounds)],
            left_out=max(0, len(files) - bounds.files),
        )

    def entry(self, entry: Entry) -> None:
        self._write("entry", entry=record(entry))

    def ledgers(self, ids: Iterable[str]) -> None:
        self._write("ledgers", sessions=list(ids))

    def chained(self, session: str, found: Chain) -> None:
        self._write("chained", session=session, entries=found.entries, head=found.head)

    def kept(self, session: str) -> None:
        self._write("kept", session=session)

    def verified(self, verified: Verified) -> None:
        has = verified.holdings or Holdings(0, 0, 0)
        self._write(
            "verified",
            session=verified.session,
            faults=verified.faults,
            snapshots=has.snapshots,
            contents=has.contents,
            bytes=has.bytes,
        )

    def used(self, usage: SessionUsage) -> None:
        self._write("usage", **usage.record())

    def forgotten(self, session: str) -> None:
        self._write("forgotten", session=session)

    def failed(self, error: Exception, message: str, hint: str) -> None:
        self._write("failure", error=type(error).__name__, message=message, hint=hint)

    def ended(self, code: int) -> None:
        self._write("end", code=code)

    def _write(self, kind: str, **values: Any) -> None:
        record = {"type": kind, **values}
        try:
            line = json.dumps(record, allow_nan=False)
        except (ValueError, RecursionError):  # a MIME bundle with numbers or depths that JSON does not have
            line = json.dumps({**record, "data": {str(name): None for name in values.get("data", ())}})
        self._file.write(line + "\n")
        self._file.flush()


def _cause(outcome: Outcome) -> str | None:
    match outcome:
        case Lost(cause=cause):
            return cause
        case Refused(verdict=verdict) | Reverted(verdict=verdict):
            return "; ".join(finding.reason for finding in verdict.findings)
    return None


def _transcript(outcome: Outcome) -> dict[str, Any] | None:
    kept = outcome.transcript
    return None if kept is None else {"folder": str(kept.folder), "size": kept.size, "cut": kept.cut}


def _effect(effect: Effect) -> dict[str, Any]:
    return {
        "what": effect.what,
        "reversibility": effect.reversibility,
        "denied": effect.denied,
        "held": effect.held,
        "rule": effect.finding.rule,
        "reason": effect.finding.reason,
        "instead": effect.finding.instead,
        "status": effect.status,
        "sent": effect.sent,
        "received": effect.received,
        "seconds": effect.seconds,
        "error": effect.error,
    }


def _held(held: Held) -> dict[str, Any]:
    return asdict(held)


def _changes(changes: Iterable[FileChange]) -> list[dict[str, str]]:
    return [{"path": change.path, "change": change.action} for change in changes]


def _file(file: FileDiff, told: Detail | None) -> dict[str, Any]:
    record: dict[str, Any] = {"path": file.path, "was": file.was, "change": file.action, "facts": file.facts}
    if told is not None:
        record |= {
            "kind": told.kind,
            "summary": told.summary,
            "counts": told.counts,
            "lines": [[line.sign, line.text] for line in told.lines],
            "left_out": told.left_out,
            "notes": told.notes,
        }
    return record


def _path(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
