"""Notebooks, compared cell by cell."""

from __future__ import annotations

import json
from typing import Any

from mulligan.runtime.diffs.detail import Detail
from mulligan.runtime.diffs.parsing import Parsing

Output = dict[str, Any]


def cell(source: str, *outputs: Output, kind: str = "code", count: int | None = None) -> dict[str, Any]:
    code = {"outputs": list(outputs), "execution_count": count} if kind == "code" else {}
    return {"cell_type": kind, "source": source.splitlines(keepends=True), "metadata": {}, **code}


def said(text: str) -> Output:
    return {"output_type": "stream", "name": "stdout", "text": [text]}


def book(*cells: dict[str, Any], **metadata: Any) -> bytes:
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}).encode()


def told(parsing: Parsing, before: bytes | None, after: bytes | None) -> Detail:
    return parsing.compare("a.ipynb", before, after, 200)


def lines(detail: Detail) -> list[str]:
    return [line.sign + line.text for line in detail.lines]


def test_a_cell_that_was_edited_is_shown_by_its_lines(parsing: Parsing) -> None:
    detail = told(parsing, book(cell("a = 1\nb = 2"), cell("c")), book(cell("a = 1\nb = 3"), cell("c")))
    assert detail.kind == "notebook"
    assert detail.counts["cells_changed"] == 1
    assert lines(detail) == ["@cell 1 (code)", "@@@ -1,2 +1,2 @@", " a = 1", "-b = 2", "+b = 3"]


def test_cells_that_came_and_went_are_told_with_their_source(parsing: Parsing) -> None:
    detail = told(
        parsing,
        book(cell("gone"), cell("kept"), cell("last")),
        book(cell("kept"), cell("# new", kind="markdown"), cell("last")),
    )
    assert lines(detail) == [
        "@cell 1 (code) removed",
        "-gone",
        "@cell 2 (markdown) added",
        "+# new",
    ]
    assert (detail.counts["cells_added"], detail.counts["cells_removed"]) == (1, 1)


def test_outputs_are_compared_apart_from_the_source(parsing: Parsing) -> None:
    picture = {"output_type": "display_data", "data": {"image/png": "AAAA", "text/plain": "<Figure>"}}
    other = {"output_type": "display_data", "data": {"image/png": "BBBB", "text/plain": "<Figure>"}}
    detail = told(parsing, book(cell("x", said("1\n"), picture)), book(cell("x", said("2\n"), other)))
    assert lines(detail)[0] == "@cell 1 output"
    assert {"-1", "+2", " <Figure>"} <= set(lines(detail))
    assert sum("image/png, 4 characters" in line for line in lines(detail)) == 2
    assert (detail.counts["cells_changed"], detail.counts["cells_outputs"]) == (0, 1)


def test_an_error_is_an_output(parsing: Parsing) -> None:
    error = {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []}
    assert "+ValueError: no" in lines(told(parsing, book(cell("x")), book(cell("x", error))))


def test_another_execution_count_alone_is_shown_as_text(parsing: Parsing) -> None:
    detail = told(parsing, book(cell("x", count=1)), book(cell("x", count=2)))
    assert detail.kind == "text"
    assert detail.notes == ("not compared as notebook: no cell differs, the file does",)


def test_metadata_of_the_notebook_is_told(parsing: Parsing) -> None:
    detail = told(parsing, book(cell("x")), book(cell("x"), kernelspec={"name": "r"}))
    assert lines(detail) == ["@notebook metadata", "-{}", '+{"kernelspec": {"name": "r"}}']


def test_a_new_notebook_is_shown_cell_by_cell(parsing: Parsing) -> None:
    assert lines(told(parsing, None, book(cell("a"), cell("b")))) == [
        "@cell 1 (code) added",
        "+a",
        "@cell 2 (code) added",
        "+b",
    ]


def test_what_is_no_notebook_is_compared_as_text(parsing: Parsing) -> None:
    for broken in (b"{", b"[]", b'{"cells": 3}', b'{"cells": [3]}'):
        detail = told(parsing, book(cell("a")), broken)
        assert detail.kind == "text", broken
        assert detail.notes[0].startswith("not compared as notebook: "), broken
