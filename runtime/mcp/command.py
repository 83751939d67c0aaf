"""`mulligan mcp`: serve a session to one client on standard input and output, or to those with a token over HTTP; and
`mulligan mcp install`: how a client is told of it."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mulligan.runtime.errors import McpConfigInvalid, McpMissing
from mulligan.runtime.replacing import replace_text

if TYPE_CHECKING:
    from mulligan.runtime.mcp.serving import Opening, Server

TOKEN = "MULLIGAN_MCP_TOKEN"
_HERE = ("127.0.0.1", "::1", "localhost")
#: of each client: the file in the current folder that it reads, and the key under which it has its servers
CLIENTS: Mapping[str, tuple[str, str]] = {
    "claude": (".mcp.json", "mcpServers"),
    "cursor": (".cursor/mcp.json", "mcpServers"),
    "vscode": (".vscode/mcp.json", "servers"),
}


def add_commands(
    parser: argparse.ArgumentParser, add_session: Callable[[argparse.ArgumentParser], None]
) -> None:
    parser.description = (
        "Serves one session by the Model Context Protocol, with the tools run_code, undo, redo, timeline, diff and "
        "commit. A client starts it: `mulligan mcp install` tells it how."
    )
    parser.add_argument("what", nargs="?", choices=("install",), help="tell a client of it")
    parser.add_argument("client", nargs="?", choices=tuple(CLIENTS), help="of install: which")
    parser.add_argument("--write", action="store_true", help="of install: write it to the client's file here")
    parser.add_argument(
        "--http", action="store_true", help="serve on this machine's loopback, for those with a token"
    )
    parser.add_argument("--port", type=int, default=0, metavar="N", help="of --http; default: a free one")
    add_session(parser)
    parser.set_defaults(command=lambda chosen: run(parser, chosen))


def run(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> int:
    if chosen.commit or chosen.json:
        parser.error(
            "--commit and --json are of `mulligan run`: a client has the tool commit, and results of its own"
        )
    if chosen.what == "install":
        if chosen.database:
            parser.error("write --database, and the variable that it names, into the client's file by hand")
        if chosen.client is None:
            parser.error(f"install for which client: {', '.join(CLIENTS)}?")
        return install(chosen.client, _arguments(chosen), write=chosen.write)
    return serve(_opening(chosen), http=chosen.http, port=chosen.port, timeout=chosen.timeout)


def _arguments(chosen: argparse.Namespace) -> list[str]:
    """Of the command that a client starts: what was said here."""
    found = ["mcp"]
    for name in ("workspace", "policy", "python", "state"):
        if (value := getattr(chosen, name)) is not None:
            path = Path(value)
            found += [f"--{name}", str(path.absolute() if path.exists() else value)]
    for name, default in (("isolation", "auto"), ("image", None), ("staging", "auto"), ("timeout", None)):
        if (value := getattr(chosen, name)) != default:
            found += [f"--{name}", str(value)]
    for name in ("protect", "exclude", "library"):
        for value in getattr(chosen, name) or ():
            found += [f"--{name}", str(value.absolute() if isinstance(value, Path) else value)]
    return [*found, *(["--keep"] if chosen.keep else [])]


def _opening(chosen: argparse.Namespace) -> Opening:
    from mulligan.runtime.session import open_async

    return lambda approve: open_async(
        chosen.workspace,
        isolation=chosen.isolation,
        image=chosen.image,
        python=chosen.python,
        policy=chosen.policy,
        protect=chosen.protect or (),
        exclude=chosen.exclude or (),
        state=chosen.state,
        keep=chosen.keep,
        approve=approve,
        staging=chosen.staging,
        databases=chosen.database,
        library=chosen.library,
    )


# -- serving -------------------------------------------------------------------------------------------------------


def serve(opening: Opening, *, http: bool, port: int, timeout: float | None = None) -> int:
    """Until the client hangs up, or a Ctrl-C. Raises McpMissing."""
    try:
        from mulligan.runtime.mcp.serving import Server
    except ImportError as error:
        raise McpMissing(f"{error.name} is not installed", hint="Run: pip install 'mulligan[mcp]'") from error

    async def whole() -> None:
        server = Server(opening, timeout)
        try:
            await (_over_http(server, port) if http else server.mcp.run_stdio_async())
        finally:
            await server.close()

    asyncio.run(whole())
    return 0


async def _over_http(server: Server, port: int) -> None:
    import socket

    import uvicorn

    token = os.environ.get(TOKEN) or secrets.token_urlsafe(32)
    app = guarded(server.mcp.streamable_http_app(), token)
    with socket.create_server(("127.0.0.1", port)) as listener:
        where = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        secret = f"${TOKEN}" if os.environ.get(TOKEN) else token
        print(f"serving {where}\nheader: Authorization: Bearer {secret}", file=sys.stderr, flush=True)
        config = uvicorn.Config(app, log_level="error", lifespan="on")
        await uvicorn.Server(config).serve(sockets=[listener])


def guarded(app: Any, token: str) -> Any:
    """The application, for those alone who send the token."""
    wanted = f"Bearer {token}".encode()

    async def guard(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
            if len(given) != 1 or not secrets.compare_digest(given[0], wanted):
                headers = [(b"www-authenticate", b"Bearer"), (b"content-length", b"0")]
                await send({"type": "http.response.start", "status": 401, "headers": headers})
                await send({"type": "http.response.body", "body": b""})
                return
        await app(scope, receive, send)

    return guard


# -- telling clients -----------------------------------------------------------------------------------------------


def install(client: str, arguments: list[str], *, write: bool, folder: Path | None = None) -> int:
    """Print what the client has to be told, or write it to the file that it reads in the current folder. Raises
    McpConfigInvalid."""
    name, key = CLIENTS[client]
    path = (folder or Path.cwd()) / name
    entry: dict[str, Any] = {"command": _command(), "args": arguments}
    if client == "vscode":
        entry = {"type": "stdio", **entry}
    if not write:
        print(json.dumps({key: {"mulligan": entry}}, indent=2))
        print(f"# put it into {name}, or run this again with --write", file=sys.stderr)
        return 0
    told = _read(path)
    servers = told.setdefault(key, {})
    if not isinstance(servers, dict):
        raise McpConfigInvalid(
            f"{path}: {key} is no object", hint="put it in by hand: run this without --write"
        )
    servers["mulligan"] = entry
    _write(path, json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    print(f"wrote {path}", file=sys.stderr)
    return 0


def _command() -> str:
    beside = Path(sys.executable).with_name("mulligan")
    return str(beside) if beside.exists() else "mulligan"


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = f"{path} cannot be read as JSON: {error}"
        raise McpConfigInvalid(why, hint="put it in by hand: run this without --write") from error
    if not isinstance(told, dict):
        raise McpConfigInvalid(
            f"{path} is no JSON object", hint="put it in by hand: run this without --write"
        )
    return told


def _write(path: Path, text: str) -> None:
    """The mode of a file that is there stays."""
    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_text(target, text, target.stat().st_mode & 0o7777 if target.exists() else 0o644)
    except OSError as error:
        raise McpConfigInvalid(f"{path}: {error.strerror}", hint="run this without --write") from error
