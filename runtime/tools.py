"""A session's tools: each call is judged, is in the ledger before it is made, and may be taken back by its inverse."""

from __future__ import annotations

import reprlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from inspect import BoundArguments
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from uuid import UUID

from mulligan.policies.asking import judge_tool
from mulligan.policies.decision import Decision, Finding
from mulligan.policies.policy import Policy
from mulligan.runtime.answers import Answers
from mulligan.runtime.approvals import Approvals
from mulligan.runtime.effects import Effects
from mulligan.runtime.inverses import Inverses
from mulligan.runtime.ledger import Ledger
from mulligan.runtime.mcp.servers import MCPServer
from mulligan.sandbox.errors import ToolInvalid
from mulligan.sandbox.printable import one_line
from mulligan.sandbox.redaction import Redactor
from mulligan.sandbox.tools.errors import Denied, Refused
from mulligan.sandbox.tools.overseer import Call, Ended, Recorded
from mulligan.sandbox.tools.runner import Runner
from mulligan.sandbox.tools.server import ToolServer
from mulligan.sandbox.tools.tool import Offer, Tool

if TYPE_CHECKING:
    from mulligan.runtime.databases.databases import Databases

Offered = Iterable[Callable[..., Any] | MCPServer] | Mapping[str, Callable[..., Any]]
#: characters of a call's arguments that are shown
_SHOWN = 300
#: seconds that an inverse may take, unless its tool has a time of its own
_WALL = 60.0


def offer(handed: Offered) -> Offer | None:
    """None where there are no tools. Raises ToolInvalid, McpMissing, McpUnusable."""
    tools: object = handed
    if isinstance(tools, str) or not isinstance(tools, Iterable):
        raise ToolInvalid(f"tools is a list of functions, not {tools!r}", hint="write tools=[send_invoice]")
    if isinstance(tools, Mapping):
        found = [Tool.of(function, name) for name, function in tools.items()]
        return Offer(found) if found else None
    handed = tuple(tools)
    servers = tuple(each for each in handed if isinstance(each, MCPServer))
    functions = [each for every in handed for each in _functions(every)]
    return Offer(list(map(Tool.of, functions)), holds=servers) if functions else None


def _functions(handed: Any) -> Iterable[Any]:
    return handed.functions() if isinstance(handed, MCPServer) else (handed,)


