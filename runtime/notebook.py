"""The cells of a Python file or a Jupyter notebook, each of which is an action.

A Python file, or one in another language, is one cell, or several where lines that begin with `# %%` divide it, as
editors do; the rest of such a line is the cell's title, and `[markdown]` in it makes the cell a comment. Of a notebook
(format 4) the code cells count. Cells that are empty are passed over.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mulligan.runtime.step import Action
from mulligan.sandbox.errors import MulliganError

_LARGEST = 256 << 20
_MARKER = re.compile(r"^#[ \t]*%%(.*)$", re.MULTILINE)


class NotebookInvalid(MulliganError, ValueError):
    """A file that holds no cells to run."""


@dataclass(frozen=True, slots=True)
class Cell:
    """`place` names it for people: the file and, where that has several cells, its number among all of them."""

    place: str
    source: str

    def action(self) -> Action:
        return Action(self.source, proposer="mulligan run", why=self.place)


def read_cells(path: Path, *, any_language: bool = False) -> tuple[Cell, ...]:
    """The cells of a `.py` or `.ipynb` file, at least one; in `any_language` of any file. Raises NotebookInvalid."""
    if path.suffix not in (".py", ".ipynb") and not any_language:
        raise NotebookInvalid(f"{path} is neither a .py nor an .ipynb file", hint="name one of these, or -")
    try:
        if path.stat().st_size > _LARGEST:
            raise NotebookInvalid(f"{path} is larger than {_LARGEST >> 20} MiB", hint="clear its outputs")
        data = path.read_bytes()
    except OSError as error:
        raise NotebookInvalid(f"{path}: {error.strerror}", hint="name a file that you can read") from error
    return parse_cells(data, str(path), notebook=path.suffix == ".ipynb", any_language=any_language)


def parse_cells(
    data: bytes, name: str, *, notebook: bool = False, any_language: bool = False
) -> tuple[Cell, ...]:
    """The cells in the content of a file called `name`. Raises NotebookInvalid."""
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise NotebookInvalid(f"{name}, line {line}: not UTF-8", hint="save the file as UTF-8") from error
    sources = list(_notebook_sources(text, name, any_language) if notebook else _divided(text))
    cells = tuple(
        Cell(f"{name}:{number}" if len(sources) > 1 else name, source)
        for number, source in enumerate(sources, 1)
        if source.strip()
    )
    if not cells:
        raise NotebookInvalid(f"{name} has no code to run")
    return cells


def _divided(text: str) -> Iterator[str]:
    """A file whose head is comments alone, before the first marker, has no cell there."""
    head, *rest = re.split(_MARKER, text)
    if not rest or any(line.strip() and not line.startswith("#") for line in head.split("\n")):
        yield head
    for title, source in zip(rest[::2], rest[1::2], strict=True):
        yield "" if "[markdown]" in title else source.strip("\n")


def _notebook_sources(text: str, name: str, any_language: bool) -> list[str]:
    hint = "open it in Jupyter and save it again"
    try:
        book = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotebookInvalid(f"{name} is no notebook: it is not JSON ({error})", hint=hint) from error
    if isinstance(book, dict) and "worksheets" in book:
        convert = f"convert it: jupyter nbconvert --to notebook --inplace {name}"
        raise NotebookInvalid(f"{name} is a notebook of an old format, before 4", hint=convert)
    if not isinstance(book, dict) or not isinstance(book.get("cells"), list):
        raise NotebookInvalid(f"{name} is no notebook: it has no list of cells", hint=hint)
    if (language := _language(book)) != "python" and not any_language:
        raise NotebookInvalid(f"{name} is a notebook in {language}", hint="name its kernel with --kernel")
    return [_source(cell, f"{name}: cell {number}") for number, cell in enumerate(book["cells"], 1)]


def _language(book: dict[str, Any]) -> str:
    metadata = book.get("metadata")
    for section, key in (("kernelspec", "language"), ("language_info", "name")):
        described = metadata.get(section) if isinstance(metadata, dict) else None
        if isinstance(described, dict) and isinstance(described.get(key), str):
            return str(described[key]).lower()
    return "python"


def _source(cell: Any, place: str) -> str:
    """The code in a cell; nothing for cells of other types."""
    if not isinstance(cell, dict) or not isinstance(cell.get("cell_type"), str):
        raise NotebookInvalid(
            f"{place} has no cell_type", hint="open the notebook in Jupyter and save it again"
        )
    if cell["cell_type"] != "code":
        return ""
    source = cell.get("source")
    lines = [source] if isinstance(source, str) else source
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise NotebookInvalid(f"{place} has no source", hint="open the notebook in Jupyter and save it again")
    return "".join(lines)
