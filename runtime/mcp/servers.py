"""MCP servers whose tools code inside may call: each of them becomes a function, with docstring and types from its
schema, and is judged, recorded and bounded as any other tool."""

from __future__ import annotations

import asyncio
import base64
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mulligan.runtime.errors import McpMissing, McpUnusable
from mulligan.runtime.mcp.schema import signature, tool_name
from mulligan.sandbox.interior import tail
from mulligan.sandbox.printable import one_line
from mulligan.sandbox.tools.declared import Effect, tool

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult
    from mcp.types import Tool as Described

#: seconds until a server must have answered, and for one call
STARTING, CALLING = 30.0, 60.0
#: tools that one server may have, and answers in which it may list them
_MOST, _PAGES = 1000, 100


class MCPToolError(RuntimeError):
    """A server's own word that a call failed."""


class MCPServer:
    """A server, for `tools=[MCPServer(command=[...])]` or with `url=`. It is started, or connected to, when the first
    session with it is opened, and left when the last one is closed; sessions share the connection.

    `effects` says of tools, by their names there, what their calls do: "read" and so on, as `mulligan.tool`; of one
    that is not named it is unknown, whatever the server says. `prefix` is put before the names of its functions.
    `env` are variables for a command, besides a few of this process's; `headers` are sent to a `url`.
    """

    def __init__(
        self,
        *,
        command: Sequence[str] | None = None,
        url: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        headers: Mapping[str, str] | None = None,
        prefix: str = "",
        effects: Mapping[str, Effect] | None = None,
        timeout: float = CALLING,
    ) -> None:
        if (command is None) == (url is None) or isinstance(command, str) or command == []:
            raise McpUnusable(
                "an MCP server has either a command, which is a list, or a url",
                hint='write MCPServer(command=["uvx", "mcp-server-time"]) or MCPServer(url="https://...")',
            )
        self._command = None if command is None else [str(each) for each in command]
        self._url, self._headers = url, dict(headers or {})
        self._env, self._cwd = dict(env or {}), cwd
        self._prefix, self._effects, self._timeout = prefix, dict(effects or {}), timeout
        self._lock = threading.Lock()
        self._holders = self._spare = 0
        self._link: _Link | None = None

    def __str__(self) -> str:
        return one_line(self._url or " ".join(self._command or ()))[:200]

    def functions(self) -> list[Callable[..., Any]]:
        """One for each of its tools. The connection stays for the session that comes now. Raises McpMissing,
        McpUnusable."""
        self.acquire()
        with self._lock:
            assert self._link is not None
            described, self._spare = self._link.tools, self._spare + 1
        timer = threading.Timer(STARTING, self._release_spare)
        timer.daemon = True
        timer.start()
        if unknown := sorted(set(self._effects) - {each.name for each in described}):
            raise McpUnusable(
                f"{self} has no tool {one_line(unknown[0])!r}, of which `effects` speaks",
                hint=f"it has {one_line(', '.join(each.name for each in described))[:500]}",
            )
        try:
            return [self._function(each) for each in described]
        except (ValueError, TypeError) as error:
            raise McpUnusable(
                f"the MCP server {self} describes a tool that cannot be read: {one_line(str(error))[:300]}",
                hint="leave this server out, or tell whoever makes it",
            ) from error

    def _function(self, described: Described) -> Callable[..., Any]:
        made, names = signature(described.input_schema)

        def call(*args: Any, **kwargs: Any) -> Any:
            given = made.bind(*args, **kwargs).arguments
            sent = {names[name]: value for name, value in given.items() if value is not None}
            return self._call(described, sent)

        call.__name__ = tool_name(described.name, self._prefix)
        call.__doc__ = described.description or described.title or ""
        call.__signature__ = made  # type: ignore[attr-defined]
        call.__annotations__ = {name: each.annotation for name, each in made.parameters.items()}
        effect = self._effects.get(described.name, "unknown")
        return tool(effect=effect, timeout=self._timeout + 1.0)(call)

    def _call(self, described: Described, arguments: dict[str, Any]) -> Any:
        with self._lock:
            link = self._link
        if link is None:
            raise ConnectionError("no session holds the connection to its server any more")
        return _value(described, link.call(described.name, arguments, self._timeout))

    # -- whoever uses it -------------------------------------------------------------------------------------------

    def acquire(self) -> None:
        """Raises McpMissing, McpUnusable."""
        with self._lock:
            if self._spare and self._link is not None and self._link.alive:
                self._spare -= 1
                return
            if self._link is None or not self._link.alive:
                self._link = _Link(self)
            self._holders += 1

    def release(self) -> None:
        with self._lock:
            self._holders -= 1
            link, self._link = (self._link, None) if not self._holders else (None, self._link)
        if link is not None:
            link.close()

    def _release_spare(self) -> None:
        """What was held for a session that did not come."""
        with self._lock:
            left, self._spare = self._spare, max(0, self._spare - 1)
        if left:
            self.release()

    async def _client(self, errors: Any, stack: AsyncExitStack) -> Client:
        """Raises ImportError."""
        from mcp import Client, StdioServerParameters
        from mcp.client.stdio import stdio_client
        from mcp.client.streamable_http import streamable_http_client
        from mcp.shared._httpx_utils import create_mcp_http_client

        if self._command is not None:
            command, *arguments = self._command
            started = StdioServerParameters(
                command=command, args=arguments, env=self._env or None, cwd=self._cwd
            )
            return Client(stdio_client(started, errlog=errors))
        assert self._url is not None
        client = await stack.enter_async_context(create_mcp_http_client(headers=self._headers or None))
        return Client(streamable_http_client(self._url, http_client=client))


