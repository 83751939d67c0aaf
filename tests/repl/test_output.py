"""What an action gives out, on a terminal: nothing of it acts there, and nothing of it ends the session."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.repl.terminal import Terminal


def test_no_sequence_of_an_action_acts_on_the_terminal(repl: Terminal) -> None:
    repl.run("esc = chr(27); bel = chr(7)")
    begun = len(repl.raw)
    repl.run("print(esc + ']0;ti', end='', flush=True)")
    repl.run("print('tle' + bel + esc + '[3J' + esc + '[5n' + 'af' + 'ter' + chr(155) + 'c')")
    repl.run("import sys; print(esc + '[?1049h' + esc + '[8mhid' + 'den', file=sys.stderr)")
    repl.run("Liar = type('Liar', (), {'__repr__': lambda self: esc + ']52;c;aGk=' + bel + 'li' + 'ar'})")
    repl.run("Liar()")
    repl.run("raise ValueError(esc + '[3J' + 'bo' + 'om')")
    repl.run("_ = open(esc + '[3Jname', 'w')")
    repl.run("import os; _ = os.write(1, b'half ' + bytes([27]) + b'[3')")
    repl.run("_ = os.write(1, b'Jof it' + bytes([10]))")
    said = repl.raw[begun:]
    assert b"after" in said and b"hidden" in said and b"liar" in said and b"boom" in said
    for acts in (
        b"\x1b]0;",
        b"\x07",
        b"\x1b[5n",
        b"\x9bc",
        b"\x1b[?1049h",
        b"\x1b[8m",
        b"\x1b]52",
        b"\x1b[3J",
    ):
        assert acts not in said, acts


def test_output_that_is_no_text_is_shown(repl: Terminal) -> None:
    said = repl.run("import os; _ = os.write(1, bytes([0xff, 0xfe]) + b' no text' + bytes([10]))")
    assert "no text" in said
    assert "\\ud800" in repl.run("print(chr(0xd800))") or repl.run("print('on')").startswith("on")


def test_a_kernel_that_dies_costs_the_action_alone(repl: Terminal) -> None:
    repl.run("kept = 'as it was'")
    said = repl.run("kept = 0; import os; os.kill(os.getpid(), 9)")
    assert "lost" in said and "SIGKILL" in said
    assert "as it was" in repl.run("kept")


def test_long_output_is_shown_in_part_and_its_whole_is_named(repl: Terminal) -> None:
    repl.draws = False
    try:
        repl.enter("for n in range(40_000): print(f'{n:099}')")
        said = repl.until("✓")
    finally:
        repl.draws = True
    assert f"{0:099}\n" in said and f"{39_999:099}\n" in said
    found = re.search(
        r"\[\.\.\. ([\d,]+) characters not shown; all of it is in (\S+)\]", said.replace("\n", "")
    )
    assert found is not None
    assert (Path(found[2]) / "stdout.txt").stat().st_size == 4_000_000
    repl.run("1")


@pytest.mark.soak
def test_a_hundred_megabytes_of_output_leave_the_session_as_it_was(repl: Terminal) -> None:
    repl.draws = False
    try:
        repl.enter("for n in range(1_000_000): print(f'{n:099}')")
        said = repl.until("✓")
    finally:
        repl.draws = True
    assert f"{999_999:099}\n" in said and len(said) < 3_000_000
    repl.run("1")


def test_a_data_frame_is_a_table(repl: Terminal) -> None:
    repl.run("import pandas as pd")
    said = repl.run("pd.DataFrame({'city': ['New York', 'Rome'], 'temp': [1.5, 20.0]})")
    assert "───" in said
    assert any(line.split() == ["0", "New", "York", "1.5"] for line in said.split("\n"))


def test_a_picture_is_saved_where_it_cannot_be_shown_and_the_path_is_said(
    repl: Terminal, state: Path
) -> None:
    repl.paste(PICTURE)
    said = repl.run("")
    assert "[image/png] is saved as" in said
    (saved,) = (state / "pictures").iterdir()
    assert saved.read_bytes().startswith(b"\x89PNG")
    assert saved.stat().st_mode & 0o777 == 0o600


PICTURE = """
import struct, zlib
def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
png = b'\\x89PNG\\r\\n\\x1a\\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 1, 1, 8, 2, 0, 0, 0))
png += chunk(b'IDAT', zlib.compress(bytes(4))) + chunk(b'IEND', b'')
from IPython.display import Image, display
display(Image(png))
"""
