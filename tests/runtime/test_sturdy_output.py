"""Output in floods and in one piece: bounded on both sides, and the session goes on."""

from __future__ import annotations

import pytest

from mulligan import Session
from mulligan.sandbox.guest.channel import MOST


@pytest.fixture
def session(opened: Session) -> Session:
    opened.reset()
    assert opened.run("kept = ['kept']").outcome.kind == "completed"
    return opened


def assert_all_is_as_it_was(session: Session) -> None:
    assert session.run("print(kept)", timeout=60).outcome.stdout == "['kept']\n"


def test_a_print_that_no_message_could_hold_is_many_messages(session: Session) -> None:
    size = MOST + 1000
    outcome = session.run(f"print('x' * {size})", timeout=100).outcome
    assert outcome.kind == "completed", outcome.text
    assert outcome.stdout.startswith("xxx") and outcome.stdout.endswith("x\n")
    assert session.undo().memory == "woken"
    assert_all_is_as_it_was(session)


def test_a_display_that_no_message_could_hold_is_an_error_of_the_action(session: Session) -> None:
    outcome = session.run(
        f"done = 'done'\ndisplay({{'text/plain': 'x' * {MOST}}}, raw=True)", timeout=100
    ).outcome
    assert outcome.kind == "raised", outcome.text
    assert outcome.error is not None and outcome.error.name == "TooLarge"
    assert session.run("print(done)").outcome.stdout == "done\n"
    assert_all_is_as_it_was(session)


def test_a_display_of_100_megabytes_arrives_whole(session: Session) -> None:
    outcome = session.run(
        "display({'text/plain': 'x' * 100_000_000}, raw=True); print('said')", timeout=100
    ).outcome
    assert outcome.kind == "completed", outcome.text
    assert [len(str(shown.data["text/plain"])) for shown in outcome.displays] == [100_000_000]
    assert outcome.stdout == "said\n" and len(outcome.text) < 20_000
    assert_all_is_as_it_was(session)
