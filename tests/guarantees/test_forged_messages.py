"""The worker can say anything on its own channel, and try to speak on others. None of it passes for the host's or
the supervisor's word, breaks what reads it, or makes undo say what is not so."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest
from tests.guarantees.conftest import PRELUDE

if TYPE_CHECKING:
    from tests.guarantees.conftest import Attacker

FORGE = """
import json, uuid
worker = get_ipython().kernel.iopub_socket._worker
def packet(kind, *parts):
    body = struct.pack(f"<{1 + len(parts)}I", len(parts), *map(len, parts)) + b"".join(parts)
    return bytes((kind, 3)) + body
def raw(data):
    worker.sock.send(data)
def message(kind, content, parent=None, topic=b"forged"):
    header = json.dumps({"msg_id": uuid.uuid4().hex, "session": "s", "username": "u", "date": "2020-01-01T00:00:00",
                         "msg_type": kind, "version": "5.4"}).encode()
    above = json.dumps(get_ipython().kernel.get_parent()["header"] if parent is None else parent, default=str)
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return [topic, b"<IDS|MSG>", b"", header, above.encode(), b"{}", body]
def publish(kind, content, **more):
    worker.send(2, message(kind, content, **more))
"""


#: the most memory that process 1 has ever had
SUPERVISOR = """
with open("/proc/1/status") as status:
    print(*(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM")))
"""


@pytest.mark.parametrize("kind", [*range(16), 255])
def test_rubbish_of_every_kind_on_the_channel_leaves_the_past_exact(attacker: Attacker, kind: int) -> None:
    marked = attacker.mark()
    attacker.run(f"""{FORGE}
for parts in ([], [b""], [b"t1"], [b"t1", b"[]"], [b"{{"], [b"\\xff" * 100] * 3, [b"stdout", b"[1]", b"x"],
              [b"<IDS|MSG>"], [b"<IDS|MSG>"] + [b""] * 5, [b"a"] + [b"<IDS|MSG>"] + [b"[" * 5000] * 5):
    raw(packet({kind}, *parts))
""")
    attacker.undo_to(marked)


@pytest.mark.parametrize(
    "data",
    ["b'x'", "b'\\x02\\x03'", "b'\\x02\\x03' + b'\\xff' * 60000", "b'\\x02\\x01' + b'\\xff' * 1000", "b''"],
)
def test_packets_that_are_no_messages_cost_at_most_the_step(attacker: Attacker, data: str) -> None:
    marked = attacker.mark()
    attacker.run(f"{FORGE}\nraw({data})")
    back = attacker.session.goto(marked)
    attacker.check_return(back)


def test_a_message_of_a_million_parts_leaves_the_session_whole(attacker: Attacker) -> None:
    marked = attacker.mark()
    attacker.run(f"{FORGE}\nworker.send(2, message('stream', {{}}) + [b''] * 1_000_000)")
    back = attacker.session.goto(marked)
    attacker.check_return(back)


ODD = {
    "deep": 'b"[" * 100_000',
    "deep_display": "b'{\"data\":{\"x\":' + b'[' * 100_000 + b']' * 100_000 + b'}}'",
    "no_json": 'b"\\xff\\xfe\\x00"',
    "huge_number": 'b\'{"execution_count":\' + b"9" * 100_000 + b"}"',
    "not_a_number": 'b\'{"execution_count": NaN, "data": {"text/plain": Infinity}}\'',
    "surrogates": 'b\'{"name":"stdout","text":"\\\\ud800","data":{"text/plain":"\\\\ud800","\\\\udfff":1},'
    '"ename":"\\\\ud800","evalue":"\\\\ud800","traceback":["\\\\ud800"]}\'',
    "wrong_types": 'b\'{"name":[],"text":{},"data":[1],"metadata":7,"transient":"x","execution_count":"y",'
    '"ename":1,"evalue":[],"traceback":"no list","wait":"maybe"}\'',
    "wrong_items": 'b\'{"data":{"text/plain":[[]],"image/png":7},"traceback":[1,null,{}],'
    '"transient":{"display_id":[]}}\'',
    "list": 'b"[]"',
    "null": 'b"null"',
    "text": "b'\"x\"'",
}


@pytest.mark.parametrize("odd", ODD)
def test_odd_content_in_any_message_never_breaks_the_reader(attacker: Attacker, odd: str) -> None:
    marked = attacker.mark()
    step = attacker.run(f"""{FORGE}
for kind in ("stream", "display_data", "update_display_data", "execute_result", "error", "clear_output", "status", 7):
    publish(kind, {ODD[odd]})
""")
    assert step.outcome.kind == "completed"
    step.outcome.text.encode()  # it can be written anywhere
    str(attacker.session.timeline).encode()
    attacker.undo_to(marked)


def test_nesting_that_one_parser_takes_and_the_next_does_not_is_no_crash(attacker: Attacker) -> None:
    marked = attacker.mark()
    step = attacker.run(f"""{FORGE}
for depth in range(700, 1100):
    publish("display_data", b'{{"data":{{"application/json":' + b"[" * depth + b"]" * depth + b'}}}}')
""")
    assert step.outcome.kind == "completed"
    attacker.undo_to(marked)


def test_messages_with_other_parents_are_not_taken_for_this_step(attacker: Attacker) -> None:
    marked = attacker.mark()
    step = attacker.run(f"""{FORGE}
for parent in ({{}}, {{"msg_id": "other"}}, {{"msg_id": 7}}, {{"msg_id": None}}):
    publish("stream", {{"name": "stdout", "text": "not mine"}}, parent=parent)
    publish("status", {{"execution_state": "idle"}}, parent=parent)
    worker.send(1, message("execute_reply", {{"status": "ok"}}, parent=parent))
print("mine")
""")
    assert (step.outcome.kind, step.outcome.stdout) == ("completed", "mine\n")
    attacker.undo_to(marked)


def test_an_early_reply_ends_the_step_and_its_memory_is_not_claimed(attacker: Attacker) -> None:
    """It goes on in secret: what it does after its reply belongs to the next moment, and the past is exact."""
    marked = attacker.mark()
    step = attacker.session.run(
        f"""import os, struct, time
{FORGE}
publish("status", {{"execution_state": "idle"}})
parent = get_ipython().kernel.get_parent()
ident = get_ipython().kernel._shell_parent_ident.get() if hasattr(get_ipython().kernel, "_shell_parent_ident") else []
frames = message("execute_reply", {{"status": "ok", "execution_count": 1}})[1:]
worker.send(1, [*(ident or get_ipython().kernel.get_parent().get("ident", [])), *frames])
while not os.path.exists("go"):
    time.sleep(0.01)
""",
        timeout=1,
    )
    assert step.outcome.kind in ("completed", "timed_out")
    attacker.undo_to(marked)


def test_descriptors_passed_to_the_supervisor_are_closed(attacker: Attacker) -> None:
    marked = attacker.mark()
    step = attacker.run(f"""{FORGE}
import array
null = os.open("/dev/null", os.O_RDONLY)
four = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null] * 4))]
for flags in (0, 1, 3):
    for _ in range(1500):
        worker.sock.sendmsg([bytes((11, flags)) + struct.pack("<I", 0)], four)
