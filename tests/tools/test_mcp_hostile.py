"""What an MCP server can say of its tools, or not say, to whoever starts it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from mulligan import MCPServer
from mulligan.runtime.errors import McpUnusable
from mulligan.runtime.mcp import servers
from mulligan.runtime.mcp.schema import signature, tool_name


def test_types_that_refer_to_themselves_end() -> None:
    again = {"type": "array", "items": {"$ref": "#/$defs/A"}}
    several = [{"anyOf": [again, {"type": kind}]} for kind in ("string", "integer")] * 20
    schema = {"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"anyOf": several}}}
    made, _ = signature(schema)
    assert list(made.parameters) == ["a"]


def test_more_parameters_than_anybody_has_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 200 parameters"):
        signature({"properties": {"é" * n: {} for n in range(1, 300)}})


@pytest.mark.parametrize("required", [5, [["a"]], "a", None])
def test_a_schema_that_is_none_is_read_as_far_as_it_is_one(required: Any) -> None:
    made, _ = signature({"properties": {"a": {"type": "string"}}, "required": required})
    assert list(made.parameters) == ["a"]


def test_no_tool_takes_the_place_of_a_function_of_pythons_own() -> None:
    assert [tool_name(name) for name in ("open", "print", "exec", "search")] == [
        *("open_", "print_", "exec_", "search")
    ]
    assert tool_name("open", "shop_") == "shop_open"


def test_a_server_that_never_answers_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        "import os, sys; open('pid', 'w').write(str(os.getpid())); sys.stdin.readline(); sys.stdin.read()"
    )
    monkeypatch.setattr(servers, "STARTING", 1.0)
    with pytest.raises(McpUnusable, match="cannot be used"):
        MCPServer(command=[sys.executable, "-c", source], cwd=tmp_path).functions()
    if (tmp_path / "pid").exists():  # on a busy machine it had not begun
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 0)
