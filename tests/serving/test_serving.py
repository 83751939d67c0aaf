"""`mulligan mcp`, driven by the official client."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.types import CallToolResult, ElicitResult

from mulligan.runtime.cli import main
from mulligan.runtime.errors import McpConfigInvalid
from mulligan.runtime.mcp.command import install

MULLIGAN = [sys.executable, "-m", "mulligan.runtime.cli"]
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
RULES = "files: {read_only: [keep.txt]}\non_violation: ask\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "keep.txt").write_text("kept")
    (tmp_path / "rules.yaml").write_text(RULES)
    return tmp_path


def _arguments(place: Path, isolation: str) -> list[str]:
    named = {"workspace": place / "work", "policy": place / "rules.yaml", "state": place / "state"}
    return [
        "mcp",
        "--isolation",
        isolation,
        *(word for name, path in named.items() for word in (f"--{name}", str(path))),
    ]


def _over_stdio(place: Path, isolation: str) -> StdioServerParameters:
    command, *arguments = [*MULLIGAN, *_arguments(place, isolation)]
    return StdioServerParameters(command=command, args=arguments)


async def _call(client: Client, name: str, **arguments: Any) -> Any:
    """What a call that must succeed gave back."""
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


@pytest.mark.timeout(300)  # it starts a process that imports the SDK, and opens a session
def test_the_official_client_drives_every_tool_and_one_that_cannot_ask_is_a_no(
    place: Path, any_isolation: str
) -> None:
    heard: list[str] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(message or "")

    async def story() -> None:
        async with Client(_over_stdio(place, any_isolation)) as client:
            tools = {each.name: each for each in (await client.list_tools()).tools}
            assert set(tools) == {"run_code", "undo", "redo", "timeline", "diff", "commit"}
            assert all(each.description and each.output_schema for each in tools.values())
            assert set(tools["run_code"].input_schema["properties"]) == {"code", "timeout"}

            slow = "import time\nfor n in range(8):\n    print('line', n, '\\x1b[2J', flush=True); time.sleep(0.1)"
            result = await client.call_tool("run_code", {"code": slow}, progress_callback=hear)
            assert (
                result.structured_content is not None and result.structured_content["outcome"] == "completed"
            )
            assert "line 0" in "".join(heard) and "\x1b" not in "".join(heard) + str(result.content)

            ran = await _call(client, "run_code", code="open('new.txt', 'w').write('x'); value = 41")
            assert (ran["step"], ran["changes"], ran["stands"]) == (2, ["+ new.txt"], [])
            shown = await client.call_tool("run_code", {"code": SHOW})
            (image,) = [each for each in shown.content if each.type == "image"]
            assert base64.b64decode(image.data) == base64.b64decode(DOT) and image.mime_type == "image/png"

            failed = await client.call_tool("run_code", {"code": "1 / 0"})
            assert failed.is_error and failed.structured_content is not None
            assert failed.structured_content["error"] == "ZeroDivisionError: division by zero"
            timed_out = await client.call_tool("run_code", {"code": "while True: pass", "timeout": 0.3})
            assert timed_out.structured_content is not None
            assert timed_out.structured_content["outcome"] == "timed_out"

            back = await _call(client, "undo", steps=4)
            assert back["step"] == 1 and back["restored"] == ["- new.txt"] and back["stands"] == []
            forth = await _call(client, "redo")
            assert (
                forth["step"] == 2
                and (await _call(client, "run_code", code="print(value + 1)"))["text"] == "42"
            )
            told = await _call(client, "timeline")
            assert told["cursor"] == 6 and [each["step"] for each in told["steps"]] == list(range(7))
            assert (await _call(client, "diff"))["paths"] == ["+ new.txt"]
            assert (await _call(client, "commit"))["applied"] == ["added new.txt"]
            assert (place / "work" / "new.txt").read_text() == "x"

            refused = await client.call_tool("run_code", {"code": "open('keep.txt', 'w').write('lost')"})
            assert refused.is_error and "this client cannot ask" in str(refused.content)
            nothing = await client.call_tool("undo", {"steps": 99})
            assert nothing.is_error and "step" in str(nothing.content)
            wrong = await client.call_tool("run_code", {"code": 3})
            assert wrong.is_error

    asyncio.run(story())


SHOW = f"""
from IPython.display import display
import base64
class Dot:
    def _repr_png_(self):
        return base64.b64decode({DOT!r})