class _Link:
    """One connection, held by a task on an event loop of its own, on a thread of its own."""

    def __init__(self, server: MCPServer) -> None:
        """Raises McpMissing, McpUnusable."""
        self._server = server
        self._ready: Future[list[Described]] = Future()
        self._loop: asyncio.AbstractEventLoop
        self._task: asyncio.Task[None]
        self._begun: bool
        self._end: asyncio.Event
        self._client: Client
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 for as long as the connection
        self._thread = threading.Thread(target=self._run, name="mulligan-mcp", daemon=True)
        self._thread.start()
        try:
            self.tools = self._ready.result(STARTING)
        except ImportError as error:
            raise McpMissing(
                f"{server} is an MCP server, and {error.name} is not installed",
                hint="Run: pip install 'mulligan[mcp]'",
            ) from error
        except Exception as error:
            said = self._last_words()
            self.close()
            raise McpUnusable(
                f"the MCP server {server} cannot be used: {one_line(_innermost(error))[:300]}",
                hint=said or "see that its command, or its address, is right",
            ) from error

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def call(self, name: str, arguments: dict[str, Any], timeout: float) -> CallToolResult:
        asked = self._client.call_tool(name, arguments, read_timeout_seconds=timeout)
        try:
            future = asyncio.run_coroutine_threadsafe(asked, self._loop)
        except RuntimeError as error:
            asked.close()
            raise ConnectionError("the connection to its server has ended") from error
        return future.result(timeout + 5.0)

    def close(self) -> None:
        with suppress(RuntimeError, AttributeError):
            self._loop.call_soon_threadsafe(self._stop)
        self._thread.join(10.0)
        self._errors.close()

    def _stop(self) -> None:
        """A server that has not begun is waited for no longer: it would be left behind."""
        self._end.set()
        if not self._begun:
            self._task.cancel()

    def _run(self) -> None:
        try:
            asyncio.run(self._hold())
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)

    async def _hold(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._begun = task, False
        self._end, self._loop = asyncio.Event(), asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            client = await self._server._client(self._errors, stack)
            self._client = await stack.enter_async_context(client)
            listed = await self._list()
            self._begun = True
            self._ready.set_result(listed)
            await self._end.wait()

    async def _list(self) -> list[Described]:
        found: list[Described] = []
        cursor = None
        for _ in range(_PAGES):
            page = await self._client.list_tools(cursor=cursor)
            found += page.tools
            cursor = page.next_cursor
            if len(found) > _MOST:
                break
            if not cursor:
                return found
        raise ValueError(f"it has more than {_MOST:,} tools, or does not end to list them")

    def _last_words(self) -> str:
        with suppress(OSError, ValueError):
            self._errors.seek(0)
            return one_line(tail(self._errors.read(1 << 20).encode(), 500))
        return ""


def _value(described: Described, result: CallToolResult) -> Any:
    """What a call gives back: its structured content where there is some, else its text; what is neither, as bytes in
    a list. Raises MCPToolError."""
    content = [_piece(each) for each in result.content]
    if result.is_error:
        raise MCPToolError("\n".join(each for each in content if isinstance(each, str)) or "it failed")
    if result.structured_content is not None:
        found = result.structured_content
        properties = (described.output_schema or {}).get("properties") or {}
        return found["result"] if list(properties) == ["result"] and list(found) == ["result"] else found
    if all(isinstance(each, str) for each in content):
        return "\n".join(content)
    return content[0] if len(content) == 1 else content


def _piece(content: Any) -> Any:
    if content.type == "text":
        return content.text
    if content.type in ("image", "audio"):
        return base64.b64decode(content.data)
    if content.type == "resource":
        held = content.resource
        return held.text if hasattr(held, "text") else base64.b64decode(held.blob)
    return str(getattr(content, "uri", content.type))


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__
