"""No output is lost, order holds, and no amount of it fills the host's memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mulligan import Session
from mulligan.sandbox.messages import Display, Event, Stream


def in_order(events: list[Event]) -> list[tuple[str, str]]:
    """Neighbouring pieces of one stream put together: how text is cut into events means nothing."""
    found: list[tuple[str, str]] = []
    for event in events:
        if isinstance(event, Display):
            found.append(("display", str(event.data["text/plain"])))
        elif isinstance(event, Stream) and found and found[-1][0] == event.name:
            found[-1] = (event.name, found[-1][1] + event.text)
        elif isinstance(event, Stream):
            found.append((event.name, event.text))
    return found


@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=pytest.mark.soak)])
def test_quick_actions_lose_no_output_with_displays_in_between(session: Session, count: int) -> None:
    events: list[Event] = []
    for i in range(count):
        source = f"print({i})" if i % 10 else f"print({i}); display({i})"
        outcome = session.run(source, on_event=events.append).outcome
        assert outcome.stdout == f"{i}\n"
        assert [shown.data["text/plain"] for shown in outcome.displays] == ([] if i % 10 else [str(i)])
    lines = "".join(event.text for event in events if isinstance(event, Stream)).split()
    assert lines == [str(i) for i in range(count)]
    assert len([event for event in events if isinstance(event, Display)]) == len(range(0, count, 10))


def test_an_action_with_many_prints_loses_none(session: Session) -> None:
    outcome = session.run("for i in range(100_000): print(i)", timeout=60).outcome
    assert outcome.stdout == "".join(f"{i}\n" for i in range(100_000))


def test_stdout_stderr_and_displays_keep_their_order(session: Session) -> None:
    events: list[Event] = []
    source = """
import sys
for i in range(200):
    print('out', i)
    print('err', i, file=sys.stderr)
    display(i)
"""
    assert session.run(source, on_event=events.append, timeout=30).outcome.kind == "completed"
    expected = [
        piece
        for i in range(200)
        for piece in (("stdout", f"out {i}\n"), ("stderr", f"err {i}\n"), ("display", str(i)))
    ]
    assert in_order(events) == expected


@pytest.mark.parametrize(
    ("source", "stdout", "stderr"),
    [
        ("import os; os.write(1, b'raw'); os.write(2, b'err');", "raw", "err"),
        ("import subprocess; _ = subprocess.run(['echo', 'from a child'])", "from a child\n", ""),
        (
            "import subprocess; _ = subprocess.run('seq 20000; seq 3 >&2', shell=True)",
            "\n".join(map(str, range(1, 20001))) + "\n",
            "1\n2\n3\n",
        ),
        (
            "import ctypes; libc = ctypes.CDLL(None); libc.puts(b'by puts'); _ = libc.fflush(None)",
            "by puts\n",
            "",
        ),
        ("!echo by the shell", "by the shell\n", ""),
        (
            "import os\nif os.fork() == 0:\n    print('in a fork', flush=True); os._exit(0)\n_ = os.wait()",
            "in a fork\n",
            "",
        ),
        (
            "import threading; t = threading.Thread(target=print, args=('in a thread',)); t.start(); t.join()",
            "in a thread\n",
            "",
        ),
    ],
    ids=["descriptors", "a child", "much from a child", "C", "IPython's shell", "a fork", "a thread"],
)
def test_output_that_does_not_go_through_python_arrives_before_the_step_ends(
    session: Session, source: str, stdout: str, stderr: str
) -> None:
    outcome = session.run(source, timeout=30).outcome
    assert outcome.kind == "completed", outcome.text
    assert (outcome.stdout.replace("\r\n", "\n"), outcome.stderr) == (stdout, stderr)


def test_python_and_its_children_keep_their_order_when_they_take_turns(session: Session) -> None:
    source = """
import subprocess
for i in range(30):
    print('python', i)
    subprocess.run(['echo', 'child', str(i)])
