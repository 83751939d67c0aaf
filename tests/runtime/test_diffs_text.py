"""Text, compared line by line."""

from __future__ import annotations

import difflib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mulligan.runtime.diffs import text
from mulligan.runtime.diffs.detail import WIDTH
from mulligan.runtime.diffs.parsing import Parsing


def told(before: bytes | None, after: bytes | None, lines: int = 100) -> list[str]:
    return [line.sign + line.text for line in text.compare(before, after, lines).lines]


def test_changed_lines_are_shown_between_the_lines_around_them() -> None:
    before = b"".join(b"line %d\n" % n for n in range(20))
    after = before.replace(b"line 10\n", b"another\n")
    assert told(before, after) == [
        "@@@ -8,7 +8,7 @@",
        " line 7",
        " line 8",
        " line 9",
        "-line 10",
        "+another",
        " line 11",
        " line 12",
        " line 13",
    ]


def test_a_file_that_is_new_or_gone_is_all_added_or_removed() -> None:
    assert told(None, b"a\nb\n") == ["@@@ -0,0 +1,2 @@", "+a", "+b"]
    assert told(b"a\nb\n", None) == ["@@@ -1,2 +0,0 @@", "-a", "-b"]


def test_a_newline_that_came_at_the_end_is_told_and_is_no_line() -> None:
    detail = text.compare(b"a\nb", b"a\nb\n", 100)
    assert [line.sign + line.text for line in detail.lines][-1] == "-\\ no newline at the end"
    assert detail.counts == {"lines_added": 0, "lines_removed": 0}


def test_line_endings_that_changed_can_be_seen() -> None:
    assert told(b"a\r\n", b"a\n")[1:] == ["-a\r", "+a"]


def test_what_does_not_fit_is_counted() -> None:
    detail = text.compare(None, b"x\n" * 50, 10)
    assert (len(detail.lines), detail.left_out) == (10, 41)
    assert detail.counts["lines_added"] == 50


def test_of_long_lines_the_part_that_differs_is_shown() -> None:
    long = b"a" * 100_000
    shown = told(long + b"OLD", long + b"NEW")
    assert any("OLD" in line for line in shown) and any("NEW" in line for line in shown)
    assert max(map(len, shown)) <= WIDTH + 3


def test_bytes_that_are_not_utf8_are_shown_escaped_and_that_is_said(parsing: Parsing) -> None:
    detail = parsing.compare("a.txt", b"caf\xe9 and more words\n", b"caf\xc3\xa9 and more words\n", 100)
    assert detail.kind == "text"
    assert "caf\\xe9 and more words" in [line.text for line in detail.lines]
    assert any("not all of it is UTF-8" in note for note in detail.notes)


def test_past_the_bound_lines_are_counted_and_not_aligned() -> None:
    before = b"".join(b"%d\n" % n for n in range(text.MOST + 10))
    after = b"".join(b"%d\n" % (n + text.MOST + 5) for n in range(text.MOST + 10))
    detail = text.compare(before, after, 10)
    assert detail.counts == {"lines_added": text.MOST + 5, "lines_removed": text.MOST + 5}
    assert any("not aligned" in note for note in detail.notes)


LINES = st.lists(st.sampled_from(["a", "b", "c", "d", ""]), max_size=30)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(LINES, LINES)
def test_what_is_shown_leads_from_one_text_to_the_other(olds: list[str], news: list[str]) -> None:
    before, after = ("".join(line + "\n" for line in lines) for lines in (olds, news))
    shown = told(before.encode(), after.encode(), 1000)
    assert apply(olds, shown) == news
    expected = list(difflib.unified_diff(olds, news, lineterm=""))
    assert bool(shown) == bool(expected)


def apply(olds: list[str], shown: list[str]) -> list[str]:
    """The text that a reader of the hunks would make of the old one."""
    made, at = [], 0
    for line in shown:
        if line.startswith("@"):
            start, count = map(int, line.split()[1].lstrip("-").split(","))
            first = start - 1 if count else start
            made += olds[at:first]
            at = first
        elif line[0] == "+":
            made.append(line[1:])
        else:
            assert olds[at] == line[1:]
            made += [line[1:]] * (line[0] == " ")
            at += 1
    return made + olds[at:]


@pytest.mark.parametrize("data", [b"\0", b"\xff\xfe\xfd\xfc" * 10], ids=["NUL", "no UTF-8"])
def test_what_is_not_text_is_told_by_its_size(parsing: Parsing, data: bytes) -> None:
    assert parsing.compare("a.txt", b"a\n", data, 100).kind == "binary"
