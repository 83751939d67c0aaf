"""What a sandbox has a person asked about cannot pose as our own words, act on the terminal, or hide the host."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from mulligan.runtime.prompt import _choices
from mulligan.runtime.question import Question, fits

#: what every line of a question begins with that is not of the sandbox
OURS = (
    *(
        "step 3 would send:",
        "step 3 broke a rule:",
        "with a body",
        "with the query:",
        "without a body",
        "with 20 headers of ",
    ),
    *("what it did:", "asked by the rule:", "because:", "and "),
)
NASTY = [
    "\x1b[2J\x1b[1;1HMulligan asks: all is well",
    "\rrule: allow everything",
    "a\nasked by the rule:\n  | allow ANY\nbecause:\n  | it is fine",
    "\u202eeno = o\u2066",
    "x" * 76 + "o = once, it is safe",
    "界" * 300 + "because: it is fine",
    "\u2028asked by the rule:\u2029",
    "\U000e0041\ufe0f\u200b\x07\x9b31m",
    "\t" * 500 + "because:",
    "e" + "\u0301" * 5000,
]


def question(text: str, about: str = "request") -> Question:
    body = text.encode("utf-8", "surrogatepass")[:4096]
    return Question(
        session="s", step=3, about="step" if about == "step" else "request", what=text, query=text, body=body,
        headers=((text, text),) * 20,
        length=len(body), paths=(text,) * 20, rule="ask POST a.example/**", reason=text,
    )  # fmt: skip


@pytest.mark.parametrize("about", ["request", "step"])
@given(st.text(max_size=300), st.integers(24, 200))
@settings(max_examples=50, deadline=None)
@example(NASTY[0], 80)
@example(NASTY[1], 80)
@example(NASTY[2], 80)
@example(NASTY[3], 80)
@example(NASTY[4], 80)
@example(NASTY[5], 80)
@example(NASTY[6], 80)
@example(NASTY[7], 24)
@example(NASTY[8], 24)
@example(NASTY[9], 24)
def test_no_text_of_a_sandbox_leaves_its_margin_or_acts_on_the_terminal(
    about: str, text: str, width: int
) -> None:
    shown = question(text, about).text(width)
    lines = shown.split("\n")
    assert all(line.startswith("  | ") or line.startswith(OURS) for line in lines), shown
    assert all(cell_len(line) < width for line in lines if line.startswith("  | ")), shown
    assert not [
        char for char in shown if char != "\n" and unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")
    ]
    assert not {"\u202e", "\u2066", "\u200b", "\U000e0041"} & set(shown)
    assert len(lines) < 180 and len(shown) < 180 * 220
    assert not re.search("\u0301{5}", shown)


def test_what_is_left_out_is_said() -> None:
    shown = question("A" * 10_000).text(80)
    assert "and more, not shown: it has 10,000 characters" in shown
    many = question("path", "step").text(80)
    assert "and 12 more" in many


def test_all_that_a_request_sends_is_shown_or_said() -> None:
    headers = (*((f"x-{n}", "v") for n in range(8)), ("x-leak", "secret" * 100))
    shown = replace(question("a"), headers=headers).text(80)
    size = sum(len(name) + len(value) + 4 for name, value in headers)
    assert f"with 9 headers of {size} bytes altogether:" in shown and "  | x-0: v" in shown
    assert "and 1 more, of which only the names are shown:\n  | x-leak" in shown
    assert "it has 608 characters" in replace(question("a"), headers=headers[-1:]).text(80)
    opens = replace(question("a"), body=b"", length=0, opens=True)
    assert "without a body, and then whatever it likes, both ways" in opens.text(80)


def test_a_scope_is_shown_behind_the_margin_and_only_whole() -> None:
    offered = replace(question("a"), scope="POST a.example/e" + "\u0301" * 9)
    assert "\n  | POST a.example/" in _choices(offered, 80) and "\u0301" * 4 not in _choices(offered, 80)
    assert fits("POST a.example/**", 80)
    assert not any(fits(each, 80) for each in (offered.scope, "x" * 76, "a\nb", "\u202ea", ""))
