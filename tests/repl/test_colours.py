"""Which colours an action may have, and how what is shown is bounded: without a terminal."""

from __future__ import annotations

import base64
import struct

import pytest

from mulligan.runtime.repl.colours import Colours
from mulligan.runtime.repl.editor import whole_for_python
from mulligan.runtime.repl.images import picture_in, shown, way_to_show
from mulligan.runtime.repl.plain import pieces
from mulligan.runtime.repl.screen import as_commands
from mulligan.runtime.repl.tables import table_of

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 3, 2)


def looks(said: str) -> list[tuple[str, str]]:
    text = Colours().text(said)
    return [(text.plain[span.start : span.end], str(span.style)) for span in text.spans]


def test_colours_are_followed_and_what_could_hide_text_is_not() -> None:
    assert looks("\x1b[31mred\x1b[0m plain \x1b[1;92mgreen") == [
        ("red", "red"),
        ("green", "bold bright_green"),
    ]
    for hides in (
        "30",
        "37",
        "97",
        "40",
        "107",
        "7",
        "8",
        "5",
        "38;5;16",
        "48;2;0;0;0",
        "38;2;1;1;1",
        "58;5;1",
    ):
        assert looks(f"\x1b[{hides}mseen") in ([], [("seen", "none")]), hides
    assert looks("\x1b[38;5;31mseen") == []
    assert Colours().text("\x1b[31;2Jx\x1b[999999999999999999999mx").plain == "xx"


def test_a_colour_goes_on_in_the_next_line_and_ends_with_the_action() -> None:
    colours = Colours()
    colours.text("\x1b[31mred")
    assert [str(span.style) for span in colours.text("still").spans] == ["red"]
    colours.reset()
    assert colours.text("not").spans == []


def test_a_progress_bar_leaves_its_last_state() -> None:
    assert Colours().text("1%\r\x1b[32m50%\r\x1b[32m100%\r\nnext").plain == "100%\nnext"


FRAME = "           city  temp\n0      New York   1.5\n1          Rome  20.0"


def data(text: str, html: str = '<table border="1" class="dataframe">') -> dict[str, str]:
    return {"text/plain": text, "text/html": html}


def test_a_frame_is_taken_apart_by_its_blank_columns() -> None:
    table = table_of(data(FRAME), 80)
    assert table is not None
    cells = [[str(cell) for cell in column.cells] for column in table.columns]
    assert cells == [["0", "1"], ["New York", "Rome"], ["1.5", "20.0"]]


def test_an_index_with_a_name_is_a_head_of_its_own() -> None:
    table = table_of(
        data("        days  high\nseason            \nwinter   361   8.7\nspring   368  16.6"), 80
    )
    assert table is not None
    assert str(table.columns[0].header) == "season"
    assert [str(cell) for cell in table.columns[1].cells] == ["361", "368"]


@pytest.mark.parametrize(
    ("text", "width"),
    [
        (FRAME, 10),
        (FRAME.replace("Rome", "\x1b[2J"), 80),
        ("one line", 80),
        ("", 80),
        ("a  b\n\n1  2", 80),
        (FRAME.replace("temp", "temp\\"), 80),
        ("x" * 50_000 + "\n" + "y", 80),
        ("a\n" * 1000, 80),
    ],
)
def test_what_is_no_table_stays_as_it_is(text: str, width: int) -> None:
    assert table_of(data(text), width) is None
    assert table_of({"text/plain": FRAME}, 80) is None


def test_what_a_terminal_is_sent_is_base64_of_ours() -> None:
    picture = picture_in({"image/png": base64.b64encode(PNG * 1000).decode()})
    assert picture is not None
    for way in ("kitty", "iterm2"):
        sequence = shown(picture, way)
        assert "".join(part for part in sequence.split("\x1b") if part)
        assert not set(sequence) - set("\x1b\\]\x07\n_;=,:+/") - set(map(chr, range(48, 123)))
    assert shown(picture, "") == ""


@pytest.mark.parametrize(
    "bundle",
    [
        {"image/png": "\x1b\\\x1b]0;title\x07"},
        {"image/png": base64.b64encode(b"no picture").decode()},
        {"image/png": 3},
        {"image/svg+xml": "<svg onload='alert(1)'/>"},
        {"image/png": "A" * 40_000_000},
    ],
)
def test_what_is_no_picture_is_none(bundle: dict[str, object]) -> None:
    assert picture_in(bundle) is None


def test_a_picture_too_large_for_a_terminal_is_not_sent_to_it() -> None:
    large = PNG[:16] + struct.pack(">II", 2_000_000_000, 2)
    picture = picture_in({"image/png": base64.b64encode(large).decode()})
    assert picture is not None and shown(picture, "kitty") == "" and shown(picture, "iterm2") == ""


@pytest.mark.parametrize(
    ("environment", "way"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/x"}, ""),
        ({"TERM": "dumb", "TERM_PROGRAM": "iTerm.app"}, ""),
        ({"TERM": "xterm-256color"}, ""),
        ({}, ""),
    ],
)
def test_the_terminal_says_by_which_way_it_shows_pictures(environment: dict[str, str], way: str) -> None:
    assert way_to_show(environment) == way


@pytest.mark.parametrize(
    ("code", "says", "indent"),
    [
        ("1 + 1", "complete", ""),
        ("for x in y:", "incomplete", "    "),
        ("if a:\n    for x in y:", "incomplete", "        "),
        ("f(1,", "incomplete", ""),
        ("'''", "incomplete", ""),
        ("1 +* 2", "invalid", ""),
        ("x = '\0'", "invalid", ""),
        ("(" * 10_000, "invalid", ""),
    ],
)
def test_before_the_kernel_is_there_pythons_compiler_says_what_is_whole(
    code: str, says: str, indent: str
) -> None:
    found = whole_for_python(code)
    assert found.says == says or (code.startswith("((") and found.says in ("invalid", "incomplete"))
    assert found.says != "incomplete" or found.indent == indent or code.startswith("((")


def test_a_pipe_is_cut_where_statements_end() -> None:
    text = (
        "x = 1\n\nfor i in y:\n    a\n\n    b\nelse:\n    c\n:undo\n@d\ndef f():\n    pass\nz = (1,\n2)\nlast"
    )
    whole = lambda code: whole_for_python(code).says != "incomplete"  # noqa: E731
    assert list(pieces(text.split("\n"), whole)) == [
        "x = 1",
        "for i in y:\n    a\n\n    b\nelse:\n    c",
        ":undo",
        "@d\ndef f():\n    pass",
        "z = (1,\n2)",
        "last",
    ]


def test_what_errors_advise_callers_is_advised_as_commands() -> None:
    assert as_commands("goto(step) reaches every step") == ":goto STEP reaches every step"
    assert as_commands("it is step 3: undo(to=3) or goto(3); after it step 7: goto(7)") == (
        "it is step 3: :goto 3; after it step 7: :goto 7"
    )
    assert as_commands("commit() writes them") == ":commit writes them"
