"""A recording as a notebook: what the model said as text, each action as a cell with its output. For people; the cells
of steps that were taken back say so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mulligan.runtime.agent.protocol import parse
from mulligan.runtime.outcome import shorten
from mulligan.sandbox.printable import printable

Line = Mapping[str, Any]


def notebook(lines: Sequence[Line]) -> dict[str, Any]:
    """In nbformat 4.5."""
    cells = [{**cell, "id": f"cell-{n}"} for n, cell in enumerate(_cells(lines))]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}


def _cells(lines: Sequence[Line]) -> Iterator[dict[str, Any]]:
    for line in lines:
        match line["type"]:
            case "begun":
                yield _text(f"Session {line['session']}, {line['isolation']}, model {line['model']}")
            case "task":
                yield _text(f"# {line['task']}")
            case "message" if line["role"] == "assistant" and isinstance(line["content"], str):
                if said := parse(line["content"], "stop").thinking:
                    yield _text(said)
            case "step":
                yield _code(line)
            case "undone":
                stands = "".join(f"\n- stands: {each}" for each in line["stands"])
                yield _text(f"*Taken back, to step {line['step']}: {line['why']}*{stands}")
            case "final":
                yield _text(
                    f"**{line['kind']}** {line['value'] if line['value'] is not None else line['why']}"
                )


def _text(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": printable(str(text))}


def _code(line: Line) -> dict[str, Any]:
    outputs: list[dict[str, Any]] = []
    for name in ("stdout", "stderr"):
        if line[name]:
            outputs.append({"output_type": "stream", "name": name, "text": shorten(line[name])})
    if line["result"]:
        data = {"text/plain": shorten(line["result"])}
        result = {"output_type": "execute_result", "execution_count": line["step"], "metadata": {}}
        outputs.append({**result, "data": data})
    if error := line["error"]:
        said = {"ename": printable(error["name"]), "evalue": shorten(error["value"])}
        outputs.append({"output_type": "error", **said, "traceback": [f"{said['ename']}: {said['evalue']}"]})
    return {
        "cell_type": "code",
        "execution_count": line["step"],
        "metadata": {"mulligan": {"step": line["step"], "outcome": line["outcome"]}},
        "source": line["source"],
        "outputs": outputs,
    }
