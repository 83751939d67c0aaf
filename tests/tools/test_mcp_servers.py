"""Tools of real MCP servers, over stdio and HTTP, called from inside."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import mulligan
from mulligan import MCPServer, Session
from mulligan.runtime.errors import McpUnusable

SERVER = Path(__file__).parent / "mcp_server.py"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen([sys.executable, str(SERVER), str(port)], stderr=subprocess.DEVNULL) as server:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                assert server.poll() is None
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mcp"
        server.terminate()


@pytest.fixture(scope="module", params=["stdio", "http"])
def opened(request: pytest.FixtureRequest, any_isolation: str, url: str) -> Iterator[Session]:
    command = [sys.executable, str(SERVER)]
    server = (
        MCPServer(command=command, effects={"search": "read"})
        if request.param == "stdio"
        else MCPServer(url=url, effects={"search": "read"})
    )
    with mulligan.open(isolation=any_isolation, tools=[server]) as session:
        yield session


def test_each_tool_is_a_function_with_docstring_and_types_from_its_schema(opened: Session) -> None:
    source = """
import inspect, tools
from tools import *
for name in dir(tools):
    print(name + str(inspect.signature(getattr(tools, name))))
print(search.__doc__)
print(search("wood", 2, order="price")[1]["name"], sum(each["price"] for each in search("wood", 4)))
print(take_out("nails", 1), greet(name="you"), picture()[:4])
try:
    broken("no such article")
except RuntimeError as error:
    print(type(error).__name__, "no such article" in str(error))
"""
    step = opened.run(source)
    assert step.outcome.kind == "completed", step.outcome.error
    assert step.outcome.output.stdout.splitlines() == [
        "broken(reason: str)",
        "greet(name: str)",
        "picture()",
        "search(query: str, limit: int | None = None, order: Optional[Literal['name', 'price']] = None)",
        "take_out(article: str, count: int)",
        "Search the catalogue.",
        "wood 1 by price 3.0",
        "{'nails': 2} hello you b'\\x89PNG'",
        "MCPToolError True",
    ]
    assert [each.reversibility for each in step.effects if "search" in each.what] == ["read", "read"]
    (taken,) = [line for line in step.reach.sent if line.startswith("take_out")]
    assert taken.endswith("what it did is not known and stands")


def test_arguments_that_its_schema_does_not_have_do_not_reach_the_server(opened: Session) -> None:
    outcome = opened.run("from tools import take_out; take_out('nails', 'many')").outcome
    assert outcome.error is not None and outcome.error.name == "TypeError"
    assert outcome.error.value.startswith("take_out(): count: Input should be a valid integer")


def test_a_policy_judges_them_like_any_other_and_the_server_is_left_at_the_end(
    any_isolation: str, tmp_path: Path, url: str
) -> None:
    server = MCPServer(url=url, prefix="shop_")
    (tmp_path / "rules.yaml").write_text("tools:\n  - allow: shop_greet(name=a*)\n")
    with mulligan.open(isolation=any_isolation, policy=tmp_path / "rules.yaml", tools=[server]) as session:
        outcome = session.run("from tools import *; print(shop_greet('ann')); shop_greet('bob')").outcome
        link = server._link
        assert link is not None and link.alive
    assert outcome.stdout == "hello ann\n" and outcome.error is not None
    assert outcome.error.name == "PermissionError"
    assert server._link is None and not link.alive


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (MCPServer(command=["/nowhere/at/all"]), "cannot be used"),
        (MCPServer(command=[sys.executable, "-c", "raise SystemExit('I will not')"]), "I will not"),
        (MCPServer(url="http://127.0.0.1:1/mcp"), "cannot be used"),
    ],
    ids=["no command", "one that ends", "no server"],
)
def test_a_server_that_cannot_be_used_is_said_before_a_sandbox_is_started(
    server: MCPServer, said: str
) -> None:
    with pytest.raises(McpUnusable, match=said):
        mulligan.open(tools=[server])


def test_an_effect_of_a_tool_that_a_server_does_not_have_is_refused(url: str) -> None:
    with pytest.raises(McpUnusable, match="has no tool 'nothing', of which `effects` speaks"):
        mulligan.open(tools=[MCPServer(url=url, effects={"nothing": "read"})])
