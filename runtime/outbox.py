"""Requests that wait for a commit: kept in the ledger when they were made, and sent once, when the files are in.

A request belongs to the step that made it. It waits while that step lies on the way to where the session is, so undo
drops it and redo brings it back. Before anything of it leaves it is recorded that it does; from then on it is never
sent again by itself, whatever becomes of this process, and where no answer came it is said that it may have arrived.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mulligan.policies.decision import Decision, Finding
from mulligan.runtime.effects import READS, Effects
from mulligan.runtime.ledger import Ledger
from mulligan.sandbox.printable import one_line

if TYPE_CHECKING:
    from mulligan.sandbox.egress.judgement import Answered, Judgement, Parcel

#: requests that one session may have held, and bytes of their bodies, those that were dropped too
MOST, LARGEST = 200, 32 << 20
_LONGEST = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One request that was held. `size` is that of its body. `state` is "held", "sent", or "unknown": it left and no
    answer came. `error` is why it was not sent when that was last tried, or why there is no answer."""

    number: int
    step: int
    what: str
    rule: str
    size: int
    state: str = "held"
    status: int | None = None
    error: str = ""

    def __str__(self) -> str:
        match self.state:
            case "sent":
                return f"{self.what} was sent and answered with {self.status}"
            case "unknown":
                return f"{self.what} may have been sent: {self.error}; it is not sent again by itself"
            case _:
                tried = f", as it could not be sent: {self.error}" if self.error else ""
                return f"{self.what} is held since step {self.step}{tried}"


class Outbox:
    """Of one session. `keep` may be called from any thread, all else from the session's."""

    def __init__(self, effects: Effects, ledger: Ledger, most: int | None = None) -> None:
        """`most` is how many requests that may change something may be sent altogether; None is no limit."""
        self._effects, self._ledger, self._most = effects, ledger, most
        self._lock = threading.Lock()
        self._step = 0
        self._held: dict[int, Held] = {}
        self._parcels: dict[int, Parcel] = {}
        self._bytes = 0
        self._messages = 0
        #: the steps from the first to where the session is
        self.way: Callable[[], Sequence[int]] = lambda: (0,)

    @property
    def counts(self) -> bool:
        """Whether what leaves is limited in number: then nothing may leave that cannot be counted."""
        return self._most is not None

    def at(self, step: int) -> None:
        """What comes from now on belongs to this step."""
        with self._lock:
            self._step = step

    # -- for the proxy -----------------------------------------------------------------------------------------

    def keep(self, parcel: Parcel, judgement: Judgement) -> int:
        """Raises Full, and whatever keeps it from being recorded."""
        from mulligan.sandbox.egress.judgement import Full

        asked = parcel.asked
        with self._lock:
            if len(self._held) >= MOST or self._bytes + len(parcel.body) > LARGEST:
                why = f"a session may have {MOST} requests held, and {LARGEST >> 20} MB of their bodies, and had"
                raise Full("network.held", why, "commit, and go on in another session")
            if asked.method not in READS:
                self._check_budget()
            finding = Finding(decision=Decision.HOLD, rule=judgement.rule, reason=judgement.reason)
            number = self._effects.holding(self._step, asked, finding, _record(parcel))
            self._held[number] = Held(
                number=number,
                step=self._step,
                what=str(asked)[:_LONGEST],
                rule=judgement.rule,
                size=len(parcel.body),
            )
            self._parcels[number] = parcel
            self._bytes += len(parcel.body)
            return number

    def count(self, method: str) -> None:
        """One more request leaves that is not held. Raises Full."""
        with self._lock:
            if method not in READS:
                self._check_budget()
                self._messages += 1

    def _check_budget(self, *, waiting: int | None = None) -> None:
        if self._most is None:
            return
        if waiting is None:
            waiting = sum(
                each.what.partition(" ")[0] not in READS for each in self._among({*self.way(), self._step})
            )
        if (count := self._messages + waiting) < self._most:
            return
        from mulligan.sandbox.egress.judgement import Full

        why = f"{count} were sent or wait to be sent, and the most in a session is {self._most}"
        raise Full("budgets.messages", why, "do without, or undo a step whose request is held")

    # -- for the session ---------------------------------------------------------------------------------------

    def all(self) -> tuple[Held, ...]:
        """In the order in which they were made."""
        with self._lock:
            return tuple(self._held.values())

    def waiting(self) -> tuple[Held, ...]:
        """What the next commit would send."""
        with self._lock:
            return self._among(set(self.way()))

    def _among(self, way: set[int]) -> tuple[Held, ...]:
        return tuple(each for each in self._held.values() if each.state == "held" and each.step in way)

    def send(
        self, post: Callable[[Parcel, Callable[[Judgement], None]], Answered]
    ) -> tuple[tuple[Held, ...], tuple[Held, ...]]:
        """Send what waits, one after the other: what has left, and what stays held and why."""
        found = [self._send(each, post) for each in self.waiting()]
        return (
            tuple(each for each in found if each.state != "held"),
            tuple(each for each in found if each.state == "held"),
        )

    def _send(self, held: Held, post: Callable[[Parcel, Callable[[Judgement], None]], Answered]) -> Held:
        number = 0

        def leaving(judgement: Judgement) -> None:
            nonlocal held, number
            with self._lock:
                if held.what.partition(" ")[0] not in READS:
                    self._check_budget(waiting=0)
                    self._messages += 1
            # the commit point: from here on it is never sent again
            number = self._effects.leaving(parcel.asked, judgement, held=held.number, step=held.step)
            held = self._now(held, state="unknown", error="no answer came")

        parcel = self._parcels[held.number]
        try:
            answered = post(parcel, leaving)
        except Exception as problem:
            held = self._now(held, error=one_line(str(problem) or repr(problem))[:_LONGEST])
            if held.state == "held":
                self._ledger.append("held_failed", held.step, {"number": held.number, "why": held.error})
            return held
        self._effects.answered(number, answered)
        if answered.status is None:
            return self._now(held, error=one_line(answered.error)[:_LONGEST])
        return self._now(held, state="sent", status=answered.status, error="")

    def _now(self, held: Held, **changed: Any) -> Held:
        with self._lock:
            self._held[held.number] = replace(held, **changed)
            return self._held[held.number]


def _record(parcel: Parcel) -> dict[str, Any]:
    return {
        "query": parcel.asked.query,
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in parcel.headers],
        "body": base64.b64encode(parcel.body).decode(),
        "size": len(parcel.body),
    }
