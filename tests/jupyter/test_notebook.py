"""A notebook's cells in a sandbox: each is a step, and lines such as %undo take steps back."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mulligan.runtime.cli import main

if TYPE_CHECKING:
    from tests.jupyter.conftest import Notebook, Place


def test_a_cell_is_taken_back_with_its_files_and_variables(notebook: Notebook) -> None:
    assert notebook.run("x = 1; print('hello')").stdout == "hello\n"
    notebook.run("x = 2; _ = open('a.txt', 'w').write('two')")
    undone = notebook.run("%undo")
    assert undone.status == "ok" and "a.txt" in undone.text and "a.txt" in undone.html
    assert notebook.value("x, open('a.txt').read()") == "(1, 'one')"


def test_undo_redo_goto_and_names_move_along_the_timeline(notebook: Notebook) -> None:
    for n in range(1, 4):
        notebook.run(f"mine = {n}")
    notebook.run("%checkpoint three")
    notebook.run("%undo 2")
    notebook.run("%redo")
    assert notebook.run("%timeline").text.count("mine = ") == 3
    assert notebook.value("mine") == "2"
    notebook.run("%goto three")
    assert notebook.value("mine") == "3"
    assert "no step" in notebook.run("%goto nowhere").reply["evalue"]
    assert notebook.run("%undo 99").status == "error"
    assert notebook.value("mine") == "3"


def test_a_kernel_that_dies_costs_its_cell_and_nothing_else(notebook: Notebook) -> None:
    notebook.run("x = 7")
    lost = notebook.run("import os; os.kill(os.getpid(), 9)")
    assert lost.status == "error" and "SIGKILL" in lost.contents("error")[0]["evalue"]
    assert notebook.value("x") == "7"


def test_nothing_changes_in_the_folder_before_commit_and_uncommit_takes_that_back(
    notebook: Notebook, kept_folder: Path
) -> None:
    notebook.run("_ = open('a.txt', 'w').write('two')")
    assert (kept_folder / "a.txt").read_text() == "one"
    assert "+two" in notebook.run("%diff").text
    assert "changed a.txt" in notebook.run("%commit").text
    assert (kept_folder / "a.txt").read_text() == "two"
    notebook.run("%uncommit")
    assert (kept_folder / "a.txt").read_text() == "one"


def test_a_restart_clears_the_variables_keeps_the_files_and_can_be_undone(notebook: Notebook) -> None:
    notebook.run("x = 7; _ = open('a.txt', 'w').write('two')")
    notebook.manager.restart_kernel()
    notebook.client.wait_for_ready(timeout=60)
    assert notebook.value("'x' in globals(), open('a.txt').read()") == "(False, 'two')"
    notebook.run("%undo 2")
    assert notebook.value("x") == "7"


def test_a_restart_ends_a_cell_that_does_not_obey(notebook: Notebook) -> None:
    notebook.run("x = 7")
    notebook.client.execute("""
while True:
    try:
        print("here", flush=True)
        while True: pass
    except BaseException:
        pass
