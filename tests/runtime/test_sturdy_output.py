"""Output in floods and in one piece: bounded on both sides, and the session goes on."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

import mulligan
from mulligan import Session
from mulligan.policies.policy import Resources
from mulligan.runtime.collector import DISPLAYS
from mulligan.runtime.outcome import RECORDED
from mulligan.sandbox.guest.channel import MOST
from mulligan.sandbox.messages import Display, Event


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


MIB = 1 << 20


def resident() -> int:
    """Bytes of this process."""
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Peaks:
    """The most memory that this process had while an action ran, and its sandbox after each piece of output."""

    def __init__(self) -> None:
        self.before = self.most = resident()

    def __call__(self, _: Event) -> None:
        self.most = max(self.most, resident())

    @property
    def grown(self) -> int:
        return self.most - self.before


#: the most memory that the supervisor has ever had
SUPERVISOR = """
with open('/proc/1/status') as status:
    print(*(int(line.split()[1]) << 10 for line in status if line.startswith('VmHWM')))
"""


def test_a_storm_of_prints_is_bounded_in_memory_and_whole_on_disk(session: Session) -> None:
    line = "x" * 99_990
    count = 10_000  # a gigabyte in all
    peaks = Peaks()
    source = f"for i in range({count}): print(f'{{i:09}}' + {line!r})"
    outcome = session.run(source, timeout=600, on_event=peaks).outcome
    assert outcome.kind == "completed", outcome.text
    kept = outcome.transcript
    assert kept is not None and (kept.cut, kept.size) == (False, count * 100_000)
    with open(kept.folder / "stdout.txt") as file:
        assert all(text == f"{number:09}{line}\n" for number, text in enumerate(file))
    assert outcome.stdout.startswith("000000000xxx") and outcome.stdout.endswith(f"{count - 1:09}{line}\n")
    assert f"{outcome.output.left_out:,} characters" in outcome.stdout
    assert peaks.grown < 128 * MIB
    assert int(session.run(SUPERVISOR).outcome.stdout) < 256 * MIB
    assert_all_is_as_it_was(session)


@pytest.mark.parametrize("count", [5000, pytest.param(1_000_000, marks=pytest.mark.soak)])
def test_a_storm_of_displays_is_bounded_in_memory_and_whole_on_disk(session: Session, count: int) -> None:
    peaks = Peaks()
    outcome = session.run(f"for i in range({count}): display(i)", timeout=3000, on_event=peaks).outcome
    assert outcome.kind == "completed", outcome.text
    shown = [int(str(each.data["text/plain"])) for each in outcome.displays]
    half = DISPLAYS // 2
    assert shown == [*range(half), *range(count - half, count)]
    assert outcome.output.left_out == count - DISPLAYS
    assert outcome.transcript is not None and not outcome.transcript.cut
    with open(outcome.transcript.folder / "displays.jsonl") as file:
        assert [int(json.loads(each)["data"]["text/plain"]) for each in file] == list(range(count))
    assert peaks.grown < 128 * MIB
    assert int(session.run(SUPERVISOR).outcome.stdout) < 256 * MIB
    assert_all_is_as_it_was(session)


def test_a_storm_of_large_displays_is_bounded_in_memory_and_whole_on_disk(session: Session) -> None:
    peaks = Peaks()
    source = "for i in range(40): display({'text/plain': str(i % 10) * 20_000_000}, raw=True)"
    outcome = session.run(source, timeout=600, on_event=peaks).outcome
    assert outcome.kind == "completed", outcome.text
    assert str(outcome.displays[0].data["text/plain"]).startswith("00")
    assert str(outcome.displays[-1].data["text/plain"]).startswith("99")
    assert len(outcome.displays) + outcome.output.left_out == 40
    assert outcome.transcript is not None and not outcome.transcript.cut
    with open(outcome.transcript.folder / "displays.jsonl", "rb") as file:
        assert [line.count(b"%d" % (number % 10)) for number, line in enumerate(file)] == [20_000_000] * 40
    assert peaks.grown < 700 * MIB
    assert int(session.run(SUPERVISOR).outcome.stdout) < 700 * MIB
    assert_all_is_as_it_was(session)


def test_a_watcher_that_is_slow_holds_the_action_up_and_fills_no_memory(session: Session) -> None:
    """The action writes down how far it came: it is slow until that stands still."""
    peaks = Peaks()
    made, held_up_at = session.workspace / "made", 0

    def slow(event: Event) -> None:
        nonlocal held_up_at
        if isinstance(event, Display) and str(event.data["text/plain"]).startswith("0"):
            while (size := made.stat().st_size) != held_up_at:
                held_up_at = size
                time.sleep(1)
        peaks(event)

    source = (
        "made = open('made', 'wb', buffering=0)\n"
        "for i in range(40): display({'text/plain': f'{i:x<20000000}'}, raw=True); _ = made.write(b'.')"
    )
    outcome = session.run(source, timeout=600, on_event=slow).outcome
    assert 0 < held_up_at < 40, "it was not held up"
    assert outcome.kind == "completed", outcome.text
    assert len(outcome.displays) + outcome.output.left_out == 40
    supervisor = int(session.run(SUPERVISOR).outcome.stdout)
    assert peaks.grown < 600 * MIB and supervisor < 300 * MIB, (peaks.grown, supervisor)
    assert_all_is_as_it_was(session)


def test_what_the_ledger_holds_whole_has_no_transcript(session: Session) -> None:
    outcome = session.run(f"print('x' * {RECORDED - 1}); display(1)").outcome
    assert outcome.transcript is None
    assert not session.folders.output.exists() or outcome.stdout.startswith("x")


def test_a_transcript_has_each_stream_to_the_letter_and_begins_before_it_was_begun(session: Session) -> None:
    source = f"""