class Tools:
    """The overseer of one session's calls. From any thread."""

    def __init__(
        self,
        offer: Offer,
        effects: Effects,
        ledger: Ledger,
        approvals: Approvals,
        *,
        session: str,
        runner: Runner,
        policy: Policy | None,
        databases: Databases | None = None,
    ) -> None:
        """Without a policy whatever was handed over may be called. By their names no verb of the session waits for
        itself on a thread of ours."""
        name = f"mulligan-{session}-tool"
        self._effects, self._approvals, self._policy = effects, approvals, policy
        self._databases = databases
        if databases is not None:
            databases.ask = self._ask_about_statement
        self._again = False
        self._left_out = 0
        #: calls under way that can be taken back
        self._spelt: dict[int, str] = {}
        self.answers = Answers(ledger)
        self.inverses = Inverses(effects, runner, self.without_secrets, f"{name}-undo")
        #: takes secret values out of what is said inside
        self.redactor: Redactor | None = None
        self.server = ToolServer(offer, self, runner, name=name)

    # -- the server's overseer -----------------------------------------------------------------------------------

    def admit(self, call: Call) -> int | Recorded:
        finding = self._judge(call)
        if self._again:
            return self._answer_again(call, finding)
        if finding.decision is Decision.ASK:
            finding = self._ask(call, finding)
            if call.gone():  # an answer that came just when what had asked was taken back
                raise Refused("whoever made this call waits no more, so it was not made")
        what, reversibility = (
            spelt(call),
            "reversible" if self._runs_statements(call) else _reversibility(call.tool),
        )
        if finding.decision is not Decision.ALLOW:
            self._effects.not_called(what, reversibility, finding)
            raise _denied(call, finding)
        body = self.answers.arguments(self._effects.step, call)
        number = self._effects.calling(what, reversibility, finding, body)
        if call.tool.said.undo is not None:
            self._spelt[number] = what  # the tool may change what it is given
        return number

    def _judge(self, call: Call) -> Finding:
        """Of all that decide, one: a hold is a denial, as nothing is kept back yet."""
        if self._runs_statements(call):
            return STATEMENT  # what it did is judged when it has been done
        if call.tool.said.control:
            return _CONTROL
        if self._policy is None:
            return _HANDED_OVER
        verdict = judge_tool(self._policy, call.tool.name, comparable(call))
        held = [each for each in verdict.findings if each.decision is Decision.HOLD]
        if held and verdict.decision is not Decision.DENY:
            why = f"{held[0].reason} (hold: nothing is kept back until commit yet, so it is denied)"
            return replace(held[0], decision=Decision.DENY, rule=named(held[0]), reason=why)
        rules = dict.fromkeys(map(named, verdict.deciding))
        return replace(verdict.deciding[0], rule="; ".join(rules))

    def _runs_statements(self, call: Call) -> bool:
        return self._databases is not None and call.tool.name in self._databases

    def _ask(self, call: Call, finding: Finding) -> Finding:
        return self._decide(call.tool.name, spelt(call, whole=True), finding, call.gone)

    def _ask_about_statement(
        self, name: str, text: str, finding: Finding, gone: Callable[[], bool]
    ) -> Finding:
        return self._decide(name, one_line(text), finding, gone)

    def _decide(self, name: str, asked: str, finding: Finding, gone: Callable[[], bool]) -> Finding:
        question, matter = self._approvals.about_call(self._effects.step, name, asked, finding)
        decided = self._approvals.ask(question, matter, lambda: self._again or gone())
        return replace(
            finding,
            decision=Decision.ALLOW if decided.allowed else Decision.DENY,
            reason=f"{finding.reason} ({decided.why})",
            instead=finding.instead or decided.instead or "do without",
        )

    def _answer_again(self, call: Call, finding: Finding) -> Recorded:
        if finding.decision is Decision.DENY:
            raise _denied(call, finding)
        recorded = self.answers.recorded(call)
        if recorded is None:
            self._left_out += 1
            raise Refused(
                "this action is run again to rebuild memory, and what this call came to is not recorded"
            )
        return recorded

    def ended(self, number: int, call: Call, ended: Ended) -> None:
        said = call.tool.said
        if self._databases is not None and self._runs_statements(call) and ended.how in _UNENDED:
            self._databases.leave(call.tool.name)
        what = self._spelt.get(number) if ended.how in _UNENDED else self._spelt.pop(number, None)
        if ended.returned and what is not None:
            job = partial(call.take_back, ended.result)
            self.inverses.add(number, what, job, said.timeout or _WALL)
        body = {"late": True} if ended.late else self.answers.answer(self._effects.step, ended)
        self._effects.called(number, ended.how, ended.seconds, ended.why, body)

    def without_secrets(self, text: str) -> str:
        return text if self.redactor is None else self.redactor.text(text)

    # -- for the story -------------------------------------------------------------------------------------------

    @contextmanager
    def going_back(self, said: list[str]) -> Iterator[None]:
        """Meanwhile nothing is called, and what was under way is left. `said` is told what was left out, when it is
        over."""
        self._again, self._left_out = True, 0
        try:
            self.server.hang_up()
            yield
        finally:
            self.server.hang_up()
            self.answers.begin_again(None)
            self._again = False
            if self._left_out:
                said.append(
                    f"{self._left_out} call(s) of tools were not made again when actions were run again, and had no "
                    "answer on record"
                )


_UNENDED = ("left", "cancelled")
STATEMENT = Finding(
    decision=Decision.ALLOW, rule="databases", reason="what a statement did is judged before it is kept"
)
_HANDED_OVER = Finding(
    decision=Decision.ALLOW, rule="tools", reason="it was handed over, and there is no policy"
)

_CONTROL = Finding(decision=Decision.ALLOW, rule="agent", reason="it steers the agent's own run")


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


def _denied(call: Call, finding: Finding) -> Denied:
    instead = f"; instead: {finding.instead}" if finding.instead else ""
    return Denied(f"{call.tool.name} was denied by rule {finding.rule}: {finding.reason}{instead}")


def spelt(call: Call, *, whole: bool = False) -> str:
    """As the code inside would write it, on one line; long values in part, unless it is to be `whole`."""
    spell = repr if whole else _SHORT.repr
    text = one_line(", ".join(f"{name}={spell(value)}" for name, value in call.given))
    return f"{call.tool.name}({text if whole or len(text) <= _SHOWN else f'{text[:_SHOWN]}...'})"


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 120
_SHORT.maxlist = _SHORT.maxdict = _SHORT.maxtuple = _SHORT.maxset = _SHORT.maxfrozenset = 10


def _reversibility(tool: Tool) -> str:
    if tool.said.undo is not None:
        return "compensable"
    return {"read": "read", "unknown": "unknown"}.get(tool.said.effect, "irreversible")
