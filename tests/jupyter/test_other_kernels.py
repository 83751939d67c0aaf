"""A kernel that is not ours, bash's: what it does to files is taken back, and that its memory is not is said."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import mulligan
from mulligan import Session
from mulligan.runtime.cli import main
from mulligan.runtime.jupyter.knowledge import kernel_info
from mulligan.sandbox.errors import ImageUnusable
from mulligan.sandbox.kernel import NO_TWIN

from .images import image_with

if TYPE_CHECKING:
    from tests.jupyter.conftest import Notebook

PACKAGES = ("bash_kernel", "filetype", "pexpect", "ptyprocess")
INSTALL = "RUN python3 -m bash_kernel.install --sys-prefix"


@pytest.fixture(scope="module")
def image(isolation: str) -> Iterator[str | None]:
    """Has bash's kernel; for bubblewrap this environment is made to have it."""
    if isolation == "docker":
        with image_with(f"mulligan-test:bash-{os.getpid()}", *PACKAGES, lines=INSTALL) as name:
            yield name
        return
    subprocess.run([sys.executable, "-m", "bash_kernel.install", "--sys-prefix"], check=True)
    yield None


@pytest.fixture(scope="module")
def opened_bash(
    isolation: str, image: str | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("work")
    (folder / "a.txt").write_text("one\n")
    state = tmp_path_factory.mktemp("state")
    with mulligan.open(folder, isolation=isolation, state=state, kernel="bash", image=image) as session:
        yield session


@pytest.fixture
def bash(opened_bash: Session) -> Session:
    opened_bash.reset()
    return opened_bash


@pytest.fixture(scope="module")
def options(image: str | None) -> list[str]:
    return ["--kernel", "bash", *(["--image", image] if image else [])]


def test_files_are_taken_back_and_memory_is_not_and_both_are_said(bash: Session) -> None:
    first = bash.run("x=1; cat a.txt")
    assert first.outcome.kind == "completed" and first.outcome.stdout == "one\n"
    assert (first.reach.files, first.reach.memory, first.reach.exact) == ("exact", "none", False)
    assert NO_TWIN in first.reach.stands
    second = bash.run("rm a.txt; echo two > b.txt; mkdir ~/made; sleep 1000 &")
    assert sorted(change.path for change in second.changes if change.in_workspace) == ["a.txt", "b.txt"]
    assert any("sleep 1000" in line for line in second.reach.stands)
    assert not any(
        "bash_kernel" in line for line in second.reach.stands
    )  # the kernel is no child of an action
    back = bash.undo()
    assert back.memory == "fresh" and NO_TWIN in back.stands
    assert bash.run('ls . ~; echo "x is <$x>"; jobs').outcome.stdout == ".:\na.txt\n\n/home/user:\nx is <>\n"
    forward = bash.goto(second.id)
    assert forward.memory == "fresh" and any("sleep 1000" in line for line in forward.stands)
    assert bash.run("cat b.txt; cat /proc/[0-9]*/comm | grep -x sleep").outcome.stdout == "two\n"


def test_a_kernel_that_dies_or_hangs_is_started_anew_on_the_files_of_before(bash: Session) -> None:
    bash.run("x=1; echo kept > kept.txt")
    lost = bash.run("rm kept.txt; kill -9 $PPID; sleep 1000").outcome
    assert lost.kind == "lost" and "SIGKILL" in lost.text
    assert "variables are as they were" not in lost.text and "without its variables" in lost.text
    assert bash.run('cat kept.txt; echo "<$x>"').outcome.stdout == "kept\n<>\n"
    late = bash.run("rm kept.txt; echo begun; sleep 1000", timeout=1).outcome
    assert late.kind == "timed_out"
    assert bash.run("echo alive").outcome.stdout == "alive\n"


@pytest.fixture(scope="module")
def opened_plain(isolation: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    state = tmp_path_factory.mktemp("state")
    with mulligan.open(isolation=isolation, state=state, kernel="python3") as session:
        yield session


@pytest.fixture
def plain(opened_plain: Session) -> Session:
    """IPython's own kernel, as any other."""
    opened_plain.reset()
    return opened_plain


#: lines on the kernel's own socket, faster than they leave it
FLOOD = """
import threading, zmq
kernel = get_ipython().kernel
session, out = kernel.session, kernel.iopub_thread
def line(n):
    said = {"name": "stdout", "text": f"line {n}\\n"}
    return session.serialize(session.msg("stream", said, parent=kernel.get_parent()))
lines = [line(n) for n in range(3000)]
sent = threading.Event()
def flood():
    out.socket.setsockopt(zmq.SNDHWM, 10)
    for line in lines:
        out.socket.send_multipart(line)
    out.socket.setsockopt(zmq.SNDHWM, 1000)
    sent.set()
out.schedule(flood)
sent.wait()
"""


def test_what_the_kernel_itself_drops_is_counted_and_said(plain: Session) -> None:
    """Its socket holds so many messages, 1,000 where nobody says otherwise, and drops what comes then."""
    outcome = plain.run(FLOOD, timeout=60).outcome
    assert outcome.kind == "completed", outcome
    lines = [line for line in outcome.stdout.splitlines() if line.startswith("line ")]
    assert len(lines) < 3000, "nothing was dropped, so nothing is shown"
    said = re.search(r"([0-9,]+) messages of the kernel did not come", outcome.stderr)
    assert said is not None, outcome.text
    assert (
        0 <= int(said[1].replace(",", "")) - (3000 - len(lines)) <= 2
    )  # its status is dropped like all else
    plain.restart()  # libzmq does not get over the other bound
    after = plain.run("for n in range(50): print(n, flush=True)").outcome
    assert (after.stdout.split(), after.stderr) == ([str(n) for n in range(50)], "")


def test_a_kernel_that_never_says_that_it_is_through_holds_nobody_up(plain: Session) -> None:
    silence = "get_ipython().kernel._publish_status = lambda *words, **more: None; print('done')"
    outcome = plain.run(silence, timeout=100).outcome
    assert (outcome.kind, outcome.stdout) == ("completed", "done\n"), outcome
    assert "did not come" in outcome.stderr


def test_a_kernel_that_numbers_its_messages_as_it_likes_is_no_trouble(plain: Session) -> None:
    outcome = plain.run("""
session = get_ipython().kernel.session
real, odd = type(session).msg_id, iter(["", "_", "x_-1", "x_" + "9" * 5000, "_1_2_3", *(f"s{n}_7" for n in range(100))])
type(session).msg_id = property(lambda self: next(odd, None) or real.fget(self))
for n in range(110): display(n)
type(session).msg_id = real
""")
    assert outcome.outcome.kind == "completed" and len(outcome.outcome.displays) > 90
    after = plain.run("print(1)").outcome
    assert (after.stdout, after.stderr) == ("1\n", "")


def test_a_restart_is_a_step_and_a_name_that_is_unknown_is_said_with_those_that_are_there(
    isolation: str, image: str | None, bash: Session, tmp_path: Path
) -> None:
    bash.run("x=1; echo made > made.txt")
    bash.restart()
    assert bash.run('cat made.txt; echo "<$x>"').outcome.stdout == "made\n<>\n"
    with pytest.raises(ImageUnusable, match=r"no kernel 'cobol'.*bash"):
        mulligan.open(isolation=isolation, state=tmp_path / "state", kernel="cobol", image=image)


def test_a_kernelspec_that_an_action_left_is_not_the_one_that_is_started(bash: Session) -> None:
    bash.run("mkdir -p ~/.local/share/jupyter/kernels/bash ~/.ipython/kernels/bash")
    spec = """'{"argv": ["sh", "-c", "touch /workspace/mine"], "display_name": "x", "language": "x"}'"""
    bash.run(
        f"for d in ~/.local/share/jupyter ~/.ipython; do echo {spec} > $d/kernels/bash/kernel.json; done"
    )
    bash.restart()
    assert bash.run("ls").outcome.stdout == "a.txt\n"


def test_a_notebook_in_another_language_undoes_its_files(notebook: Notebook) -> None:
    info = notebook.client.kernel_info(reply=True, timeout=60)["content"]
    assert info["language_info"]["name"] == "bash" and info["supported_features"] == []
    assert notebook.run("cat a.txt").stdout.strip() == "one"
    assert notebook.run("echo two > a.txt").status == "ok"
    undone = notebook.run("%undo")
    assert "a.txt" in undone.text and "a fresh kernel" in undone.text and "not brought back" in undone.text
    assert notebook.run("cat a.txt").stdout.strip() == "one"
    assert "bash" in notebook.client.complete("bas", reply=True, timeout=60)["content"]["matches"]


def test_a_pool_keeps_such_kernels_ready(any_isolation: str, tmp_path: Path) -> None:
    with mulligan.Pool(1, isolation=any_isolation, state=tmp_path, kernel="python3", warm="x = 1") as pool:
        assert pool.fill(90) == 1
        with pool.open() as session:
            assert session.run("print(x); x = 2; open('made', 'w').close()").outcome.stdout == "1\n"
            assert session.undo().memory == "fresh"
            assert session.run("import os; print(x, os.listdir())").outcome.stdout == "1 []\n"


def test_files_and_notebooks_of_any_language_are_run_on_the_command_line(
    any_isolation: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "work").mkdir()
    script, notebook = tmp_path / "make.script", tmp_path / "show.ipynb"
    script.write_text("#!/usr/bin/env any\n# %%\nx = 'made'\n# %%\nopen('b.txt', 'w').write(x)\n")
    cell = {"cell_type": "code", "source": "print(open('b.txt').read())"}
    notebook.write_text(json.dumps({"cells": [cell], "metadata": {"kernelspec": {"language": "any"}}}))
    words = ["--workspace", str(tmp_path / "work"), "--state", str(tmp_path / "state")]
    words += ["--isolation", any_isolation]
    assert main(["run", str(script), str(notebook), "--commit", *words, "--kernel", "python3"]) == 0
    said = capsys.readouterr().out
    assert "3/3" in said and "made" in said, said
    assert (tmp_path / "work" / "b.txt").read_text() == "made"
    for file in (script, notebook):
        assert main(["run", str(file), *words]) == 2, "without a kernel it is no file of ours"


def test_of_what_such_a_kernel_says_of_itself_only_words_are_taken_over() -> None:
    odd: dict[str, Any] = {"name": "x" * 1000, "version": ["1"], "file_extension": "\x1b[31m", "mimetype": 7}
    told = {"language_info": odd, "implementation": {"a": 1}, "banner": "<script>"}
    report: Any = type("Report", (), {"engine": "docker"})
    said = kernel_info(told, report, "bash")
    assert len(said["language_info"]["name"]) == 100 and said["language_info"]["version"] == ""
    assert "\x1b" not in said["language_info"]["file_extension"] and said["implementation"] == ""
    assert "script" not in said["banner"]
