"""What code inside can do to the socket on which tools are called, and to whoever answers there."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator

import mulligan
from mulligan import Session

CALLED: list[object] = []
HELD = threading.Event()


def record(value: Any) -> str:
    CALLED.append(value)
    return "recorded"


def total(values: list[int]) -> int:
    CALLED.append(values)
    return sum(values)


def secretive() -> None:
    raise RuntimeError(
        "cannot open '/root/.config/keys' (~alice/db, file:///etc/passwd, /var/lib/x/y; "
        "x:/root/late, https://var/page) \x1b]0;x\x07"
    )


def large() -> str:
    return "x" * 10_000_000


def several(**values: int) -> str:
    CALLED.append(values)
    return "recorded"


def picky(value: Annotated[str, AfterValidator({"a": "b"}.__getitem__)]) -> str:
    CALLED.append(value)
    return "recorded"


@dataclasses.dataclass
class Half:
    a: int


def half() -> Any:
    return object.__new__(Half)


def held() -> str:
    HELD.wait(60)
    return "late"


#: speaks to the socket by hand
BY_HAND = r"""
import json, socket, struct
def send(data, read=True):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(60)
    sock.connect("/run/mulligan/tools.sock")
    try:
        sock.sendall(data)
    except OSError:
        pass
    return answer(sock) if read else sock
def answer(sock):
    try:
        found = sock.recv(8, socket.MSG_WAITALL)
        if len(found) < 8:
            return "cut"
        length, count = struct.unpack("!II", found)
        sock.recv(4 * count, socket.MSG_WAITALL)
        told = json.loads(sock.recv(length, socket.MSG_WAITALL))
        return told["error"]["text"] if "error" in told else told["result"]
    except OSError as error:
        return type(error).__name__
    finally:
        sock.close()
def frame(text, parts=()):
    text = text if isinstance(text, bytes) else text.encode()
    sizes = struct.pack(f"!{len(parts)}I", *map(len, parts))
    return struct.pack("!II", len(text), len(parts)) + sizes + text + b"".join(parts)
def call(value, parts=(), name="record"):
    return send(frame('{"tool": "%s", "arguments": {"value": %s}}' % (name, value), parts))
