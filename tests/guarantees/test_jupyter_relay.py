"""Through the relay to Jupyter's clients the sandbox can show things and do nothing: it moves no timeline, poses as no
other request, and no markup of its files is alive in ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mulligan.runtime.errors import ConnectionFileInvalid
from mulligan.runtime.jupyter.connection import Connection
from mulligan.runtime.jupyter.magics import find_magic
from mulligan.runtime.jupyter.outbox import BOUND, Outbox
from mulligan.runtime.jupyter.page import Line, Shown
from mulligan.runtime.jupyter.wire import Wire, unequivocal

KEY, OTHER = "a-key", "another"


def request(wire: Wire, kind: str = "execute_request") -> list[bytes]:
    return wire.message(kind, {"code": "1"}, to=[b"client"])


def test_what_another_key_has_signed_is_not_opened() -> None:
    assert Wire(KEY).open(request(Wire(KEY))) is not None
    assert Wire(KEY).open(request(Wire(OTHER))) is None


@pytest.mark.parametrize("at", [3, 6])
def test_what_was_changed_after_it_was_signed_is_not_opened(at: int) -> None:
    frames = request(Wire(KEY))
    frames[at] = frames[at].replace(b"1", b"2").replace(b"execute", b"inspect")
    assert Wire(KEY).open(frames) is None


@pytest.mark.parametrize(
    "change", [{"key": ""}, {"signature_scheme": "hmac-md5"}, {"shell_port": 0}, {"transport": "inproc"}]
)
def test_a_connection_that_nobody_could_trust_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    names = ("shell", "iopub", "stdin", "control", "hb")
    sound: dict[str, object] = {"ip": "127.0.0.1", "key": KEY, **{f"{name}_port": 5000 for name in names}}
    file = tmp_path / "connection.json"
    file.write_text(json.dumps(sound))
    assert Connection.read(file).key == KEY
    file.write_text(json.dumps(sound | change))
    with pytest.raises(ConnectionFileInvalid):
        Connection.read(file)


def test_markup_in_names_and_contents_is_escaped() -> None:
    html = Shown((Line("<script>alert(1)</script>\"'&", "+"),)).html
    assert "<script" not in html and "&lt;script&gt;" in html and "\"'" not in html


@pytest.mark.parametrize(
    "packed", [b'{"a": NaN}', b'{"a": -Infinity}', '{"a": 1}'.encode("utf-16"), b'"\xff"']
)
def test_json_that_readers_take_for_different_things_does_not_pass(packed: bytes) -> None:
    assert not unequivocal(packed)
    assert unequivocal(b'{"a": "NaN"}')


def test_output_that_nobody_takes_is_bounded_and_replies_are_kept() -> None:
    outbox = Outbox(lambda: None)
    for _ in range(200):
        outbox.put("iopub", [b"x" * (1 << 20)], output=True)
    outbox.put("shell", [b"reply"])
    parcels = []
    while (parcel := outbox.first()) is not None:
        parcels.append(parcel)
        outbox.sent()
    assert sum(parcel.size for parcel in parcels) < BOUND + (2 << 20)
    assert parcels[-1].frames == [b"reply"] and outbox.left_out() > 100


@pytest.mark.parametrize(
    "code", ["x = %undo", "print('%undo')", "undo", "%%undo", "!%undo", "%undone", "get_ipython()"]
)
def test_only_a_line_of_its_own_is_a_magic_of_ours(code: str) -> None:
    assert find_magic(code) is None
    assert find_magic("# back\n%undo 2\n") is not None
