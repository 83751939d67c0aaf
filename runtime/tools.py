"""A session's tools: each call is judged, is in the ledger before it is made, and may be taken back by its inverse."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from inspect import BoundArguments
from pathlib import PurePath
from typing import Any
from uuid import UUID

from mulligan.policies.asking import judge_tool
from mulligan.policies.decision import Decision, Finding
from mulligan.policies.policy import Policy
from mulligan.runtime.effects import Effects
from mulligan.sandbox.errors import ToolInvalid
from mulligan.sandbox.printable import one_line
from mulligan.sandbox.redaction import Redactor
from mulligan.sandbox.tools.errors import Denied, Refused
from mulligan.sandbox.tools.overseer import Call, Ended, Recorded
from mulligan.sandbox.tools.runner import Runner
from mulligan.sandbox.tools.server import ToolServer
from mulligan.sandbox.tools.tool import Offer, Tool
from mulligan.sandbox.tools.values import embed

Offered = Iterable[Callable[..., Any]] | Mapping[str, Callable[..., Any]]
#: characters of a call's arguments that are shown
_SHOWN = 300
#: characters, as JSON, of arguments and of an answer that the ledger has
_LARGEST = 64 * 1024


def offer(handed: Offered) -> Offer | None:
    """None where there are no tools. Raises ToolInvalid."""
    tools: object = handed
    if isinstance(tools, str) or not isinstance(tools, Iterable):
        raise ToolInvalid(f"tools is a list of functions, not {tools!r}", hint="write tools=[send_invoice]")
    named = tools.items() if isinstance(tools, Mapping) else (("", each) for each in tools)
    found = [Tool.of(function, name) for name, function in named]
    return Offer(found) if found else None


class Tools:
    """The overseer of one session's calls. From any thread."""

    def __init__(self, offer: Offer, effects: Effects, runner: Runner, policy: Policy | None) -> None:
        """Without a policy whatever was handed over may be called."""
        self._effects, self._policy = effects, policy
        self._again = False
        #: takes secret values out of what is said inside
        self.redactor: Redactor | None = None
        self.server = ToolServer(offer, self, runner)

    # -- the server's overseer -----------------------------------------------------------------------------------

    def admit(self, call: Call) -> int | Recorded:
        if self._again:
            raise Refused("nothing is called while the session goes back")
        what, reversibility = spelt(call), _reversibility(call.tool)
        finding = self._judge(call)
        if finding.decision is not Decision.ALLOW:
            self._effects.not_called(what, reversibility, finding)
            instead = f"; instead: {finding.instead}" if finding.instead else ""
            raise Denied(f"{call.tool.name} was denied by rule {finding.rule}: {finding.reason}{instead}")
        return self._effects.calling(what, reversibility, finding, _arguments(call))

    def _judge(self, call: Call) -> Finding:
        if self._policy is None:
            return _HANDED_OVER
        finding = judge_tool(self._policy, call.tool.name, comparable(call)).deciding[0]
        return replace(finding, rule=named(finding))

    def ended(self, number: int, call: Call, ended: Ended) -> None:
        body = {"late": True} if ended.late else {}
        self._effects.called(number, ended.how, ended.seconds, ended.why, body)

    def without_secrets(self, text: str) -> str:
        return text if self.redactor is None else self.redactor.text(text)

    # -- for the story -------------------------------------------------------------------------------------------

    @contextmanager
    def going_back(self, said: list[str]) -> Iterator[None]:
        """Meanwhile nothing is called, and what was under way is left."""
        self._again = True
        try:
            self.server.hang_up()
            yield
        finally:
            self.server.hang_up()
            self._again = False


_HANDED_OVER = Finding(
    decision=Decision.ALLOW, rule="tools", reason="it was handed over, and there is no policy"
)


def named(finding: Finding) -> str:
    """The rule, with its line. What the folders of the host are called is not for the sandbox."""
    place = finding.place.rpartition("/")[2]
    rule = finding.rule.removeprefix("tools: ")
    return f"{rule} ({place})" if place else rule


def comparable(call: Call) -> Mapping[str, object]:
    """The arguments, defaults among them, as globs are held against them."""
    bound = BoundArguments(call.tool.signature, OrderedDict(call.bound.arguments))
    bound.apply_defaults()
    return {name: _comparable(value) for name, value in bound.arguments.items()}


def _comparable(value: object) -> object:
    if isinstance(value, Enum):
        return _comparable(value.value)
    return str(value) if isinstance(value, Decimal | date | time | timedelta | UUID | PurePath) else value


def spelt(call: Call) -> str:
    """As the code inside would write it, on one line."""
    said = [f"{name}={value!r}" for name, value in call.bound.arguments.items()]
    text = one_line(", ".join(said))
    return f"{call.tool.name}({text if len(text) <= _SHOWN else f'{text[:_SHOWN]}...'})"


def _reversibility(tool: Tool) -> str:
    if tool.said.undo is not None:
        return "compensable"
    return {"read": "read", "unknown": "unknown"}.get(tool.said.effect, "irreversible")


def _arguments(call: Call) -> Mapping[str, Any]:
    """As the ledger has them, where they are not too large."""
    plain = embed(call.plain, call.parts)
    return {"tool": call.tool.name, "arguments": plain if len(repr(plain)) <= _LARGEST else None}
