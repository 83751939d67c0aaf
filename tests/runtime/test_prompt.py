"""The question in a terminal, as a person meets it: a real process on a real terminal, a real server."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import select
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.egress.servers import Server, serving

from mulligan.policies.loading import load_policy
from mulligan.runtime.prompt import KEPT, Curtain
from mulligan.runtime.prompt import Terminal as Prompt
from mulligan.runtime.question import Answer, Question

#: to a server of this machine's: a program would ask its own loopback for it
SEND = """
import socket
def send(path):
    with socket.create_connection(("127.0.0.1", 3128)) as sock:
        sock.sendall(f"POST http://127.0.0.1:PORT{path} HTTP/1.1\\r\\nHost: 127.0.0.1:PORT\\r\\n"
                     "Content-Length: 2\\r\\nConnection: close\\r\\n\\r\\nhi".encode())
        return sock.recv(1000).split()[1].decode()
"""


class Terminal:
    """`mulligan run` on a terminal of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._pid, self._end = pty.fork()
        if self._pid == 0:  # pragma: no cover
            os.chdir(folder)
            command = [sys.executable, "-m", "mulligan.runtime.cli", "run", *arguments]
            os.execv(sys.executable, [*command, "--isolation", "bubblewrap", "--state", "state"])
        self.seen = ""

    def until(self, text: str) -> str:
        """What came since the last call, up to this."""
        begun = len(self.seen)
        while text not in self.seen[begun:]:
            assert select.select([self._end], [], [], 60)[0], self.seen
            try:
                piece = os.read(self._end, 65536)
            except OSError:
                piece = b""
            assert piece, self.seen
            self.seen += piece.decode()
        return self.seen[begun:]

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    def ended(self) -> int:
        try:
            while piece := os.read(self._end, 65536):
                self.seen += piece.decode()
        except OSError:
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as found:
        yield found


def test_a_person_is_asked_in_the_terminal_and_what_they_say_is_done(tmp_path: Path, server: Server) -> None:
    rule = f"POST http://127.0.0.1:{server.port}/**"
    (tmp_path / "rules.yaml").write_text(
        f"network:\n  - ask: {rule}\n    because: it is mine\nfiles: {{read_only: [a]}}\non_violation: ask\n"
    )
    cells = [
        SEND.replace("PORT", str(server.port)) + "print('so far', send('/one'))",
        "print(send('/two'))",
        "open('b', 'w')",
        "open('a', 'w').write('x')",
    ]
    (tmp_path / "code.py").write_text("# %%\n" + "\n# %%\n".join(cells))
    terminal = Terminal(tmp_path, "code.py", "--policy", "rules.yaml", "--workspace", "data")
    (tmp_path / "data").mkdir()
    asked = terminal.until("or it is no: ")
    for line in (f"POST http://127.0.0.1:{server.port}/one", "it is mine", "with a body of 2 bytes:", "| hi"):
        assert line in asked
    assert "rules.yaml:2" in asked and server.seen == []
    terminal.type("what\n")
    terminal.until("or it is no: ")
    terminal.type("a\n")
    shown = terminal.until("write it? [y/N] ")
    assert f"- {rule}" in shown and "approvals" not in (tmp_path / "rules.yaml").read_text()
    terminal.type("\n")
    terminal.until("or it is no: ")
    assert "approvals" not in (tmp_path / "rules.yaml").read_text()
    terminal.type("a\n")
    terminal.until("write it? [y/N] ")
    terminal.type("y\n")
    terminal.until("so far 200")
    assert load_policy(tmp_path / "rules.yaml").approvals.always == (rule,)
    asked = terminal.until("or it is no: ")  # the second request is not asked about
    assert "changed" in asked or "added workspace" in asked or "added 'a'" in asked
    assert "files.read_only" in asked and server.seen == ["POST /one", "POST /two"]
    terminal.type("n\n")
    terminal.until("why, for the agent")
    terminal.type("keep a\n")
    assert terminal.ended() == 1
    assert "a person said no: keep a" in terminal.seen


def test_what_an_action_prints_waits_behind_the_question() -> None:
    shown = io.StringIO()
    curtain = Curtain(shown)
    curtain.write("before\n")
    with curtain.drawn():
        curtain.write("while\n")
        for _ in range(3):
            curtain.write("x" * (KEPT // 2))
        assert shown.getvalue() == "before\n"
    said = shown.getvalue()
    assert said.startswith("before\nwhile\nxxx") and len(said) < KEPT + 200
    assert f"[{KEPT:,} characters were left out here while you were asked]" in said


def test_the_curtain_stays_drawn_while_another_question_stands_there() -> None:
    shown = io.StringIO()
    curtain = Curtain(shown)
    with curtain.drawn():
        with curtain.drawn():
            curtain.write("while\n")
        assert shown.getvalue() == ""
    assert shown.getvalue() == "while\n"


def _of(what: str) -> Question:
    return Question(session="s", step=1, about="request", what=what, rule="ask", reason="it is mine")


async def _typed_for_the_first(ours: int, theirs: int) -> Answer:
    shown = io.StringIO()
    curtain = Curtain(shown)
    prompt = Prompt(theirs, curtain)
    seen = b""

    async def until(text: bytes) -> None:
        nonlocal seen
        while text not in seen:
            await asyncio.to_thread(select.select, [ours], [], [], 60)
            seen += os.read(ours, 65536)

    first = asyncio.create_task(prompt.approve(_of("first")))
    await until(b"or it is no: ")
    second = asyncio.create_task(prompt.approve(_of("second")))
    await asyncio.sleep(0)
    assert b"second" not in seen
    first.cancel()  # withdrawn while it is read
    await until(b"because:")
    seen = seen.partition(b"withdrawn")[2]
    await until(b"mine")
    os.write(ours, b"o\n")  # an answer to the first
    curtain.write("of the action")
    await until(b"or it is no: ")
    assert shown.getvalue() == "" and not second.done()
    os.write(ours, b"n\n\n")
    return await second


def test_what_was_typed_for_a_question_answers_no_other() -> None:
    ours, theirs = pty.openpty()
    try:
        assert asyncio.run(_typed_for_the_first(ours, theirs)).says == "no"
    finally:
        os.close(ours)
        os.close(theirs)
