"""Files that were made to harm whoever looks at what changed: it is bounded, nothing runs, nothing acts."""

from __future__ import annotations

import io
import json
import pickle
import struct
import subprocess
import sys
import unicodedata
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from mulligan.runtime.jsonlines import JsonLines

if TYPE_CHECKING:
    from tests.guarantees.conftest import Attacker

from mulligan.runtime.diffs.lines import Bounds
from mulligan.runtime.diffs.parsing import Parsing
from mulligan.runtime.diffs.text import MOST

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def parsing() -> Iterator[Parsing]:
    with Parsing() as parsing:
        yield parsing


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *extra: bytes) -> bytes:
    """A picture in one bit a pixel, all black."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return PNG + b"".join((chunk(b"IHDR", head), *extra, chunk(b"IDAT", pixels), chunk(b"IEND", b"")))


def parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pa.parquet.write_table(table, file)
    return file.getvalue()


# -- bombs -----------------------------------------------------------------------------------------------------


def test_a_picture_of_too_many_pixels_is_not_unpacked(parsing: Parsing) -> None:
    bomb = png(10_000, 10_000)
    assert len(bomb) < 1 << 20
    detail = parsing.compare("a.png", png(8, 8), bomb, 100)
    assert (detail.kind, detail.notes) == (
        "binary",
        ("not compared as image: it has 10000x10000 pixels: too many to unpack",),
    )


def test_a_picture_with_a_text_that_unpacks_to_much_more_is_refused(parsing: Parsing) -> None:
    packer = zlib.compressobj(9)
    text = b"".join(packer.compress(bytes(1 << 20)) for _ in range(128)) + packer.flush()
    detail = parsing.compare("a.png", png(8, 8), png(8, 8, chunk(b"zTXt", b"a\0\0" + text)), 100)
    assert detail.kind == "binary"
    assert "too large" in detail.notes[0]


def test_a_parquet_file_of_many_rows_is_told_without_reading_them(parsing: Parsing) -> None:
    bomb = parquet(pa.table({"a": pa.array(np.zeros(5_000_000, np.int8))}))
    assert len(bomb) < 1 << 16
    detail = parsing.compare("a.parquet", parquet(pa.table({"a": pa.array([0], pa.int8())})), bomb, 100)
    assert (detail.kind, detail.counts["rows_added"]) == ("table", 4_999_999)
    assert detail.lines == ()


def test_a_parquet_file_that_unpacks_to_gigabytes_ends_its_reading_and_nothing_else(parsing: Parsing) -> None:
    repeated = pa.DictionaryArray.from_arrays(pa.array(np.zeros(200_000, np.int32)), ["x" * 30_000])
    bomb = parquet(pa.table({"a": repeated}))
    assert len(bomb) < 1 << 17
    detail = parsing.compare("a.parquet", None, bomb, 100)
    assert detail.kind == "binary"
    assert detail.notes[0] in {
        f"not compared as table: that takes too {what}" for what in ("much memory", "long")
    }
    assert parsing.compare("a.txt", b"a\n", b"b\n", 100).kind == "text"


def test_lines_that_take_difflib_for_ever_are_given_up(parsing: Parsing) -> None:
    up = b"".join(b"%d\n" % (n % 100) for n in range(MOST))
    down = b"".join(b"%d\n" % (99 - n % 100) for n in range(MOST))
    detail = parsing.compare("a.txt", up, down, 100)
    assert (detail.kind, detail.notes) == (
        "binary",
        ("not compared as text: that takes too long",),
    )


def test_a_million_lines_that_all_differ_are_counted(parsing: Parsing) -> None:
    before, after = (b"".join(b"%d%c\n" % (n, end) for n in range(1_000_000)) for end in b"ab")
    detail = parsing.compare("a.txt", before, after, 10)
    assert detail.counts == {"lines_added": 1_000_000, "lines_removed": 1_000_000}
    assert (len(detail.lines), detail.left_out) == (10, 1_999_991)


def test_a_table_of_a_million_columns_is_compared_as_text(parsing: Parsing) -> None:
    row = b",".join(b"%d" % n for n in range(1_000_000)) + b"\n"
    detail = parsing.compare("a.csv", row, row + row, 10)
    assert (detail.kind, detail.notes) == ("text", ("not compared as table: it has more than 2,000 columns",))
    assert max(len(line.text) for line in detail.lines) <= 302


def test_a_notebook_that_is_nested_deep_is_compared_as_text(parsing: Parsing) -> None:
    deep = b'{"cells": [], "metadata": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}"
    detail = parsing.compare("a.ipynb", b'{"cells": []}', deep, 10)
    assert detail.kind == "text"
    assert detail.notes[0].startswith("not compared as notebook: ")


# -- code in data --------------------------------------------------------------------------------------------------


class Payload:
    """Makes a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (str(self._mark), "w"))


