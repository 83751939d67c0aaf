"""What actions did elsewhere: each request that left and each tool's call, with the rule that let it, and each that was
denied.

A request is in the ledger before it leaves, a call before it is made. What was read leaves nothing to take back;
anything else stands, unless a tool's own inverse takes it back, and every return to a state from before it says so.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mulligan.policies.decision import Decision, Finding
from mulligan.runtime.ledger import Ledger
from mulligan.sandbox.errors import MulliganError
from mulligan.sandbox.printable import one_line

if TYPE_CHECKING:
    from mulligan.sandbox.egress.judgement import Answered, Asked, Judgement

#: methods that ask for something and change nothing, by the definition of HTTP
READS = ("GET", "HEAD", "OPTIONS")
#: effects of one step that are kept in memory (of those denied, of reads and of what stands so many each), and lines
#: that a restoration has about them; the ledger has all
KEPT, SHOWN = 1000, 100
_LONGEST = 500
#: denials of one step of which the ledger has an entry each; of those beyond it has the number, each time that it has
#: doubled and at the step's end
RECORDED = 200
#: names of which it is remembered that the ledger has them
_NAMES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One request, one name that was looked up for one and that no rule spells out, or one call of a tool. `number`
    counts those of the session; `step` is the one that ran then, or the last that had run. `reversibility` is "read"
    (nothing to take back), "reversible" (a statement, which its database takes back), "compensable" (its tool has an
    inverse), "irreversible", or "unknown" for a tunnel that nobody looked into, a WebSocket, and a tool of which
    nothing is declared. `finding` is why it was let go or denied.
    `status` is None while there is no answer. Of a call `ended` says what came of it: "returned", "raised" (`error` has
    what), "left" or "cancelled" before it had ended; "" while it is under way."""

    number: int
    step: int
    what: str
    reversibility: str
    finding: Finding
    status: int | None = None
    sent: int = 0
    received: int = 0
    seconds: float = 0.0
    error: str = ""
    #: "network" or "tools"
    by: str = "network"
    ended: str = ""
    #: by its inverse, when something was undone
    taken_back: bool = False

    @property
    def denied(self) -> bool:
        return self.finding.decision is Decision.DENY

    @property
    def held(self) -> bool:
        """Whether it waited for a commit when it was made; whether it was sent since, the session's `held` tells."""
        return self.finding.decision is Decision.HOLD

    @property
    def stands(self) -> bool:
        """Whether undo leaves something of it behind."""
        allowed = self.finding.decision is Decision.ALLOW
        return allowed and self.reversibility not in ("read", "reversible") and not self.taken_back

    def __str__(self) -> str:
        if self.denied:
            instead = f"; instead: {self.finding.instead}" if self.finding.instead else ""
            return one_line(
                f"{self.by}: denied {self.what} by rule {self.finding.rule}: {self.finding.reason}{instead}"
            )
        if self.held:
            said = "is held: it is sent at the next commit, and dropped if the step is undone"
            return one_line(
                f"network: {self.what} {said}; by rule {self.finding.rule}: {self.finding.reason}"
            )
        if self.by == "tools":
            return self._said_of_call()
        if self.reversibility == "unknown":
            return f"{self.what}: what was sent there is not known and stands ({self.sent:,} bytes)"
        return f"{self.what} was sent{'' if self.status is None else f' and answered with {self.status}'}"

    def _said_of_call(self) -> str:
        match self.ended:
            case "returned":
                came = "was called"
            case "raised":
                came = f"was called and raised {self.error}"
            case "left" | "cancelled":
                came = f"was called and had not ended ({self.error})"
            case _:
                came = "was called and has not ended"
        if self.taken_back:
            return f"{self.what} {came}, and was taken back"
        unknown = "; what it did is not known and stands" if self.reversibility == "unknown" else ""
        return f"{self.what} {came}{unknown}"


