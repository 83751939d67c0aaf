"""A kernel that is not ours, bash's: what it does to files is taken back, and that its memory is not is said."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import mulligan
from mulligan import Session
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


def test_of_what_such_a_kernel_says_of_itself_only_words_are_taken_over() -> None:
    odd: dict[str, Any] = {"name": "x" * 1000, "version": ["1"], "file_extension": "\x1b[31m", "mimetype": 7}
    told = {"language_info": odd, "implementation": {"a": 1}, "banner": "<script>"}
    report: Any = type("Report", (), {"engine": "docker"})
    said = kernel_info(told, report, "bash")
    assert len(said["language_info"]["name"]) == 100 and said["language_info"]["version"] == ""
    assert "\x1b" not in said["language_info"]["file_extension"] and said["implementation"] == ""
    assert "script" not in said["banner"]
