"""A real MCP server, made with the official SDK: over stdio, or over HTTP on the port that is given."""

from __future__ import annotations

import base64
import sys
from typing import Literal

from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel

server = MCPServer("shop", log_level="ERROR")
STOCK = {"nails": 3}


class Article(BaseModel):
    name: str
    price: float


@server.tool()
def search(query: str, limit: int = 10, order: Literal["name", "price"] = "name") -> list[Article]:
    """Search the catalogue."""
    return [Article(name=f"{query} {n} by {order}", price=n / 2) for n in range(limit)]


@server.tool(name="take-out")
def take_out(article: str, count: int) -> dict[str, int]:
    STOCK[article] -= count
    return STOCK


@server.tool(structured_output=False)
def greet(name: str) -> str:
    return f"hello {name}"


@server.tool()
def picture() -> Image:
    dot = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    return Image(data=base64.b64decode(dot), format="png")


@server.tool()
def broken(reason: str) -> str:
    raise ToolError(reason)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run()
