"""`:save`: the actions that led to here, as a Python file that `mulligan run` takes, or as a notebook."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mulligan.runtime.errors import CommandMisused
from mulligan.runtime.repl.commands import Command
from mulligan.sandbox.printable import printable

if TYPE_CHECKING:
    from mulligan.runtime.repl.desk import Desk
    from mulligan.runtime.timeline import Node

_USAGE = ":save FILE.py|FILE.ipynb"
#: characters of an output that a notebook gets
_LONGEST = 100_000


def _save(desk: Desk, rest: str) -> None:
    path = Path(os.path.expanduser(rest)) if rest else None
    if path is None or path.suffix not in (".py", ".ipynb"):
        raise CommandMisused("name a file that ends in .py or .ipynb", hint=f"write {_USAGE}")
    timeline = desk.session.timeline
    nodes = [timeline.nodes[step] for step in timeline.path(timeline.cursor)[1:]]
    nodes = [node for node in nodes if not node.fresh]
    if not nodes:
        raise CommandMisused(
            "there is nothing to save: no step leads to here", hint=":timeline shows those there are"
        )
    text = _as_python(nodes) if path.suffix == ".py" else _as_notebook(nodes)
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise CommandMisused(
            f"{path} is there already", hint="name another file, or remove it first"
        ) from error
    except OSError as error:
        raise CommandMisused(f"{path}: {error.strerror}", hint="name a file that you can write") from error
    count = len(nodes)
    desk.screen.say(f"{count} {'step' if count == 1 else 'steps'} saved in {path}", "green")


def _as_python(nodes: Sequence[Node]) -> str:
    """Each a cell; what was undone is not among them."""
    cells = []
    for node in nodes:
        said = "" if node.kind == "completed" else f" ({node.kind})"
        cells.append(f"# %% step {node.id}{said}\n{node.source.rstrip()}\n")
    return "\n".join(cells)


def _as_notebook(nodes: Sequence[Node]) -> str:
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": kernelspec, "language_info": {"name": "python"}},
        "cells": [_cell(number, node) for number, node in enumerate(nodes, 1)],
    }
    return json.dumps(book, indent=1, ensure_ascii=False) + "\n"


def _cell(number: int, node: Node) -> Mapping[str, Any]:
    return {
        "cell_type": "code",
        "id": f"step-{node.id}",
        "metadata": {},
        "execution_count": number,
        "source": node.source.splitlines(keepends=True),
        "outputs": list(_outputs(number, node.outcome)),
    }


def _outputs(number: int, outcome: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """As text: what could act in a browser is not among it."""
    found: list[Mapping[str, Any]] = []
    for name in ("stdout", "stderr"):
        if text := _text(outcome.get(name)):
            found.append({"output_type": "stream", "name": name, "text": text.splitlines(keepends=True)})
    if text := _text(outcome.get("result")):
        data = {"text/plain": text}
        found.append(
            {"output_type": "execute_result", "execution_count": number, "metadata": {}, "data": data}
        )
    error = outcome.get("error")
    if isinstance(error, Mapping):
        name, value = _text(error.get("name")), _text(error.get("value"))
        found.append(
            {"output_type": "error", "ename": name, "evalue": value, "traceback": [f"{name}: {value}"]}
        )
    return found


def _text(value: Any) -> str:
    return printable(value[:_LONGEST]) if isinstance(value, str) else ""


COMMANDS = (
    Command(_USAGE, "the steps that led to here, as a file that `mulligan run` takes", _save, "file"),
)
