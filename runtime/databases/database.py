"""What an embedder says of a database that it hands over."""

from __future__ import annotations

from dataclasses import dataclass, field

from mulligan.sandbox.errors import ToolInvalid


@dataclass(frozen=True, slots=True)
class Database:
    """A PostgreSQL database that actions may use under `name`. `url` is libpq's, with a role that is no superuser; the
    sandbox never sees it. `timeout` is what one statement may take, in seconds; `rows`, how many it may give."""

    name: str
    url: str = field(repr=False)
    timeout: float = 30.0
    rows: int = 10_000

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or not self.name.isascii() or self.name.startswith("_"):
            raise ToolInvalid(
                f"{self.name!r} is no name for a database", hint="actions import it: take a word such as shop"
            )
        if self.timeout <= 0 or self.rows <= 0:
            raise ToolInvalid(f"database {self.name}: timeout and rows are more than nothing")