""")
    assert step.outcome.kind == "completed", step.outcome.text
    attacker.undo_to(marked)


def test_the_sockets_of_the_host_are_out_of_reach(attacker: Attacker) -> None:
    """Whoever could connect to them could replay what the supervisor signs, or hold up all output."""
    said = attacker.said("""
import glob
for name in ("shell", "iopub", "stdin", "control", "hb", "door.sock"):
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as sock:
            print(name, *attempt(sock.connect, f"/run/mulligan/{name}"))
""")
    assert all(line.split()[1] == "refused" for line in said.splitlines()), said


def test_the_worker_holds_no_listening_socket(attacker: Attacker) -> None:
    said = attacker.said("""
for name in os.listdir("/proc/self/fd"):
    try:
        with socket.socket(fileno=os.dup(int(name))) as sock:
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                print("listening", name)
    except OSError:
        pass
print("looked")
""")
    assert said == "looked"


def test_shutting_every_socket_in_sight_costs_at_most_the_step(attacker: Attacker) -> None:
    marked = attacker.mark()
    attacker.run("""
for name in os.listdir("/proc/self/fd"):
    try:
        socket.socket(fileno=os.dup(int(name))).shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
""")
    back = attacker.session.goto(marked)
    attacker.check_return(back)


def test_closing_every_descriptor_costs_at_most_the_step(attacker: Attacker) -> None:
    marked = attacker.mark()
    attacker.run("os.closerange(0, 100)")
    back = attacker.session.goto(marked)
    attacker.check_return(back)


def test_a_forked_child_that_writes_on_the_channel_changes_nothing_that_was(attacker: Attacker) -> None:
    marked = attacker.mark()
    attacker.run(f"""{FORGE}