""")
    while notebook.client.get_iopub_msg(timeout=60)["msg_type"] != "stream":
        pass
    notebook.manager.restart_kernel()
    notebook.client.wait_for_ready(timeout=60)
    assert notebook.value("'x' in globals()") == "False"


def test_an_interrupt_ends_the_cell_and_what_stood_in_line_is_not_run(notebook: Notebook) -> None:
    first = notebook.client.execute(
        "x = 1; print('here', flush=True)\nimport time\nwhile True: time.sleep(0.01)"
    )
    second = notebook.client.execute("x = 2")
    while notebook.client.get_iopub_msg(timeout=60)["msg_type"] != "stream":
        pass
    notebook.manager.interrupt_kernel()
    replies = [notebook.client.get_shell_msg(timeout=60) for _ in range(2)]
    said = {each["parent_header"]["msg_id"]: each["content"] for each in replies}
    assert said[first]["ename"] == "KeyboardInterrupt"
    assert said[second]["status"] == "aborted"
    assert notebook.value("x") == "1"


def test_help_completion_and_inspection_know_the_magics(notebook: Notebook) -> None:
    assert "%uncommit" in notebook.run("%mulligan").text
    assert "%undo [n]" in notebook.run("%undo?").text
    completed = notebook.client.complete("%und", reply=True, timeout=60)["content"]
    assert "%undo" in completed["matches"] and completed["cursor_start"] == 0
    assert notebook.client.inspect("%undo", 3, reply=True, timeout=60)["content"]["found"]


def test_a_magic_among_other_lines_is_refused_and_nothing_runs(notebook: Notebook) -> None:
    notebook.run("x = 1")
    assert "alone" in notebook.run("%undo\nx = 5").reply["evalue"]
    assert notebook.value("x") == "1"


def test_what_a_program_runs_unseen_goes_back_with_the_cell_before(notebook: Notebook) -> None:
    notebook.run("x = 1")
    notebook.run("x = 2")
    notebook.run("x = 3", silent=True)
    notebook.run("%undo")
    assert notebook.value("x") == "1"


def test_input_is_asked_for_and_answered(notebook: Notebook) -> None:
    def answer(message: dict[str, object]) -> None:
        notebook.client.input("typed")

    heard = notebook.run(
        "import getpass; print(input('name?'), getpass.getpass('secret?'))",
        stdin_hook=answer,
        allow_stdin=True,
    )
    assert heard.stdout == "typed typed\n"
    assert notebook.run("input()", allow_stdin=False).reply["ename"] == "StdinNotImplementedError"


def test_what_was_typed_is_typed_again_when_memory_is_rebuilt_but_for_a_password(notebook: Notebook) -> None:
    def type_it(message: dict[str, object]) -> None:
        notebook.client.input("Ada")

    notebook.run("x = input('name? ')", stdin_hook=type_it, allow_stdin=True)
    notebook.run("import getpass; y = getpass.getpass()", stdin_hook=type_it, allow_stdin=True)
    notebook.run("x = y = None")
    notebook.run(KILL_TWINS)
    told = notebook.run("%undo 2").text
    assert told.count("was given nothing for a password") == 1 and "otherwise" not in told, told
    assert notebook.value("(x, y)") == "('Ada', '')"


KILL_TWINS = """
import os, signal
for name in os.listdir("/proc"):
    if name.isdigit() and open(f"/proc/{name}/comm").read() == "mulligan-twin\\n":
        os.kill(int(name), signal.SIGKILL)
"""


def test_silent_expressions_and_payloads_are_as_in_any_kernel(notebook: Notebook) -> None:
    assert notebook.run("1 + 1", silent=True).kinds.count("execute_input") == 0
    asked = notebook.run("y = 4", user_expressions={"twice": "y * 2", "bad": "1/0"}).reply["user_expressions"]
    assert asked["twice"]["data"]["text/plain"] == "8" and asked["bad"]["status"] == "error"
    assert notebook.run("print?").reply["payload"][0]["source"] == "page"
    assert notebook.run("get_ipython().set_next_input('z')").reply["payload"][0]["text"] == "z"
    assert notebook.run("import asyncio; await asyncio.sleep(0); print('awaited')").stdout == "awaited\n"
    assert notebook.run("%%bash\necho from bash").stdout == "from bash\n"
    assert "shell" in notebook.run("!echo shell").stdout


def test_displays_are_updated_and_cleared(notebook: Notebook) -> None:
    heard = notebook.run(
        "from IPython.display import display, clear_output\n"
        "d = display('a', display_id='one'); d.update('b'); clear_output(wait=True)"
    )
    kinds = [kind for kind in heard.kinds if kind != "status"]
    assert kinds == ["execute_input", "display_data", "update_display_data", "clear_output"]


def test_a_comm_carries_data_and_buffers_both_ways(notebook: Notebook) -> None:
    opened = notebook.run("""
from comm import create_comm
comm = create_comm(target_name="t", data={"a": 1}, buffers=[b"abc"])
got = []
comm.on_msg(lambda m: (got.append((m["content"]["data"], [bytes(b) for b in m["buffers"]])), comm.send({"back": 1})))
""")
    (message,) = [each for each in opened.messages if each["msg_type"] == "comm_open"]
    assert message["content"]["data"] == {"a": 1} and bytes(message["buffers"][0]) == b"abc"
    client = notebook.client
    sent = client.session.msg("comm_msg", {"comm_id": message["content"]["comm_id"], "data": {"b": 2}})
    client.session.send(client.shell_channel.socket, sent, buffers=[b"xyz"])
    while (back := client.get_iopub_msg(timeout=60))["msg_type"] != "comm_msg":
        pass
    assert back["content"]["data"] == {"back": 1}
    assert back["parent_header"]["msg_id"] == sent["header"]["msg_id"]
    assert notebook.value("got") == "[({'b': 2}, [b'xyz'])]"


def test_output_of_a_thread_between_cells_comes_as_of_its_cell(notebook: Notebook) -> None:
    heard = notebook.run("""
