"""What a session reaches beyond its sandbox, network, tools and databases, as far as its story has to know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from mulligan.runtime.approvals import Approvals
from mulligan.runtime.checkpoint import Restoration
from mulligan.runtime.effects import Effects
from mulligan.runtime.network import Network
from mulligan.runtime.outbox import Held, Outbox
from mulligan.sandbox.redaction import Redactor

if TYPE_CHECKING:
    from mulligan.runtime.databases.databases import Databases
    from mulligan.runtime.tools import Tools

_SHOWN = 10


class Outside:
    def __init__(
        self,
        effects: Effects,
        approvals: Approvals,
        network: Network | None,
        tools: Tools | None,
        databases: Databases | None = None,
    ) -> None:
        self.effects = effects
        self._approvals, self._network, self._tools = approvals, network, tools
        self._databases = databases
        self._taken_back: list[str] = []
        self._failed: list[str] = []

    @property
    def redactor(self) -> Redactor | None:
        """What takes secret values out of all that is shown and recorded; None where there are none."""
        return None if self._network is None else self._network.redactor

    def at(self, step: int) -> None:
        """The session is at this step: what is held from now on belongs to it."""
        if self.outbox is not None:
            self.outbox.at(step)

    @property
    def outbox(self) -> Outbox | None:
        return None if self._network is None else self._network.outbox

    def held(self) -> tuple[Held, ...]:
        """Every request that was held, whatever became of it."""
        return () if self.outbox is None else self.outbox.all()

    def waiting(self) -> tuple[Held, ...]:
        """What the next commit would send."""
        return () if self.outbox is None else self.outbox.waiting()

    def send(self) -> tuple[tuple[Held, ...], tuple[Held, ...]]:
        """What has left now, and what stays held."""
        if self._network is None:
            return (), ()
        return self._network.outbox.send(self._network.outlet.post)

    def waited(self) -> float:
        """Seconds, since the session began, in which a person was waited for."""
        return self._approvals.waited()

    @contextmanager
    def going_back(self) -> Iterator[list[str]]:
        """While memory and files go back. The list is told what was left out, when it is over."""
        said: list[str] = []
        self._taken_back, self._failed = [], []
        with ExitStack() as stack:
            for each in (self._network, self._tools):
                if each is not None:
                    stack.enter_context(each.going_back(said))
            yield said

    def begin(self, step: int) -> None:
        """Its action begins: what comes from now on belongs to it."""
        self.effects.begin(step)
        self.at(step)
        if self._databases is not None:
            self._databases.begin(step)

    def end(self, step: int) -> None:
        """Its action has ended: the state after it knows of all that was done until now."""
        if self._databases is not None:
            self._databases.end()
        self.effects.mark(step)

    def take_back(self, base: int, path: Sequence[int]) -> None:
        """What was done since the state after `base`, to which `path` leads, as far as can be; what cannot is told."""
        if self._databases is not None:
            self._databases.end()
            self._failed += self._databases.go_to(path)
        if self._tools is not None:
            back, failed = self._tools.inverses.take_back(self.effects.mark_of(base))
            self._taken_back += back
            self._failed += failed

    def run_again(self, step: int) -> None:
        """Its action is about to be run again."""
        if self._tools is not None:
            self._tools.answers.begin_again(step)

    def told(self, back: Restoration, path: Sequence[int], left_out: Sequence[str]) -> Restoration:
        """With what is otherwise out there than the state that it went back to knows it; `path` leads there."""
        since, gone = self.effects.since(back.step), self.effects.taken_back(path)
        stands = (*back.stands, *left_out, *self._failed, *since, *gone)
        return replace(back, stands=stands, taken_back=tuple(self._taken_back))

    @property
    def has_databases(self) -> bool:
        return self._databases is not None

    def commit(self) -> tuple[str, ...]:
        """The names of the databases that were committed. Raises DatabaseLost."""
        return () if self._databases is None else self._databases.commit()

    def notices(self, step: int) -> tuple[str, ...]:
        """What an agent is told of what it was denied, each once, and of what is held."""
        effects = self.effects.of(step)
        denied = dict.fromkeys(str(effect) for effect in effects if effect.denied)
        held = [str(effect) for effect in effects if effect.held]
        more, unrecorded = len(denied) - _SHOWN, self.effects.unrecorded(step)
        by = "network" if self._tools is None else "network and tools"
        return (
            *held[:_SHOWN],
            *((f"network: {len(held) - _SHOWN} more requests are held",) if len(held) > _SHOWN else ()),
            *list(denied)[:_SHOWN],
            *((f"{by}: {more} more requests were denied",) if more > 0 else ()),
            *((f"{by}: {unrecorded:,} denials are counted and not recorded",) if unrecorded else ()),
        )