import sys
for i in range({RECORDED // 4}):
    print(i, 'é\x1b[31m'); print('err', i, file=sys.stderr)
"""
    outcome = session.run(source, timeout=60).outcome
    assert outcome.kind == "completed" and outcome.output.left_out == 0, outcome.text
    assert outcome.transcript is not None
    for name in ("stdout", "stderr"):
        text = (outcome.transcript.folder / f"{name}.txt").read_bytes().decode()
        assert text == getattr(outcome, name)
    assert outcome.transcript.folder.stat().st_mode & 0o077 == 0


def test_what_was_cleared_is_not_in_the_transcript(session: Session) -> None:
    source = f"""
from IPython.display import clear_output
for i in range(5):
    clear_output(); print(str(i) * {RECORDED * 2}, end='')
"""
    outcome = session.run(source, timeout=60).outcome
    assert outcome.transcript is not None
    assert (outcome.transcript.folder / "stdout.txt").read_text() == "4" * (RECORDED * 2)
    assert outcome.transcript.size == RECORDED * 2


def test_the_transcript_of_an_action_that_was_ended_has_what_it_said(session: Session) -> None:
    outcome = session.run(f"import os; print('x' * {RECORDED * 2}, flush=True); os.abort()").outcome
    assert outcome.kind == "lost"
    assert outcome.transcript is not None
    assert (outcome.transcript.folder / "stdout.txt").read_text() == outcome.stdout
    assert_all_is_as_it_was(session)


def test_transcripts_are_bounded_by_the_policy_and_go_with_the_session(
    isolation: str, tmp_path: Path
) -> None:
    policy = mulligan.Policy(resources=Resources(output=MIB))
    with mulligan.open(isolation=isolation, state=tmp_path, policy=policy) as session:
        first = session.run("kept = ['kept']; print('x' * 700_000)").outcome.transcript
        second = session.run("print('y' * 700_000); print('z' * 700_000)").outcome
        third = session.run("print('z' * 700_000); display(1)").outcome
        assert first is not None and not first.cut
        assert second.transcript is not None and second.transcript.cut
        assert third.transcript is not None and (third.transcript.cut, third.transcript.size) == (True, 0)
        assert len(second.stdout) == 1_400_002, "what is not on disk is in memory still"
        node = session.timeline.node(2)
        assert node.outcome["transcript"] == {"folder": "2", "size": MIB - 700_001, "cut": True}
        assert sum(each.stat().st_size for each in session.folders.output.rglob("*.txt")) == MIB
        assert_all_is_as_it_was(session)
    assert first.folder.parent == session.folders.output and not session.folders.output.exists()


def test_the_transcripts_of_a_session_that_is_kept_stay_until_it_is_forgotten(
    isolation: str, tmp_path: Path
) -> None:
    with mulligan.open(isolation=isolation, state=tmp_path, keep=True) as session:
        kept = session.run("print('x' * 200_000)").outcome.transcript
    assert kept is not None
    assert (kept.folder / "stdout.txt").stat().st_size == 200_001
    from mulligan.runtime.past import forget

    forget(session.id, tmp_path)
    assert not kept.folder.exists()