import threading, time
go = threading.Event()
threading.Thread(target=lambda: (go.wait(), time.sleep(0.3), print("later", flush=True)), daemon=True).start()
""")
    assert heard.status == "ok"
    notebook.run("go.set()")
    while (message := notebook.client.get_iopub_msg(timeout=60))["msg_type"] != "stream":
        pass
    assert message["content"]["text"].startswith("later")


def test_a_shutdown_while_a_cell_runs_ends_all_and_no_folder_stays(
    start: Callable[..., Notebook], place: Place
) -> None:
    notebook = start("--empty")
    notebook.client.execute("print('here', flush=True)\nwhile True: pass")
    while notebook.client.get_iopub_msg(timeout=60)["msg_type"] != "stream":
        pass
    process = notebook.manager.provisioner.process  # type: ignore[union-attr]
    assert len(place.sessions()) == 1
    notebook.manager.shutdown_kernel()
    assert process.poll() is not None
    assert place.sessions() == []


def test_uncommitted_changes_outlive_the_kernel_and_committed_ones_leave_nothing(
    start: Callable[..., Notebook], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = start()
    notebook.run("_ = open('a.txt', 'w').write('two')")
    notebook.manager.shutdown_kernel()
    capsys.readouterr()
    assert main(["diff", "--state", str(tmp_path / "state")]) == 0
    assert "kept" in capsys.readouterr().out
    ended = start("--at-end", "commit")
    ended.run("_ = open('a.txt', 'w').write('three')")
    ended.manager.shutdown_kernel()
    assert (tmp_path / "work" / "a.txt").read_text() == "three"


def test_over_sockets_in_the_file_system_it_starts_and_runs(start: Callable[..., Notebook]) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as place:  # a socket's path is short
        notebook = start(transport="ipc", ip=f"{place}/k")
        notebook.run("x = 1")
        assert notebook.value("x") == "1"
        notebook.manager.shutdown_kernel()


def test_a_kernel_that_cannot_start_says_why(start: Callable[..., Notebook], tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("")
    with pytest.raises(RuntimeError, match="does not exist"):
        start("--workspace", str(tmp_path / "missing"))


def test_history_keeps_what_was_undone(notebook: Notebook) -> None:
    notebook.run("x = 1")
    notebook.run("x = 2")
    notebook.run("%undo")
    notebook.run("x = 3")
    typed = notebook.client.history(hist_access_type="tail", n=4, reply=True, timeout=60)["content"][
        "history"
    ]
    assert [line[2] for line in typed] == ["x = 1", "x = 2", "%undo", "x = 3"]
    numbered = notebook.client.history(
        hist_access_type="range", session=0, start=1, stop=3, reply=True, timeout=60
    )["content"]["history"]
    assert [line[1:] for line in numbered] == [[1, "x = 1"], [2, "x = 3"]]


def test_the_state_is_that_of_the_timeline_after_any_moves(notebook: Notebook) -> None:
    for n in range(5):
        notebook.run(f"n = {n}")
    for n in range(3, -1, -1):
        notebook.run("%undo")
        assert notebook.run("print(n)", silent=False, store_history=False).stdout == f"{n}\n"


def test_code_in_the_sandbox_can_undo_nothing(notebook: Notebook) -> None:
    notebook.run("x = 1")
    notebook.run("x = 2")
    tried = notebook.run("get_ipython().run_line_magic('undo', ''); get_ipython().run_cell('%undo')")
    assert tried.status == "error"
    assert notebook.value("x") == "2"
    assert "→" in notebook.run("%timeline").text.splitlines()[-1]


def test_a_message_with_another_requests_parent_gets_none_that_was_not_asked(notebook: Notebook) -> None:
    notebook.run("""
kernel = get_ipython().kernel
def forge(kind, content, parent):
    kernel.session.send(kernel.iopub_socket, kind, content, parent={"header": parent}, ident=b"forged")
mine = kernel.get_parent()["header"]
for parent in (mine, {**mine, "msg_id": "unknown", "session": "other"}):
    forge("status", {"execution_state": "idle"}, parent)
    forge("shutdown_reply", {"status": "ok"}, parent)
    forge("stream", {"name": "stdout", "text": "forged"}, parent)
print("end")
""")
    notebook.run("print('next')")
    heard = notebook.run("forge('stream', {'name': 'stdout', 'text': 'x'}, {**mine, 'username': 'root'})")
    assert heard.status == "ok" and "shutdown_reply" not in heard.kinds


def test_a_module_left_in_the_folder_is_not_imported_on_the_host(
    start: Callable[..., Notebook], place: Place
) -> None:
    folder = place.folder
    for name in ("zmq.py", "mulligan.py", "jupyter_client.py"):
        (folder / name).write_text("open('imported', 'w')")
    notebook = start("--empty")
    assert notebook.value("1 + 1") == "2"
    assert not (folder / "imported").exists()
