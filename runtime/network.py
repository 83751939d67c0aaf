"""A session's network: the judge that its policy makes, the record of effects, and the proxy that asks both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from mulligan.runtime.approvals import Approvals
from mulligan.runtime.effects import READS, Effects
from mulligan.runtime.outbox import Outbox
from mulligan.sandbox.errors import NetworkMissing
from mulligan.sandbox.redaction import Redactor

if TYPE_CHECKING:
    from mulligan.sandbox.egress.judgement import Answered, Asked, Judge, Judgement, Parcel, Preview
    from mulligan.sandbox.egress.proxy import Egress
    from mulligan.sandbox.egress.secrets import Secrets


class Network:
    def __init__(
        self,
        judge: Judge,
        effects: Effects,
        approvals: Approvals,
        outbox: Outbox,
        secrets: Secrets | None = None,
        bytes_out: int | None = None,
    ) -> None:
        """Raises NetworkMissing where what the proxy needs is not installed."""
        self._judge = judge
        self._approvals = approvals
        self._secrets = secrets
        self._again = False
        self._left_out = 0
        self.effects = effects
        self.outbox = outbox
        self.outlet = self._outlet(bytes_out)

    def _outlet(self, bytes_out: int | None) -> Egress:
        try:
            from mulligan.sandbox.egress.bounds import Bounds
            from mulligan.sandbox.egress.proxy import Egress
        except ImportError as error:
            raise NetworkMissing(
                f"the policy has network rules, and {error.name} is not installed",
                hint="Run: pip install 'mulligan[network]'",
            ) from error
        bounds = Bounds(out=bytes_out)
        return Egress(self, self, bounds=bounds, approver=self, keeper=self, secrets=self._secrets)

    # -- the proxy's journal and keeper ------------------------------------------------------------------------

    def leaving(self, asked: Asked, judgement: Judgement) -> int:
        self.outbox.count("CONNECT" if asked.both_ways else asked.method)
        return self.effects.leaving(asked, judgement)

    def looking_up(self, asked: Asked, judgement: Judgement) -> None:
        self.effects.looking_up(asked, judgement)

    def answered(self, number: int, answered: Answered) -> None:
        self.effects.answered(number, answered)

    def denied(self, asked: Asked, judgement: Judgement) -> None:
        self.effects.denied(asked, judgement)

    def keep(self, parcel: Parcel, judgement: Judgement) -> int:
        from mulligan.sandbox.egress.judgement import Full

        if self._again:
            self._left_out += 1
            why = "this action is run again to rebuild memory, and nothing is held twice"
            raise Full("replay", why, "")
        return self.outbox.keep(parcel, judgement)

    # -- the proxy's judge -------------------------------------------------------------------------------------

    def judge(self, asked: Asked) -> Judgement:
        from mulligan.sandbox.egress.judgement import Judgement

        if self._again and (asked.method not in READS or asked.scheme in ("ws", "wss")):
            self._left_out += 1
            return Judgement(
                allowed=False,
                rule="replay",
                reason="this action is run again to rebuild memory, and what was sent is not sent twice",
            )
        if asked.both_ways and self.outbox.counts:
            why = "what is sent in a tunnel or a WebSocket cannot be counted"
            return Judgement(allowed=False, rule="budgets.messages", reason=why, instead="send requests")
        return self._judge.judge(asked)

    def needs_inside(self, host: str, port: int) -> bool:
        return self.outbox.counts or self._judge.needs_inside(host, port)

    # -- the proxy's approver ----------------------------------------------------------------------------------

    def approve(
        self, asked: Asked, judgement: Judgement, preview: Preview, gone: Callable[[], bool]
    ) -> Judgement:
        if self._again:
            self._left_out += 1
            why = "this action is run again to rebuild memory, and nobody is asked twice"
            return replace(judgement, reason=why, rule="replay")
        question, matter = self._approvals.about_request(self.effects.step, asked, judgement, preview)
        decided = self._approvals.ask(question, matter, lambda: self._again or gone())
        reason = f"{judgement.reason} ({decided.why})"
        instead = judgement.instead or decided.instead or "do without"
        return replace(judgement, allowed=decided.allowed, reason=reason, instead=instead)

    # -- for the story -----------------------------------------------------------------------------------------

    @property
    def redactor(self) -> Redactor | None:
        """What takes secret values out of all that is shown and recorded; None where there are none."""
        return self._secrets.redactor if self._secrets else None

    @contextmanager
    def going_back(self, said: list[str]) -> Iterator[None]:
        """While memory and files go back nothing but reads may leave, and whoever wakes finds no connection of before:
        what had come on it was for others. `said` is told what was left out, when it is over."""
        self._again, self._left_out = True, 0
        try:
            self.outlet.hang_up()
            yield
        finally:
            self.outlet.hang_up()
            self._again = False
            if self._left_out:
                said.append(f"{self._left_out} request(s) were not sent again when actions were run again")