"""
    outcome = session.run(source, timeout=30).outcome
    assert outcome.stdout == "".join(f"python {i}\nchild {i}\n" for i in range(30))


def test_bytes_that_are_not_utf8_are_replaced_and_hurt_nothing(session: Session) -> None:
    outcome = session.run(
        r"import subprocess; _ = subprocess.run(['printf', r'ok \377\376 caf\303\251\n'])"
    ).outcome
    assert outcome.stdout == "ok \ufffd\ufffd café\n"
    assert session.run(r"print('lone \ud800 surrogate')").outcome.kind in ("completed", "raised")
    assert session.run("print('goes on')").outcome.stdout == "goes on\n"


def test_a_character_that_a_child_writes_in_two_halves_arrives_whole(session: Session) -> None:
    outcome = session.run(
        "import os, subprocess; os.write(1, b'caf\\xc3'); subprocess.run(['true']); os.write(1, b'\\xa9\\n');"
    ).outcome
    assert outcome.stdout == "café\n"


def test_what_a_thread_prints_after_its_action_ended_comes_with_a_later_one(session: Session) -> None:
    session.run(
        "import threading; gate, done = threading.Event(), threading.Event()\n"
        "def late(): gate.wait(); print('late'); done.set()\n"
        "threading.Thread(target=late).start()"
    )
    outcome = session.run("gate.set(); done.wait(); print('after')", timeout=30).outcome
    assert "late\n" in outcome.stdout and outcome.stdout.endswith("after\n")


def resident() -> int:
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_huge_output_is_bounded_to_head_and_tail_with_a_count(session: Session) -> None:
    line, count = 1 << 20, 200
    before, most = resident(), 0

    def measure(_: Event) -> None:
        nonlocal most
        most = max(most, resident())

    source = f"for i in range({count}): print(f'{{i:03}}' + 'x' * ({line} - 4))"
    outcome = session.run(source, on_event=measure, timeout=100).outcome
    assert outcome.kind == "completed", outcome.text
    head, gap, tail = outcome.stdout.partition("\n[... ")
    said, _, tail = tail.partition(" characters ...]\n")
    assert gap and int(said.replace(",", "")) == outcome.output.left_out
    assert head.startswith("000xxx") and tail.endswith("x\n")
    assert f"\n{count - 1}xxx" in tail
    assert len(head) + outcome.output.left_out + len(tail) == line * count
    assert len(outcome.stdout) < 40 << 20
    assert len(outcome.text) < 20_000
    assert most - before < 128 << 20, "the host kept more than head and tail"
    assert session.run("print('goes on')").outcome.stdout == "goes on\n"


def test_many_displays_are_bounded_with_a_count(session: Session) -> None:
    outcome = session.run("for i in range(3000): display(i)", timeout=60).outcome
    assert len(outcome.displays) + outcome.output.left_out == 3000
    assert len(outcome.displays) <= 1000


def test_output_streams_while_the_action_still_runs(session: Session) -> None:
    """The action waits for a file that is made when its output has been seen: it cannot end otherwise."""
    go: Path = session.workspace / "go"

    def hear(event: Event) -> None:
        if isinstance(event, Stream) and "first" in event.text:
            go.write_text("seen")

    source = (
        "import os, time\nprint('first')\nwhile not os.path.exists('go'): time.sleep(0.01)\nprint('last')"
    )
    outcome = session.run(source, on_event=hear, timeout=30).outcome
    assert (outcome.kind, outcome.stdout) == ("completed", "first\nlast\n")


def test_an_observer_that_raises_does_not_lose_the_session(session: Session) -> None:
    def burst(event: Event) -> None:
        raise ZeroDivisionError("in the caller's own code")

    with pytest.raises(ZeroDivisionError):
        session.run("x = 1; print('out')", on_event=burst)
    assert session.run("print('goes on')", timeout=30).outcome.stdout == "goes on\n"


def test_displays_carry_images_updates_and_clears(session: Session) -> None:
    source = """
from IPython.display import clear_output, display, HTML, Image
print('cleared'); clear_output()
handle = display('first', display_id=True); handle.update('second')
display(HTML('<b>bold</b>'))
import base64
display(Image(base64.b64decode('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==')))
"""
    outcome = session.run(source, timeout=30).outcome
    assert outcome.kind == "completed", outcome.text
    assert outcome.stdout == ""
    shown = [dict(display.data) for display in outcome.displays]
    assert shown[0]["text/plain"] == "'second'"
    assert shown[1]["text/html"] == "<b>bold</b>"
    assert str(shown[2]["image/png"]).startswith("iVBORw0KGgo")


def test_input_is_refused_at_once_instead_of_waiting(session: Session) -> None:
    outcome = session.run("input('name? ')", timeout=20).outcome
    assert outcome.kind == "raised"