def test_a_pickle_in_an_array_or_a_table_is_never_loaded(parsing: Parsing, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    array = io.BytesIO()
    np.save(array, np.array([Payload(mark)], dtype=object), allow_pickle=True)
    for name in ("a.npy", "a.pkl", "a.parquet"):
        detail = parsing.compare(name, None, array.getvalue(), 100)
        assert detail.kind == "binary"
    code = pickle.dumps(Payload(mark))
    loaded = [b"arrow.py_extension_type", b"pandas.interval", b"mulligan.evil"]
    for extension in loaded:
        said = {b"ARROW:extension:name": extension, b"ARROW:extension:metadata": code}
        schema = pa.schema([pa.field("a", pa.binary(), metadata=said)], metadata={b"pandas": code})
        detail = parsing.compare("a.parquet", None, parquet(pa.table([[code]], schema=schema)), 100)
        assert detail.kind in ("table", "binary")
    assert not mark.exists()
    with pickle.loads(code):  # noqa: S301 - the payload is ours, and works
        assert mark.exists()


ATTEMPTS = """
import os, socket, sys, threading, ctypes
from mulligan.runtime.diffs.limits import confine
secret, mark = sys.argv[1], sys.argv[2]
existing = os.open(mark + ".open", os.O_RDWR | os.O_CREAT)
confine()
said = {}
def attempt(name, do):
    try:
        do()
        said[name] = "done"
    except BaseException as error:
        said[name] = type(error).__name__
attempt("read", lambda: open(secret).read())
attempt("thread", lambda: threading.Thread(target=int).start())
attempt("write", lambda: open(mark, "w"))
attempt("truncate", lambda: os.open(secret, os.O_RDONLY | os.O_TRUNC))
attempt("write open", lambda: os.write(existing, b"x"))
attempt("unlink", lambda: os.unlink(secret))
attempt("rename", lambda: os.rename(secret, mark))
attempt("mkdir", lambda: os.mkdir(mark))
attempt("chmod", lambda: os.chmod(secret, 0o777))
attempt("socket", lambda: socket.socket())
attempt("pair", lambda: socket.socketpair())
attempt("exec", lambda: os.execv("/bin/true", ["true"]))
attempt("spawn", lambda: os.posix_spawn("/bin/true", ["true"], {}))
attempt("kill", lambda: os.kill(os.getppid(), 0))
attempt("memory of another", lambda: open(f"/proc/{os.getppid()}/mem", "wb"))
attempt("more memory", lambda: bytearray(4 << 30))
print(said)
"""


def test_what_reads_contents_can_read_and_nothing_else(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    command = [sys.executable, "-c", ATTEMPTS, str(secret), str(tmp_path / "mark")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    said = eval(ran.stdout)  # noqa: S307 - what our own program printed
    assert {name for name, became in said.items() if became == "done"} == {"read", "thread"}
    assert said["more memory"] == "MemoryError"
    assert said["write open"] == "OSError"
    assert len(said) == 16
    assert secret.read_text() == "x" and not (tmp_path / "mark").exists()


# -- what a terminal would do ----------------------------------------------------------------------------------------

MADE = r"""
import json, os
bad = "\x1b[2J\x1b]0;owned\x07\u202eevil\r\x9b31m\x85\u2028"
def put(name, content):
    with open(name, "wb") as file:
        file.write(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)
put("a\nforged: b", "x\n")
put("\x1b[2Jname", "x\n")
put(b"\xff\xfe", "x\n")
put("text", bad + "\n")
put("latin", b"caf\xe9 \x1b[31m and more, so that it is text\n")
put("table.csv", f'id,"{bad}"\n1,"a\nb{bad}"\n')
put("book.ipynb", json.dumps({"cells": [{"cell_type": bad, "source": bad, "metadata": {bad: bad},
    "outputs": [{"output_type": "error", "ename": bad, "evalue": bad, "traceback": []},
                {"output_type": "display_data", "data": {bad: bad}}]}]}))
os.symlink(bad, "link")
os.mkdir("moved" + bad)
put("moved" + bad + "/f", "f")
os.setxattr("text", "user." + bad[:20], b"x")
"""
AGAIN = r"""
os.rename("moved" + bad, bad + "moved")
put("table.csv", f'id,"{bad}"\n1,"c\nd{bad}"\n')
os.remove("link"); os.symlink(bad + bad, "link")
put("book.ipynb", open("book.ipynb").read().replace("traceback", "metadata"))
"""


def test_nothing_of_a_file_or_its_name_acts_on_a_terminal(attacker: Attacker) -> None:
    first = attacker.run(MADE)
    second = attacker.run(AGAIN)
    assert (first.outcome.kind, second.outcome.kind) == ("completed", "completed"), first.outcome.text
    for diff in (attacker.session.diff(0, first.id), attacker.session.diff(first.id)):
        acting = {c for c in diff.text if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs")}
        assert acting == {"\n"}
        heads = [line for line in diff.text.splitlines() if not line.startswith("    ")]
        assert len(heads) == len(diff.files) + 1, "a name makes no line of its own"
        assert "forged" not in "".join(line[:8] for line in diff.text.splitlines())


def test_a_diff_of_very_many_files_is_bounded(attacker: Attacker) -> None:
    step = attacker.run(
        "for n in range(3000):\n    with open(f'f{n}', 'w') as file: file.write('line\\n' * 200)"
    )
    assert step.outcome.kind == "completed", step.outcome.text
    lines = attacker.session.diff(0, step.id).text.splitlines()
    assert len(lines) < 5_000
    assert "… 2,000 paths more" in lines


def test_a_file_that_went_as_a_link_out_is_not_followed(attacker: Attacker) -> None:
    step = attacker.run("os.symlink('/etc/passwd', 'a.txt'); os.symlink('/etc', 'etc')")
    assert step.outcome.kind == "completed", step.outcome.text
    diff = attacker.session.diff(0, step.id)
    assert [file.detail() for file in diff.files] == [None, None]
    assert "link to /etc/passwd" in diff.text and "root:" not in diff.text


def test_a_diff_carries_no_json_that_breaks_a_line(attacker: Attacker) -> None:
    step = attacker.run(MADE)
    diff = attacker.session.diff(0, step.id)
    file = io.StringIO()
    JsonLines(file).diff("id", diff, Bounds())
    assert file.getvalue().count("\n") == 1 and file.getvalue().isascii()
    assert json.loads(file.getvalue())["files"]
