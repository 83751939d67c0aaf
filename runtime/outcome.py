"""What became of an action: a closed union, whose members name who ended it.

    Completed   the action ran to its end
    Raised      the action raised an exception
    TimedOut    we ended it at its deadline: `restored` tells whether the kernel obeyed the interrupt (its
                variables are as the action left them) or had to be killed (all is as before the action)
    Refused     the policy did not let it run; nothing happened
    Reverted    it ran, and the policy had it undone because of what it did
    Lost        the kernel died; all is as before the action, as far as `left` says

All carry the output that had come until then. The fields hold what the action printed, byte for byte as text,
live escape codes included; `text` is made safe for a terminal and for a prompt, and bounded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mulligan.policies.decision import Verdict
from mulligan.runtime.transcript import Transcript
from mulligan.sandbox.messages import Display, Error, Result
from mulligan.sandbox.printable import one_line, printable

#: characters of output that `text` shows of each stream: half of its head, half of its tail
SHOWN = 8000
#: characters of each stream that the ledger keeps
RECORDED = 64_000
AS_BEFORE = "Files and variables are as they were before this action."
_ANEW = "Files are as they were before this action; the kernel was started anew, without its variables."
_REBUILT = (
    "Files are as they were before this action; variables were rebuilt by running actions again, and what depends on "
    "time, chance or identity may differ."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What an action gave out. `left_out` counts characters and displays beyond what is kept in memory; long output is
    whole in the files of its `transcript`."""

    stdout: str = ""
    stderr: str = ""
    result: Result | None = None
    displays: tuple[Display, ...] = ()
    left_out: int = 0
    transcript: Transcript | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The base of the union; never made itself. `duration` is in seconds, of running alone."""

    kind: ClassVar[str] = ""
    output: Output = field(default_factory=Output)
    error: Error | None = None
    duration: float = 0.0
    #: where the action was taken back: what is as it was before, a sentence
    left: str = AS_BEFORE
    #: what we have to say about it besides, such as requests that were denied: printable lines
    notes: tuple[str, ...] = ()

    @property
    def stdout(self) -> str:
        return self.output.stdout

    @property
    def stderr(self) -> str:
        return self.output.stderr

    @property
    def result(self) -> Result | None:
        return self.output.result

    @property
    def displays(self) -> tuple[Display, ...]:
        return self.output.displays

    @property
    def transcript(self) -> Transcript | None:
        """Where the whole of a long output is, and whether it was cut; None where the ledger holds all of it."""
        return self.output.transcript

    @property
    def ok(self) -> bool:
        return self.kind == "completed"

    @property
    def text(self) -> str:
        """What an agent is shown: output, result, error and what we have to say about it. Bounded, printable."""
        parts = [shorten(self.stdout), shorten(self.stderr)]
        parts += [shorten(_plain(display.data)) for display in self.displays]
        if self.result is not None:
            parts.append(shorten(_plain(self.result.data)))
        if self.error is not None:
            parts.append(shorten("\n".join(self.error.traceback) or f"{self.error.name}: {self.error.value}"))
        if self.output.left_out:
            parts.append(f"[{self.output.left_out:,} characters or displays were left out]")
        parts += [f"[{note}]" for note in self.notes]
        return "\n".join(part.rstrip("\n") for part in [*parts, self.notice] if part)

    @property
    def notice(self) -> str:
        """What we have to say about it; empty where it speaks for itself."""
        return ""

    def record(self) -> dict[str, Any]:
        """For the ledger: plain JSON data, bounded."""
        return {
            "kind": self.kind,
            "duration": self.duration,
            "stdout": _bounded(self.stdout),
            "stderr": _bounded(self.stderr),
            "result": _bounded(_plain(self.result.data)) if self.result else None,
            "displays": [sorted(display.data)[:20] for display in self.displays[:100]],
            "error": {"name": self.error.name[:500], "value": _bounded(self.error.value)}
            if self.error
            else None,
            "left_out": self.output.left_out,
            "notes": list(self.notes),
            "digest": digest(self.output),
            "transcript": self.transcript.record() if self.transcript else None,
            **self._details(),
        }

    def _details(self) -> dict[str, Any]:
        """What the ledger keeps of this kind of outcome besides."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed(Outcome):
    kind: ClassVar[str] = "completed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised(Outcome):
    kind: ClassVar[str] = "raised"


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedOut(Outcome):
    kind: ClassVar[str] = "timed_out"
    after: float
    restored: bool

    @property
    def notice(self) -> str:
        state = self.left if self.restored else "It was interrupted; what it had done until then stands."
        return f"[Timed out after {self.after:g} s. {state}]"

    def _details(self) -> dict[str, Any]:
        return {"after": self.after, "restored": self.restored}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused(Outcome):
    kind: ClassVar[str] = "refused"
    verdict: Verdict

    @property
    def notice(self) -> str:
        return f"[Refused, nothing was run: {spelt(self.verdict)}]"

    def _details(self) -> dict[str, Any]:
        return {"verdict": self.verdict.record()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reverted(Outcome):
    kind: ClassVar[str] = "reverted"
    verdict: Verdict

    @property
    def notice(self) -> str:
        return f"[Ended and taken back: {spelt(self.verdict)} {self.left}]"

    def _details(self) -> dict[str, Any]:
        return {"verdict": self.verdict.record()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost(Outcome):
    kind: ClassVar[str] = "lost"
    cause: str

    @property
    def notice(self) -> str:
        return f"[The kernel died: {self.cause}. {self.left}]"

    def _details(self) -> dict[str, Any]:
        return {"cause": _bounded(self.cause)}


def left_by(memory: str, *, ours: bool) -> str:
    """What is as it was, where `memory` came back as a `Restoration` says; `ours`: the kernel is."""
    if memory == "replayed":
        return _REBUILT
    return AS_BEFORE if ours else _ANEW


def spelt(verdict: Verdict) -> str:
    """The reasons, and what would have been allowed, each said once."""
    reasons = "; ".join(dict.fromkeys(finding.reason for finding in verdict.findings))
    instead = "; ".join(dict.fromkeys(each.instead for each in verdict.findings if each.instead))
    return one_line(f"{reasons or 'no rule allows it'}." + (f" Instead: {instead}." if instead else ""))


def digest(output: Output) -> str:
    """Names what an action has printed and its result, for comparing: hexadecimal."""
    result = _plain(output.result.data) if output.result else ""
    named = hashlib.sha256(output.stdout.encode("utf-8", "backslashreplace"))
    named.update(b"\0" + result.encode("utf-8", "backslashreplace"))
    return named.hexdigest()[:32]


def shorten(text: str, most: int = SHOWN) -> str:
    """Head and tail of a text, printable, with a count of what was left out between."""
    return printable(_cut(text, most))


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half:,} characters ...]\n{text[-half:]}"


def _bounded(text: str) -> str:
    return _cut(text, RECORDED)


def _plain(data: Mapping[str, Any]) -> str:
    """A MIME bundle in words."""
    text = data.get("text/plain")
    if isinstance(text, str):
        return text.encode("utf-8", "replace").decode()
    return f"[{', '.join(sorted(data))}]" if data else ""