"""


@pytest.fixture(scope="module")
def opened(isolation: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    tools: list[Callable[..., Any]] = [record, total, several, picky, half, secretive, large, held]
    with mulligan.open(isolation=isolation, state=tmp_path_factory.mktemp("state"), tools=tools) as session:
        assert session.run(BY_HAND).outcome.kind == "completed"
        yield session


@pytest.fixture
def session(opened: Session) -> Iterator[Session]:
    CALLED.clear()
    HELD.clear()
    yield opened
    HELD.set()
    outcome = opened.run("print(call(1))").outcome  # whatever was done to it, it is there for the next
    assert outcome.output.stdout == "recorded\n"


def said(session: Session, source: str) -> list[str]:
    outcome = session.run(source).outcome
    assert outcome.kind == "completed", outcome.error
    return outcome.output.stdout.splitlines()


UNREADABLE = {
    "no JSON": "frame('no json')",
    "no text": r"frame(b'\xff\xfe\x00')",
    "deep": "frame('[' * 200_000)",
    "deep inside": "frame('{\"tool\": \"record\", \"arguments\": {\"value\": ' + '[' * 50_000 + ']' * 50_000 + '}}')",
    "NaN": 'frame(\'{"tool": "record", "arguments": {"value": NaN}}\')',
    "no call": "frame('[1, 2]')",
    "no arguments": 'frame(\'{"tool": "record"}\')',
    "a name that is none": 'frame(\'{"tool": [], "arguments": {}}\')',
    "too long": "struct.pack('!II', 2**31, 0)",
    "too many parts": "struct.pack('!II', 2, 2**31)",
    "too large a part": "struct.pack('!II', 2, 1) + struct.pack('!I', 2**31)",
    "a number without end": 'frame(\'{"tool": "record", "arguments": {"value": \' + \'9\' * 5000 + \'}}\')',
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_call_is_answered_and_nothing_is_called(session: Session, data: str) -> None:
    (line,) = said(session, f"print(send({data}))")
    assert line.startswith("the call could not be read") and CALLED == []


VALUES = {
    "an unknown kind": ("""'{"$": "object", "v": 1}'""", ""),
    "a kind that is no text": ("""'{"$": [], "v": 1}'""", ""),
    "a class by its name": ("""'{"$": "date", "v": {"$": "enum", "n": "os.system", "v": "id"}}'""", ""),
    "a part that is not there": ("""'{"$": "text", "v": 7}'""", ""),
    "a part from the end": ("""'{"$": "bytes", "v": -1}'""", "[b'a']"),
    "a part twice": ("""'[{"$": "text", "v": 0}, {"$": "text", "v": 0}]'""", "[b'a' * 1000]"),
    "a part that is no text": ("""'{"$": "text", "v": 0}'""", r"[b'\xff']"),
    "a key that cannot be one": ("""'{"$": "dict", "v": [[[], 1]]}'""", ""),
    "a date that is none": ("""'{"$": "date", "v": "2030-99-99"}'""", ""),
    "a duration that is none": ("""'{"$": "timedelta", "v": [1e300, {}, "x"]}'""", ""),
    "numbers that share a place": ("'[' + ','.join(str((2**61 - 1) * k) for k in range(9, 2000)) + ']'", ""),
    "an infinity that is none": ("""'{"$": "float", "v": "1e999"}'""", ""),
}


@pytest.mark.parametrize(("value", "parts"), VALUES.values(), ids=VALUES)
def test_a_value_that_lies_about_itself_is_refused(session: Session, value: str, parts: str) -> None:
    (line,) = said(session, f"print(call({value}, {parts or '()'}))")
    assert line.startswith("the call could not be read") and CALLED == []


def test_a_record_is_data_whatever_class_it_names(session: Session) -> None:
    value = """'{"$": "record", "n": "__import__", "v": {"__class__": "os", "a": 1}}'"""
    assert said(session, f"print(call({value}))") == ["recorded"]
    assert CALLED == [{"__class__": "os", "a": 1}] and type(CALLED[0]) is dict


def test_names_that_were_not_offered_are_not_looked_up(session: Session) -> None:
    names = ["__class__", "function", "os.system", "RECORD", "", "a" * 10_000, "record\\u0000"]
    lines = said(session, f"for name in {names!r}: print(call('1', name=name)[:30])")
    assert lines == ["there is no tool of that name;"] * len(names) and CALLED == []


def test_arguments_that_the_signature_does_not_have_are_refused(session: Session) -> None:
    lines = said(
        session,
        """
for given in ('{"values": ["x"]}', '{"values": [1], "self": 2}', '{}', '{"values": {"a": 1}}', '{"values": "12"}'):
    print(send(frame('{"tool": "total", "arguments": %s}' % given)))
""",
    )
    assert [line.partition(",")[0] for line in lines] == [
        "total(): values[0]: Input should be a valid integer",
        "total(): there is no argument 'self'",
        "total() lacks the argument 'values'",
        "total(): values: Input should be a valid list",
        "total(): values: Input should be a valid list",
    ]
    assert CALLED == []


def test_what_fails_outside_of_a_function_is_answered_and_costs_no_thread(session: Session) -> None:
    source = """
for _ in range(4):
    print(send(frame('{"tool": "several", "arguments": {"values": [1]}}')), call('"x"', name="picky"), sep="|")
    print(send(frame('{"tool": "half", "arguments": {}}')))
"""
    lines = said(session, source)
    assert lines[0] == "several(): values is no collection of arguments|'x'"
    assert lines[1] == "its result cannot be handed over: 'Half' object has no attribute 'a'"
    assert lines == lines[:2] * 4 and CALLED == []


def test_the_text_of_an_exception_tells_no_path_of_the_host_and_drives_no_terminal(session: Session) -> None:
    outcome = session.run("from tools import secretive; secretive()").outcome
    assert outcome.error is not None
    shown = "".join([outcome.error.value, *outcome.error.traceback, *map(str, outcome.notes)])
    assert outcome.error.name == "RuntimeError" and outcome.error.value.startswith(
        "cannot open '(a path of the host)'"
    )
    assert "https://var/page" in shown
    for kept in ("/root/", "late", "keys", "alice", "passwd", "/var/lib", "tool.py", "server.py", __file__):
        assert kept not in shown
    stands = [str(each) for each in session.timeline.nodes.values()] + [
        str(each) for each in session.reach(0).stands
    ]
    assert not any("\x1b" in line for line in stands)


def test_the_socket_and_the_description_cannot_be_replaced(session: Session) -> None:
    source = """