child = os.fork()
if child == 0:
    for kind in range(12):
        raw(packet(kind, b"t1", b"{{}}"))
    os._exit(0)
os.waitpid(child, 0)
""")
    attacker.undo_to(marked)


def test_output_without_a_newline_from_a_process_that_goes_on_does_not_hold_up_steps(
    attacker: Attacker,
) -> None:
    marked = attacker.mark()
    attacker.run("""
if os.fork() == 0:
    while True:
        os.write(1, b"x" * 65536)
""")
    for count in range(3):
        step = attacker.session.run(f"print('step {count}')", timeout=10)
        assert step.outcome.kind == "completed"
        assert f"step {count}" in step.outcome.stdout
    assert attacker.session.undo(to=marked).memory == "woken"
    assert attacker.session.run("print('after')").outcome.stdout == "after\n", "output of what was undone"


def test_a_flood_of_messages_that_nobody_asked_for_does_not_fill_the_hosts_memory(attacker: Attacker) -> None:
    marked = attacker.mark()
    before = resident()
    attacker.run(f"""{FORGE}
flood = message("stream", {{"name": "stdout", "text": "x" * 1_000_000}}, parent={{"msg_id": "other"}})
for _ in range(600):
    worker.send(2, flood)
""")
    assert resident() - before < 300 << 20
    attacker.undo_to(marked)


@pytest.mark.parametrize("kind", [1, 3], ids=["replies", "questions"])
def test_a_flood_for_a_host_that_is_busy_waits_with_its_worker(attacker: Attacker, kind: int) -> None:
    """Neither the host nor the supervisor holds it; the action writes down how far it came."""
    marked = attacker.mark()
    before, most = resident(), 0

    def busy(event: object) -> None:
        nonlocal most
        progress, seen = attacker.session.workspace / "progress", -1
        while progress.stat().st_size != seen:
            seen = progress.stat().st_size
            time.sleep(0.5)
            most = max(most, resident())

    flood = f"""{PRELUDE}{FORGE}
progress = open("progress", "wb", buffering=0)
print("begun", flush=True)
parts = message("execute_reply", b'{{"status":"ok"}}' + b" " * 5_000_000, topic=b"host")
for _ in range(100):
    worker.send({kind}, parts)
    progress.write(b".")
"""
    step = attacker.session.run(flood, timeout=120, on_event=busy)
    assert (step.outcome.kind, step.outcome.stdout) == ("completed", "begun\n"), step.outcome
    assert (attacker.session.workspace / "progress").stat().st_size == 100, "all of it went out in the end"
    assert most - before < 200 << 20
    assert int(attacker.said(SUPERVISOR)) < 256 << 20
    attacker.undo_to(marked)


def test_what_is_said_to_nobody_does_not_count_as_under_way(attacker: Attacker) -> None:
    """Or all that is said later would wait for a host that has taken in everything."""
    marked = attacker.mark()
    said = attacker.said(f"""{FORGE}
for _ in range(40):
    worker.send(1, message("execute_reply", b" " * 5_000_000, topic=b"nobody"))
print("heard")
""")
    assert said == "heard"
    attacker.undo_to(marked)


def test_small_json_that_unfolds_to_gigabytes_is_not_unfolded(attacker: Attacker) -> None:
    marked = attacker.mark()
    attacker.run(f"""{FORGE}
publish("display_data", b'{{"data":{{"application/json":[' + b"[]," * 16_000_000 + b"0]}}}}")
""")
    assert peak() < (1 << 30)
    attacker.undo_to(marked)


def test_updates_of_a_display_are_counted_like_displays(attacker: Attacker) -> None:
    marked = attacker.mark()
    before = resident()
    attacker.run(f"""{FORGE}
for id in range(60):
    publish("display_data", {{"data": {{}}, "transient": {{"display_id": str(id)}}}})
for id in range(60):
    publish("update_display_data", {{"data": {{"x": "y" * 10_000_000}}, "transient": {{"display_id": str(id)}}}})
""")
    assert resident() - before < 400 << 20
    attacker.undo_to(marked)


def resident() -> int:
    return _status("VmRSS")


def peak() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    with open(f"/proc/{os.getpid()}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))
