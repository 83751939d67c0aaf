"""Commands, in a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.repl.terminal import Terminal


def test_undo_redo_and_goto_move_files_and_variables(repl: Terminal) -> None:
    repl.run("x = 1; _ = open('a.txt', 'w').write('two')")
    repl.run("x = 2")
    step = _cursor(repl)
    assert "memory woken  ~1  a.txt" in repl.run(":undo 2")
    assert "'one" in repl.run("open('a.txt').read()")
    repl.run(f":goto {step}")
    assert "2\n✓" in repl.run("x")
    repl.run(":undo 2")
    repl.run(":redo")
    assert "2\n✓" in repl.run("x")


def test_the_timeline_is_a_tree_with_a_cursor(repl: Terminal) -> None:
    repl.run("trunk = 1")
    repl.run(":undo")
    repl.run("branch = 2")
    said = repl.run(":timeline")
    assert "├─" in said
    assert any(line.startswith("→") and "branch = 2" in line for line in said.split("\n"))


def test_diff_and_files_tell_what_the_folder_lacks(repl: Terminal) -> None:
    repl.run("_ = open('a.txt', 'a').write('two\\n')")
    assert "+two" in repl.run(":diff")
    assert "~ a.txt" in repl.run(":files")


def test_vars_lists_names_types_and_sizes_and_is_no_step(repl: Terminal) -> None:
    repl.run("import numpy; grid = numpy.zeros((3, 4)); words = ['a', 'b']")
    before = _cursor(repl)
    said = repl.run(":vars")
    assert any(line.split()[:5] == ["grid", "numpy.ndarray", "3", "x", "4"] for line in said.split("\n"))
    assert any(line.split()[:3] == ["words", "list", "2"] for line in said.split("\n"))
    assert _cursor(repl) == before


def test_vars_comes_back_from_an_object_that_hangs(repl: Terminal) -> None:
    repl.paste("class Tar:\n    def __sizeof__(self):\n        while True: pass\n\npit = Tar(); kept = 5\n")
    repl.run("")
    assert "did not tell in time" in repl.run(":vars")
    assert "5\n✓" in repl.run("kept")


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (":undi", "did you mean :undo"),
        (":frobnicate", "there is no :frobnicate"),
        (":", "there is no :"),
        (":undo none", "'none' is not a number of steps"),
        (":undo 99999", "cannot undo 99999"),
        (":goto", "write :goto STEP"),
        (":goto 99999", "no step 99999"),
        (":goto ²", "is not the number of a step"),
        (":redo 99999", "cannot redo"),
        (":diff 1 2 3", "write :diff [A [B]]"),
        (":save", "ends in .py or .ipynb"),
        (":uncommit", "  :commit writes the workspace's changes first"),
        (":library", "mulligan repl --library"),
        (":policy", "the default policy"),
        (":policy delete a.txt", "delete a.txt: allow"),
        (":effects", "none: no action asked"),
        (":ask", "there is no task"),
        (":ask sum it up", "no model was named"),
        (":help undo", "takes the last step back"),
        (":help", ":timeline [all]"),
    ],
)
def test_a_command_says_what_it_can_and_what_to_do_instead(repl: Terminal, typed: str, says: str) -> None:
    assert says in repl.run(typed)


def test_save_keeps_what_led_to_here_and_overwrites_nothing(repl: Terminal, folder: Path) -> None:
    repl.run("undone = 0")
    repl.run(":undo")
    repl.run("kept = 1")
    repl.run("print(kept)")
    repl.run(":save kept.ipynb")
    book = json.loads((folder / "kept.ipynb").read_text())
    assert [cell["source"] for cell in book["cells"]] == [["kept = 1"], ["print(kept)"]]
    assert book["cells"][1]["outputs"][0]["text"] == ["1\n"]
    assert "is there already" in repl.run(":save kept.ipynb")
    (folder / "kept.ipynb").unlink()


def test_commit_writes_to_the_folder_and_uncommit_takes_it_back(repl: Terminal, folder: Path) -> None:
    repl.run("_ = open('c.txt', 'w').write('new')")
    assert not (folder / "c.txt").exists()
    assert "added c.txt" in repl.run(":commit")
    assert (folder / "c.txt").read_text() == "new"
    repl.run(":uncommit")
    assert not (folder / "c.txt").exists()


def test_why_tells_the_last_verdict(repl: Terminal) -> None:
    repl.run("import os")
    said = repl.run(":why")
    assert "no rule held anything of it back" in said


def _cursor(repl: Terminal) -> int:
    line = next(line for line in repl.run(":timeline").split("\n") if line.startswith("→"))
    return int(line.split()[1])