display(Dot())
"""


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_a_person_is_asked_by_elicitation(place: Path, any_isolation: str, mode: str) -> None:
    asked: list[str] = []
    answers = iter(
        [
            ElicitResult(action="accept", content={"answer": "no", "why": "it is needed"}),
            ElicitResult(action="decline"),
            ElicitResult(action="accept", content={"answer": "once"}),
        ]
    )

    async def answer(context: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        return next(answers)

    async def story() -> list[CallToolResult]:
        async with Client(
            _over_stdio(place, any_isolation), elicitation_callback=answer, mode=mode
        ) as client:
            code = {"code": "open('keep.txt', 'w').write('lost')"}
            return [await client.call_tool("run_code", code) for _ in range(3)]

    said_no, declined, allowed = asyncio.run(story())
    assert len(asked) == 3 and "keep.txt" in asked[0] and "read_only" in asked[0]
    for each in (said_no, declined):
        assert each.is_error and each.structured_content is not None
        assert each.structured_content["outcome"] == "reverted"
    assert "it is needed" in str(said_no.content)
    assert allowed.structured_content is not None and allowed.structured_content["outcome"] == "completed"


@contextmanager
def _served(place: Path, isolation: str) -> Iterator[tuple[str, str]]:
    """The address and the token of a server over HTTP."""
    command = [*MULLIGAN, *_arguments(place, isolation), "--http"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        where, token = (server.stderr.readline().split()[-1] for _ in range(2))
        try:
            yield where, token
        finally:
            server.terminate()


def test_over_http_nobody_is_served_without_the_token(place: Path, any_isolation: str) -> None:
    async def story(where: str, token: str) -> None:
        async with (
            create_mcp_http_client(headers={"Authorization": f"Bearer {token}"}) as http,
            Client(streamable_http_client(where, http_client=http)) as client,
        ):
            assert (await _call(client, "run_code", code="print(1)"))["text"] == "1"
            assert (await _call(client, "undo"))["step"] == 0

    with _served(place, any_isolation) as (where, token):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/mcp", where) and len(token) > 30
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        for headers in (
            {},
            {"Authorization": "Bearer no"},
            {"Authorization": token},
            {"Authorization": f"Bearer {token}x"},
        ):
            assert httpx.post(where, json=message, headers=headers).status_code == 401
        rebound = {"Authorization": f"Bearer {token}", "Host": "evil.example"}
        assert httpx.post(where, json=message, headers=rebound).status_code in (403, 421)
        asyncio.run(story(where, token))


@pytest.mark.parametrize(
    ("client", "name", "key"),
    [
        ("claude", ".mcp.json", "mcpServers"),
        ("cursor", ".cursor/mcp.json", "mcpServers"),
        ("vscode", ".vscode/mcp.json", "servers"),
    ],
)
def test_a_client_is_told_by_what_is_printed_or_written(
    client: str,
    name: str,
    key: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    assert main(["mcp", "install", client, "--workspace", "work", "--policy", "locked"]) == 0
    told = json.loads(capsys.readouterr().out)[key]["mulligan"]
    assert told["args"] == ["mcp", "--workspace", str(place / "work"), "--policy", "locked"]
    assert os.access(told["command"], os.X_OK) and not (place / name).exists()

    (place / name).parent.mkdir(exist_ok=True)
    (place / name).write_text(json.dumps({key: {"other": {"command": "x"}}, "more": "ä"}))
    assert main(["mcp", "install", client, "--write", "--workspace", "work", "--policy", "locked"]) == 0
    written = json.loads((place / name).read_text())
    assert written == {key: {"other": {"command": "x"}, "mulligan": told}, "more": "ä"}


@pytest.mark.parametrize("option", ["--commit", "--json"])
def test_an_option_that_would_do_nothing_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["mcp", option])
    assert "a client has the tool commit" in capsys.readouterr().err


def test_a_file_that_is_no_json_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / ".mcp.json").write_text("// mine\n{}")
    with pytest.raises(McpConfigInvalid, match="cannot be read as JSON"):
        install("claude", [], write=True, folder=tmp_path)
    assert (tmp_path / ".mcp.json").read_text() == "// mine\n{}"
