"""What was said and done in an agent's runs, a JSON object a line: enough to read it, and to go on from it.

    begun     format, session, isolation, model, time        the lines before it are of sessions that have ended
    task      task
    message   role, content                                  as the model was given it
    step      step, parent, source, outcome, duration, digest, stdout, stderr, result, error, stands, again
    cursor    step                                           where the session is: what stands leads up to it
    undone    step, why, stands
    retrying  why, seconds
    spent     turns, tokens, cost, wall
    final     kind, value, exact, why, steps                 `exact`: the value is all there, as JSON

A line is written as soon as it is known, so what is there after a crash is what had happened.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mulligan.runtime.agent.errors import RecordingInvalid
from mulligan.runtime.agent.events import Acted, AgentEvent, Final, Retrying, Spending, Undone
from mulligan.runtime.agent.model import Message

if TYPE_CHECKING:
    from mulligan.runtime.session import Session
    from mulligan.runtime.step import Step

FORMAT = 1
#: bytes of a recording that is read
LARGEST = 256 << 20


class Recording:
    """Writes one, to the end of what the file holds. A context manager."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    @classmethod
    def open(cls, path: Path) -> Recording:
        """Raises RecordingInvalid."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            _end_line(descriptor)
        except OSError as error:
            raise RecordingInvalid(
                f"{path}: {error.strerror}", hint="name a file that you can write"
            ) from error
        return cls(os.fdopen(descriptor, "w", encoding="ascii"))

    def begun(self, session: Session, model: str) -> None:
        engine = session.report.engine
        self._write(
            "begun", format=FORMAT, session=session.id, isolation=engine, model=model, time=time.time()
        )

    def task(self, task: str) -> None:
        self._write("task", task=task)

    def message(self, message: Message) -> None:
        self._write("message", role=message["role"], content=message["content"])

    def step(self, session: Session, step: Step, *, again: bool = False) -> None:
        self._write("step", parent=session.timeline.node(step.id).parent, again=again, **_step(step))
        self._write("cursor", step=session.timeline.cursor)

    def event(self, session: Session, event: AgentEvent) -> None:
        match event:
            case Acted(step=step):
                self.step(session, step)
            case Undone(restoration=back, why=why):
                self._write("undone", step=back.step, why=why, stands=back.stands)
                self._write("cursor", step=session.timeline.cursor)
            case Retrying(why=why, seconds=seconds):
                self._write("retrying", why=why, seconds=seconds)
            case Spending(spent=spent):
                self._write("spent", **asdict(spent))
            case Final():
                value, exact = plain(event.value)
                self._write(
                    "final", kind=event.kind, value=value, exact=exact, why=event.why, steps=event.steps
                )

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, type: str, **values: Any) -> None:
        self._file.write(json.dumps({"type": type, **values}) + "\n")
        self._file.flush()


def _end_line(descriptor: int) -> None:
    """A last line that was cut off takes nothing of what comes after it."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        os.write(descriptor, b"\n")


def plain(value: Any) -> tuple[Any, bool]:
    """As JSON, and whether that is all of it: what JSON has no form for becomes its text."""
    try:
        text = json.dumps(value, allow_nan=False)
        return value, bool(json.loads(text) == value)
    except (TypeError, ValueError, RecursionError):
        return repr(value)[:100_000], False


def _step(step: Step) -> dict[str, Any]:
    outcome = step.outcome.record()
    kept = ("duration", "digest", "stdout", "stderr", "result", "error")
    sent = [str(effect) for effect in step.effects if effect.stands]
    return {
        "step": step.id,
        "source": step.action.source,
        "outcome": step.outcome.kind,
        **{name: outcome[name] for name in kept},
        "stands": sent,
    }


# -- reading --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """A step that stands. `sent` is what it did elsewhere that is not taken back."""

    source: str
    outcome: str
    digest: str
    sent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a recording says: `model`, all `messages` but the first, the steps that stand, the last `task`, and whether
    it was ended."""

    model: str = ""
    task: str = ""
    messages: Sequence[Message] = ()
    standing: Sequence[Done] = ()
    ended: bool = False
    lines: Sequence[Mapping[str, Any]] = field(default=(), repr=False)


def read(path: Path) -> Recorded:
    """Raises RecordingInvalid. A line that was cut off is passed over, where it was the last before a crash."""
    lines = list(_lines(path))
    if not lines or lines[0].get("type") != "begun" or lines[0].get("format") != FORMAT:
        raise RecordingInvalid(f"{path} is no recording of an agent", hint="name a file that --record wrote")
    try:
        return _recorded(lines)
    except (KeyError, TypeError, ValueError) as error:
        raise RecordingInvalid(f"{path} is damaged: {error!r}", hint="begin anew, without it") from error


def _lines(path: Path) -> list[Mapping[str, Any]]:
    try:
        if path.stat().st_size > LARGEST:
            raise RecordingInvalid(f"{path} is larger than {LARGEST >> 20} MiB")
        texts = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8"
        raise RecordingInvalid(f"{path}: {why}", hint="name a file that --record wrote") from error
    lines: list[Mapping[str, Any]] = []
    cut: tuple[int, Exception] | None = None
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        try:
            line, wrong = json.loads(text), None
        except (ValueError, RecursionError) as error:
            line, wrong = None, (number, error)
        if cut is not None and not (isinstance(line, dict) and line.get("type") == "begun"):
            raise RecordingInvalid(
                f"{path}, line {cut[0]}: not JSON", hint="begin anew, without it"
            ) from cut[1]
        cut = wrong
        if isinstance(line, dict):
            lines.append(line)
    return lines


def _recorded(lines: Sequence[Mapping[str, Any]]) -> Recorded:
    model, task, ended, cursor = "", "", False, 0
    messages: list[Message] = []
    steps: dict[int, Mapping[str, Any]] = {}
    for line in lines:
        match line["type"]:
            case "begun":
                model, cursor = str(line["model"]), 0
                steps.clear()
            case "task":
                task, ended = str(line["task"]), False
            case "message":
                messages.append(_message(line))
            case "step":
                steps[int(line["step"])] = line
            case "cursor":
                cursor = int(line["step"])
            case "final":
                ended = True
    return Recorded(model, task, messages, _standing(steps, cursor), ended, lines)


def _message(line: Mapping[str, Any]) -> Message:
    if line["role"] not in ("user", "assistant") or not isinstance(line["content"], str | list):
        raise ValueError("a message that is none")
    return {"role": line["role"], "content": line["content"]}


def _standing(steps: Mapping[int, Mapping[str, Any]], cursor: int) -> list[Done]:
    """From the first to the one that the session was at."""
    found: list[Done] = []
    at = cursor
    while at in steps and len(found) <= len(steps):
        line = steps[at]
        sent = tuple(map(str, line["stands"]))
        found.append(Done(str(line["source"]), str(line["outcome"]), str(line["digest"]), sent))
        at = int(line["parent"])
    return found[::-1]
