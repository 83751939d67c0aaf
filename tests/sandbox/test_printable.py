"""What came out of a sandbox is shown so that it can neither act nor hide."""

from __future__ import annotations

import time

import pytest

from mulligan.sandbox.printable import one_line, printable


@pytest.mark.parametrize(
    "char",
    [
        *("\x00", "\x07", "\x1b", "\x7f", "\x85", "\x9b"),  # controls
        *("\u061c", "\u200e", "\u200f", "\u202e", "\u2066", "\u2069"),  # directions
        *("\u2028", "\u2029"),  # lines and paragraphs
        *("\xad", "\u200b", "\u2060", "\u2063", "\ufeff", "\ufff9", "\U0001d173"),  # drawn as nothing
        *("\u115f", "\u3164", "\uffa0", "\u034f", "\u180e"),  # blank letters and marks
        *("\U000e0001", "\U000e0041", "\U000e007f", "\U000e0100"),  # tags, and selectors that carry text
        "\udc80",  # half of a pair
    ],
)
def test_a_character_that_acts_or_hides_is_shown_by_its_number(char: str) -> None:
    assert printable(f"a{char}b") == f"a{ascii(char)[1:-1]}b"
    assert one_line(f"a{char}b") == f"a{ascii(char)[1:-1]}b"


@pytest.mark.parametrize(
    "text",
    [
        "plain\n\ttext",
        "Grüße, 世界, שלום, مرحبا",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "क्\u200dष",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f",
        "\u0600\u0661",
        "no\xa0break",
    ],
)
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]52;c;aGk=\x1b\\after", "after"),
        ("\x1bPquery\x1b\\after", "after"),
        ("\x1b\x1b[0m[31m", "\\x1b[31m"),
        ("10%\r20%\r\n", "20%\n"),
    ],
)
def test_escape_sequences_go_and_what_is_left_of_them_does_nothing(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_name_is_one_line_and_nothing_of_it_is_left_out() -> None:
    assert one_line("good\rbad\nnext\ttab\x1b[31m") == "good\\rbad\\nnext\\ttab\\x1b[31m"


@pytest.mark.parametrize(
    "piece",
    [
        "\x1b[",
        "\x1b[0",
        "\x1b[0 ",
        "0;",
        "\x1b]",
        "\x1b]0",
        "\x1bP",
        "\x1b",
        "\r",
        "\r\n",
        "a\r",
        "\u202e",
        " ",
    ],
)
@pytest.mark.parametrize("start", ["", "\x1b[", "\x1b]", "\x1bP"])
def test_the_time_is_proportional_to_the_text(start: str, piece: str) -> None:
    """A million characters: at a cost of the square, this would not end within the test's patience."""
    text = start + piece * (1_000_000 // len(piece))
    started = time.process_time()
    shown = printable(text)
    assert "\x1b" not in shown and "\r" not in shown
    assert time.process_time() - started < 20