import os
for job in (lambda: os.unlink("/run/mulligan/tools.sock"), lambda: os.rename("/run/mulligan/tools.sock", "/tmp/x"),
            lambda: open("/run/mulligan/tools.json", "w"),
            lambda: socket.socket(socket.AF_UNIX).bind("/run/mulligan/b"),
            lambda: os.symlink("/tmp", "/run/mulligan/c")):
    try:
        print(job())
    except OSError as error:
        print("refused")
"""
    assert said(session, source) == ["refused"] * 5


def test_those_who_say_nothing_or_never_read_hold_up_nobody_for_good(session: Session) -> None:
    source = """
quiet = [send(b"", read=False) for _ in range(20)]
half = [send(struct.pack("!II", 100, 0) + b"{", read=False) for _ in range(5)]
greedy = [send(frame('{"tool": "large", "arguments": {}}'), read=False) for _ in range(4)]
print(call('"still there"'))
"""
    assert said(session, source) == ["recorded"] and CALLED == ["still there"]
    session.undo()  # and undo waits for none of them
    assert said(session, "print('quiet' in globals())") == ["False"]


def test_a_flood_of_calls_is_taken_a_bounded_number_at_a_time(session: Session) -> None:
    source = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(64) as pool:
    print(set(pool.map(call, range(2000))))
"""
    assert said(session, source) == ["{'recorded'}"]
    alive = [each for each in threading.enumerate() if each.name.endswith("-tool")]
    assert len(CALLED) == 2000 and len(alive) <= 33
    assert len(session.undo().stands) <= 102  # bounded, and the ledger has all


def test_a_process_that_an_earlier_step_left_calls_on_behalf_of_the_step_that_runs(session: Session) -> None:
    source = """
import subprocess, sys, time
left = subprocess.Popen([sys.executable, "-uc", "import tools; input(); print(tools.record('left'))"],
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
"""
    first = session.run(source)
    second = session.run("left.stdin.write('\\n'); left.stdin.flush(); print(left.stdout.readline(), end='')")
    assert second.outcome.output.stdout == "recorded\n" and CALLED == ["left"]
    assert [each.what for each in first.effects] == [] and [each.what for each in second.effects] == [
        "record(value='left')"
    ]
    back = session.undo()
    assert any(line.startswith("record(value='left') was called") for line in back.stands)
    session.undo()  # now the process itself is one that the state does not know: it is ended
    assert said(session, "print('left' in globals())") == ["False"]


def test_a_tool_that_calls_a_verb_of_its_own_session_is_told_so(any_isolation: str) -> None:
    opened: list[Session] = []

    def recurse() -> None:
        opened[0].run("1")

    with mulligan.open(isolation=any_isolation, tools=[recurse]) as own:
        opened.append(own)
        outcome = own.run("from tools import recurse; recurse()").outcome
    assert outcome.error is not None and outcome.error.name == "SessionBusy"


def test_a_tool_that_hangs_holds_up_neither_the_session_nor_undo(session: Session) -> None:
    step = session.run(
        "import threading; from tools import held; threading.Thread(target=held, daemon=True).start()"
    )
    assert step.outcome.kind == "completed"
    back = session.undo()
    assert any(line.startswith("held() was called and had not ended") for line in back.stands)


def test_an_interrupt_ends_a_call_for_whoever_made_it(session: Session) -> None:
    begun = threading.Event()

    def interrupt() -> None:
        begun.wait(60)
        session.interrupt()

    thread = threading.Thread(target=interrupt)
    thread.start()

    def heard(event: object) -> None:
        begun.set()

    outcome = session.run("print('now', flush=True); from tools import held; held()", on_event=heard).outcome
    thread.join()
    assert outcome.error is not None and outcome.error.name == "KeyboardInterrupt"