class Effects:
    """The record of a session's effects: the proxy's journal. From any thread."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._step = 0
        self._last = 0
        self._kept: dict[int, dict[int, Effect]] = {}
        self._counts: Counter[tuple[int, bool, bool]] = Counter()  # those that are kept, by step and kind
        #: what stands of a step beyond what is kept: how many, and the number of the last
        self._more: dict[int, tuple[int, int]] = {}
        self._marks: dict[int, int] = {0: 0}
        self._looked_up: set[str] = set()
        #: denials by step, and of how many that the ledger has no entry of it was told
        self._denials: Counter[int] = Counter()
        self._told: Counter[int] = Counter()

    # -- the proxy's journal -----------------------------------------------------------------------------------

    def leaving(
        self, asked: Asked, judgement: Judgement, *, held: int | None = None, step: int | None = None
    ) -> int:
        """Raises where it cannot be recorded. `held` is the number that it has had, and `step` its own, where it was
        held until now."""
        finding = Finding(decision=Decision.ALLOW, rule=judgement.rule, reason=judgement.reason)
        effect = self._new(str(asked), _reversibility(asked), finding, step=step)
        was = {} if held is None else {"held": held}
        self._ledger.append("effect", effect.step, {**_record(effect), "query": _names(asked.query), **was})
        return effect.number

    def holding(self, step: int, asked: Asked, finding: Finding, body: Mapping[str, Any]) -> int:
        """A request of this step that is not sent now. Raises where it cannot be recorded."""
        effect = self._new(str(asked), _reversibility(asked), finding, step=step)
        self._ledger.append("effect_held", effect.step, {**_record(effect), **body})
        return effect.number

    def looking_up(self, asked: Asked, judgement: Judgement) -> None:
        """Once a name and step. Raises where it cannot be recorded."""
        if asked.host in self._looked_up:
            return
        finding = Finding(decision=Decision.ALLOW, rule=judgement.rule, reason=judgement.reason)
        effect = self._new(f"a look-up of the name {asked.host}", "read", finding)
        self._ledger.append("effect_lookup", effect.step, _record(effect))
        if len(self._looked_up) < _NAMES:
            self._looked_up.add(asked.host)

    def answered(self, number: int, answered: Answered) -> None:
        found: dict[str, Any] = {
            "status": answered.status,
            "sent": answered.sent,
            "received": answered.received,
            "seconds": answered.seconds,
            "error": one_line(answered.error)[:_LONGEST],
        }
        step = self.change(number, **found)
        with suppress(MulliganError, ValueError):  # it has left; that it was to leave is recorded
            self._ledger.append("effect_answered", step, {"number": number, **found})

    def denied(self, asked: Asked, judgement: Judgement) -> None:
        finding = Finding(
            decision=Decision.DENY,
            rule=judgement.rule,
            reason=judgement.reason,
            instead=judgement.instead,
        )
        self._note_denial(self._new(str(asked), _reversibility(asked), finding))

    def _note_denial(self, effect: Effect) -> None:
        with self._lock:
            self._denials[effect.step] += 1
            beyond = self._denials[effect.step] - RECORDED
        if beyond <= 0:
            with suppress(MulliganError, ValueError):
                self._ledger.append("effect_denied", effect.step, _record(effect))
        elif beyond & (beyond - 1) == 0:
            self._tell_unrecorded(effect.step)

    # -- of tools ------------------------------------------------------------------------------------------------

    def calling(self, what: str, reversibility: str, finding: Finding, body: Mapping[str, Any]) -> int:
        """Raises where it cannot be recorded: then it is not called."""
        effect = self._new(what, reversibility, finding, by="tools")
        self._ledger.append("tool_called", effect.step, {**_record(effect), **body})
        return effect.number

    def called(self, number: int, ended: str, seconds: float, error: str, body: Mapping[str, Any]) -> None:
        """What came of a call."""
        found = {"ended": ended, "seconds": seconds, "error": one_line(error)[:_LONGEST]}
        step = self.change(number, **found)
        with suppress(MulliganError, ValueError):
            self._ledger.append("tool_ended", step, {"number": number, **found, **body})

    def not_called(self, what: str, reversibility: str, finding: Finding) -> None:
        self._note_denial(self._new(what, reversibility, finding, by="tools"))

    def note(self, kind: str, number: int, body: Mapping[str, Any]) -> None:
        """Of a call, under its step. Raises where it cannot be recorded."""
        self._ledger.append(kind, self.change(number), {"number": number, **body})

    def mark_of(self, step: int) -> int:
        """The number of the last effect that the state after `step` knows of."""
        with self._lock:
            return self._marks.get(step, 0)

    def taken_back(self, path: Iterable[int]) -> tuple[str, ...]:
        """Calls that these steps made and that were taken back: the state after them takes them for made."""
        with self._lock:
            found = [
                f"{effect}, and is not made again"
                for step in path
                for effect in self._kept.get(step, {}).values()
                if effect.taken_back
            ]
        more = len(found) - SHOWN
        return (
            *found[:SHOWN],
            *((f"{more:,} more calls were taken back, and are not made again",) if more > 0 else ()),
        )

    def change(self, number: int, **found: Any) -> int | None:
        """Of one that is kept; its step."""
        with self._lock:
            step = next((step for step, kept in reversed(self._kept.items()) if number in kept), None)
            if step is not None:
                self._kept[step][number] = replace(self._kept[step][number], **found)
        return step

    def _tell_unrecorded(self, step: int) -> None:
        with self._lock:
            count = self.unrecorded(step)
            if count == self._told[step]:
                return
            self._told[step] = count
        with suppress(MulliganError, ValueError):
            self._ledger.append("effects_unrecorded", step, {"denied": count})

    def _new(
        self,
        what: str,
        reversibility: str,
        finding: Finding,
        by: str = "network",
        step: int | None = None,
    ) -> Effect:
        with self._lock:
            self._last += 1
            step = self._step if step is None else step
            what = what if len(what) <= _LONGEST else f"{what[:_LONGEST]}..."
            effect = Effect(
                number=self._last,
                step=step,
                what=what,
                reversibility=reversibility,
                finding=finding,
                by=by,
            )
            kind = (step, effect.denied, effect.stands)  # each for itself: reads never hide what stands
            if self._counts[kind] < KEPT:
                self._counts[kind] += 1
                self._kept.setdefault(step, {})[effect.number] = effect
            elif effect.stands:
                self._more[step] = (self._more.get(step, (0, 0))[0] + 1, effect.number)
            return effect

    # -- for the story -----------------------------------------------------------------------------------------

    def begin(self, step: int) -> None:
        """What comes from now on belongs to this step."""
        self._tell_unrecorded(self._step)
        with self._lock:
            self._step = step
            self._looked_up.clear()

    @property
    def step(self) -> int:
        """The one that what comes now belongs to."""
        with self._lock:
            return self._step

    def of(self, step: int) -> tuple[Effect, ...]:
        with self._lock:
            return tuple(self._kept.get(step, {}).values())

    def unrecorded(self, step: int) -> int:
        """How many denials of a step the ledger only counts."""
        return max(0, self._denials[step] - RECORDED)

    def mark(self, step: int, like: int | None = None) -> None:
        """The state after `step` knows of all that was sent until now; or of what the state after `like` knows."""
        self._tell_unrecorded(step)
        with self._lock:
            self._marks[step] = self._last if like is None else self._marks.get(like, 0)

    def since(self, step: int) -> tuple[str, ...]:
        """What was sent that the state after `step` does not know of, and that stands."""
        with self._lock:
            lines, mark = list(self._lines_since(step)), self._marks.get(step, 0)
            more = sum(count for count, last in self._more.values() if last > mark) + len(lines[SHOWN:])
        return (
            *lines[:SHOWN],
            *((f"{more:,} more requests or calls were made: the ledger has them",) if more else ()),
        )

    def _lines_since(self, step: int) -> Iterator[str]:
        mark = self._marks.get(step, 0)
        for kept in self._kept.values():
            yield from (str(effect) for effect in kept.values() if effect.stands and effect.number > mark)


def _reversibility(asked: Asked) -> str:
    if asked.method == "CONNECT" or asked.scheme in ("ws", "wss"):
        return "unknown"
    return "read" if asked.method in READS else "irreversible"


def _record(effect: Effect) -> Mapping[str, Any]:
    return {
        "number": effect.number,
        "what": effect.what,
        "reversibility": effect.reversibility,
        "rule": effect.finding.rule,
        "reason": effect.finding.reason[:_LONGEST],
    }


def _names(query: str) -> str:
    """The names of a query's values: the values may be secrets, and so may be what has no value."""
    parts = (part.partition("=") for part in query.split("&") if part)
    return "&".join(name if value.strip("=") else "*" for name, _, value in parts)[:_LONGEST]
