"""Mulligan as an MCP server: one session, whose verbs are tools.

Where a rule of the policy says `ask`, the person at the client is asked by elicitation. Clients of the newer protocol
answer a call that needs an answer by calling again: meanwhile the action waits, and is found again by a state that
nobody can guess.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated, Any, Literal, TypeVar

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import (
    CallToolResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    ImageContent,
    InputRequiredResult,
    TextContent,
    ToolAnnotations,
)
from pydantic import BaseModel, Field

from mulligan.policies.errors import PolicyError
from mulligan.runtime.checkpoint import Restoration
from mulligan.runtime.mcp.told import Committed, Diffed, Moved, Ran, Timeline, images
from mulligan.runtime.question import Answer, Question
from mulligan.runtime.session import AsyncSession
from mulligan.runtime.step import Step
from mulligan.sandbox.errors import MulliganError
from mulligan.sandbox.messages import Event, Stream
from mulligan.sandbox.printable import printable

#: seconds between two words about an action's progress, and characters of its output in one
PACE, SHOWN = 0.25, 2000
#: from which version of the protocol on a server asks by having itself called again
_CALLED_AGAIN = "2026-07-28"
_INSTRUCTIONS = (
    "Runs Python in a sandbox, in one session whose variables and files carry over from call to call. Each call of "
    "run_code is a step; undo takes steps back, files and variables alike, and says what could not be taken back. "
    "Work on files in the current folder; commit writes them to the user's own folder."
)

T = TypeVar("T")
Opening = Callable[[Callable[[Question], Awaitable[Answer]]], Awaitable[AsyncSession]]


class _Running:
    """An action that a client waits for, and the questions that it has to be asked meanwhile."""

    def __init__(self, step: asyncio.Task[Step]) -> None:
        self.step = step
        self.output: list[str] = []
        self.total = 0

    def hear(self, event: Event) -> None:
        if isinstance(event, Stream):
            self.total += len(event.text)
            self.output.append(event.text)


class Server:
    """Serves one session, which is opened when it is first needed. Used on one event loop."""

    def __init__(self, opening: Opening, timeout: float | None = None) -> None:
        """`timeout` is that of actions for which a client says none; the policy's when None."""
        self._opening, self._timeout = opening, timeout
        self._session: AsyncSession | None = None
        self._opened = asyncio.Lock()
        self._turn = asyncio.Lock()
        #: questions that wait to be put to the client, each with where its answer goes
        self._questions: asyncio.Queue[tuple[Question, asyncio.Future[Answer]]] = asyncio.Queue()
        #: actions whose client was told to call again
        self._waiting: dict[str, tuple[_Running, asyncio.Future[Answer]]] = {}
        self.mcp: MCPServer[Any] = MCPServer("mulligan", instructions=_INSTRUCTIONS, log_level="ERROR")
        reads = ToolAnnotations(read_only_hint=True, open_world_hint=False)
        changes = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
        writes = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=False)
        self.mcp.tool(annotations=changes)(self.run_code)
        self.mcp.tool(annotations=changes)(self.undo)
        self.mcp.tool(annotations=changes)(self.redo)
        self.mcp.tool(annotations=reads)(self.timeline)
        self.mcp.tool(annotations=reads)(self.diff)
        self.mcp.tool(annotations=writes)(self.commit)

    async def close(self) -> None:
        for running, answer in self._waiting.values():
            running.step.cancel()
            answer.cancel()
        if self._session is not None:
            await self._session.close()

    async def session(self) -> AsyncSession:
        async with self._opened:
            if self._session is None:
                self._session = await _told(self._opening(self._ask))
            return self._session

    # -- the tools -------------------------------------------------------------------------------------------------

    async def run_code(
        self,
        code: Annotated[str, Field(description="Python source; variables of earlier calls are there")],
        ctx: Context[Any, Any],
        timeout: Annotated[
            float | None, Field(gt=0, description="seconds; the policy's limit when not given")
        ] = None,
    ) -> Annotated[CallToolResult, Ran]:
        """Run Python in the session, and return its output, its outcome and what it changed. Every call can be taken
        back by `undo`, whether it succeeded or not."""
        running = self._called_again(ctx)
        if running is None:
            running = await self._begin(await self.session(), code, timeout or self._timeout)
        try:
            asked = await self._accompany(running, ctx)
        except asyncio.CancelledError:
            running.step.cancel()
            raise
        if asked is not None:
            return asked  # type: ignore[return-value]  # the SDK passes it on
        return _ran(await _told(running.step))

    async def _begin(self, session: AsyncSession, code: str, timeout: float | None) -> _Running:
        """One action at a time, so that its questions are put to whoever waits for it."""
        await self._turn.acquire()
        running: _Running

        def hear(event: Event) -> None:
            running.hear(event)

        step = asyncio.ensure_future(session.run(code, timeout=timeout, on_event=hear))
        step.add_done_callback(lambda _: self._turn.release())
        running = _Running(step)
        return running

    async def undo(
        self, steps: Annotated[int, Field(ge=1, description="how many")] = 1
    ) -> Annotated[CallToolResult, Moved]:
        """Take back the last steps: files, variables and processes are as they were before them. `stands` lists what
        could not be taken back."""
        session = await self.session()
        return _moved(await _told(session.undo(steps)))

    async def redo(
        self, steps: Annotated[int, Field(ge=1, description="how many")] = 1
    ) -> Annotated[CallToolResult, Moved]:
        """Go forward again along what was undone. What steps had done elsewhere is not done again."""
        session = await self.session()
        return _moved(await _told(session.redo(steps)))

    async def timeline(self) -> Annotated[CallToolResult, Timeline]:
        """The steps of the session, and which of them is where it stands."""
        session = await self.session()
        told = Timeline.of(session.timeline)
        return _result(told.text(), told)

    async def diff(
        self,
        since: Annotated[int, Field(ge=0, description="the step to compare from; 0 is the beginning")] = 0,
        until: Annotated[int | None, Field(description="the step to compare to; now when not given")] = None,
    ) -> Annotated[CallToolResult, Diffed]:
        """What differs between the files of two steps, as text and path by path."""
        session = await self.session()
        told = await _told(asyncio.to_thread(Diffed.of, session.session, since, until))
        return _result(told.text or "nothing differs", told)

    async def commit(self) -> Annotated[CallToolResult, Committed]:
        """Write what the session changed to the user's own folder. What the user has changed meanwhile is left alone
        and listed."""
        session = await self.session()
        told = Committed.of(await _told(session.commit()))
        return _result(told.text(), told, failed=bool(told.conflicts))

    # -- asking, and telling meanwhile ---------------------------------------------------------------------------

    async def _ask(self, question: Question) -> Answer:
        """The session's `approve`: on whatever call waits."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        await self._questions.put((question, answer))
        return await answer

    async def _accompany(self, running: _Running, ctx: Context[Any, Any]) -> InputRequiredResult | None:
        """Until the action has ended, or the client has to be asked by having it call again."""
        telling = asyncio.ensure_future(_tell(running, ctx))
        try:
            while not running.step.done():
                asked = asyncio.ensure_future(self._questions.get())
                try:
                    await asyncio.wait((running.step, asked), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not asked.done():  # it would take the next action's question, and tell nobody
                        asked.cancel()
                if not asked.done():
                    return None
                question, answer = asked.result()
                if answer.done():  # nobody needs it any more
                    continue
                if not _can_ask(ctx):
                    answer.set_result(Answer("no", why="this client cannot ask the person who uses it"))
                elif (ctx.protocol_version or "") >= _CALLED_AGAIN:
                    return self._have_it_call_again(running, question, answer)
                else:
                    await self._elicit(ctx, question, answer)
            return None
        finally:
            telling.cancel()
            with suppress(asyncio.CancelledError):
                await telling

    async def _elicit(
        self, ctx: Context[Any, Any], question: Question, answer: asyncio.Future[Answer]
    ) -> None:
        found = await ctx.session.elicit_form(
            message=question.text(), requested_schema=_form(question), related_request_id=ctx.request_id
        )
        _settle(answer, found)

    def _have_it_call_again(
        self, running: _Running, question: Question, answer: asyncio.Future[Answer]
    ) -> InputRequiredResult:
        state = secrets.token_urlsafe(24)
        self._waiting[state] = running, answer
        params = ElicitRequestFormParams(message=question.text(), requested_schema=_form(question))
        return InputRequiredResult(
            input_requests={"answer": ElicitRequest(params=params)}, request_state=state
        )

    def _called_again(self, ctx: Context[Any, Any]) -> _Running | None:
        if ctx.request_state is None:
            return None
        found = self._waiting.pop(ctx.request_state, None)
        if found is None:
            raise ToolError("that question is not open any more: call run_code without it")
        running, answer = found
        said = (ctx.input_responses or {}).get("answer")
        _settle(answer, said if isinstance(said, ElicitResult) else ElicitResult(action="cancel"))
        return running


async def _tell(running: _Running, ctx: Context[Any, Any]) -> None:
    """What an action gives out, while it does."""
    told = 0
    while True:
        await asyncio.sleep(PACE)
        if running.total > told:
            told = running.total
            said = printable("".join(running.output)[-SHOWN:])
            running.output.clear()
            await ctx.report_progress(told, message=said)


def _can_ask(ctx: Context[Any, Any]) -> bool:
    capabilities = ctx.client_capabilities
    found = None if capabilities is None else capabilities.elicitation
    return found is not None and (found.form is not None or found.url is None)


def _form(question: Question) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "answer": {"type": "string", "enum": list(question.choices), "title": "May it?"},
            "why": {"type": "string", "title": "Why (the agent is told)"},
        },
        "required": ["answer"],
    }


def _settle(answer: asyncio.Future[Answer], found: ElicitResult) -> None:
    """Whatever is not a clear yes is a no."""
    if answer.done():
        return
    content = found.content or {}
    says, why = content.get("answer"), content.get("why")
    if found.action != "accept" or says not in ("once", "session", "always", "no"):
        return answer.set_result(Answer("no", why="it was declined"))
    said: Literal["once", "session", "always", "no"] = says  # type: ignore[assignment]
    answer.set_result(Answer(said, why=str(why or "")[:500]))


async def _told(job: Awaitable[T]) -> T:
    """What goes wrong as the SDK tells it: with its text, and what to do next."""
    try:
        return await job
    except (MulliganError, PolicyError, ValueError, TypeError) as error:
        raise ToolError(printable(str(error))) from error


def _ran(step: Step) -> CallToolResult:
    told = Ran.of(step)
    found = _result(told.text or f"({told.outcome}, no output)", told, failed=not step.outcome.ok)
    found.content += [ImageContent(data=data, mime_type=kind) for kind, data in images(step.outcome)]
    return found


def _moved(restoration: Restoration) -> CallToolResult:
    told = Moved.of(restoration)
    return _result(told.text(), told)


def _result(text: str, told: BaseModel, *, failed: bool = False) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(text=text)], structured_content=told.model_dump(mode="json"), is_error=failed
    )
