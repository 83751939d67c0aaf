"""`mulligan library` as its user meets it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mulligan.runtime.cli import main
from mulligan.runtime.library.shelf import Shelf

SOURCE = '''
import re
_GAP = re.compile(r"\\W+")

def slugify(text: str) -> str:
    """Make a slug of a title."""
    return _GAP.sub("-", text.strip()).lower()

slugify("A b")

def count_rows(n):
    return len(rows) + n * 2
'''
Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """A command on a shelf of the test's own: its exit code and what it printed."""

    def run(command: str, *arguments: object) -> tuple[int, str]:
        where = ["--library", str(tmp_path / "shelf"), "--state", str(tmp_path / "state")]
        code = main(["library", command, *where, *map(str, arguments)])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    (tmp_path / "made.py").write_text(SOURCE)
    return run


def test_a_file_is_proposed_tried_trusted_exported_and_comes_back_as_a_candidate(
    run: Run, tmp_path: Path, any_isolation: str
) -> None:
    code, said = run("add", tmp_path / "made.py")
    assert code == 0
    assert said.splitlines() == [
        "candidate  slugify 1  def slugify(text: str) -> str",
        "not kept   count_rows: needs 'rows', which no step on the path defines",
    ]
    assert run("list")[1] == "candidate   slugify 1  Make a slug of a title.\n"
    code, said = run("test", "--isolation", any_isolation, "--trust")
    assert code == 0 and said.startswith("passed   slugify: 1 example, twice")
    assert run("list", "--only", "trusted")[1] == "trusted     slugify 1  Make a slug of a title.\n"
    assert run("search", "slug of a title")[1] == "def slugify(text: str) -> str  # Make a slug of a title.\n"
    assert run("search", "quantum fish") == (1, "")
    assert json.loads(run("stats", "--json")[1])["trusted"] == 1

    assert run("export", "--to", tmp_path / "skills")[0] == 0
    skill = (tmp_path / "skills" / "slugify" / "SKILL.md").read_text()
    assert skill.startswith('---\nname: slugify\ndescription: "Make a slug of a title."\n---\n')
    assert "slugify('A b')  # 'a-b'" in skill
    assert run("retire", "slugify")[0] == 0 and run("list")[1] == ""
    assert run("import", tmp_path / "skills" / "slugify")[0] == 0
    shown = json.loads(run("show", "slugify", "--json")[1])
    assert (shown["state"], shown["version"], shown["provenance"]["session"]) == ("candidate", 2, "imported")
    assert shown["examples"] == [{"call": "slugify('A b')", "gives": "'a-b'"}]


def test_a_person_is_asked_and_silence_trusts_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("add", tmp_path / "made.py")
    for answer, state in (("", "candidate"), ("no\n", "candidate"), ("y\n", "trusted")):
        (tmp_path / "answer").write_text(answer)
        with (tmp_path / "answer").open() as answers:
            monkeypatch.setattr("sys.stdin", answers)
            said = run("review")[1]
        assert "def slugify(text: str) -> str:" in said and "it was never tried" in said
        assert json.loads(run("list", "--json")[1])["state"] == state
    assert run("quarantine", "slugify", "--why", "it lies")[0] == 0
    assert "quarantined slugify 1" in run("list")[1] and "it lies" in run("list")[1]


def test_an_edited_routine_is_a_next_version_and_the_two_can_be_compared(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("add", tmp_path / "made.py")
    run("review", "--yes")
    monkeypatch.setenv("VISUAL", "sed -i s/lower/upper/")
    assert run("edit", "slugify") == (0, "candidate  slugify 2  def slugify(text: str) -> str\n")
    said = run("diff", "slugify")[1]
    assert '-    return _GAP.sub("-", text.strip()).lower()' in said
    assert '+    return _GAP.sub("-", text.strip()).upper()' in said
    monkeypatch.setenv("VISUAL", "true")
    assert run("edit", "slugify") == (1, "nothing was changed\n")


def test_nothing_of_a_routine_acts_on_the_terminal(run: Run, tmp_path: Path) -> None:
    escape = "\\x1b[2Jcleared\\u202e"
    source = f'def clears_it(text):\n    """Says {escape}."""\n    return text.strip().lower() + text * 2\n'
    (tmp_path / "made.py").write_text(source.encode().decode("unicode_escape"))
    run("add", tmp_path / "made.py")
    said = "".join(
        run(*each)[1]
        for each in (("list",), ("show", "clears_it"), ("search", "cleared"), ("review", "--yes"))
    )
    assert said.count("cleared") >= 4
    assert "\x1b" not in said and "\u202e" not in said


def test_bad_input_is_said_with_what_to_do_and_the_rest_works(run: Run, tmp_path: Path) -> None:
    run("add", tmp_path / "made.py")
    (tmp_path / "shelf" / "candidates" / "broken_one.py").write_text("no header\n")
    code, said = run("list")
    assert code == 0 and "candidate   slugify" in said
    assert "broken      candidates/broken_one.py: its first line is not '# /// routine'" in said
    for command, hint in (
        (("show", "no_such"), "list` shows all"),
        (("show", "../../etc/passwd"), "list` shows all"),
        (("show", "slugify", "--version", 9), "there is no version 9"),
        (("add", tmp_path / "nowhere.py"), "name a Python file that you can read"),
        (("add", tmp_path), "Is a directory"),
        (("import", tmp_path), "has no SKILL.md"),
    ):
        code, said = run(*command)
        assert code in (1, 2) and hint in said, (command, said)


def test_a_routine_that_is_there_already_is_not_proposed_again(run: Run, tmp_path: Path) -> None:
    run("add", tmp_path / "made.py")
    (tmp_path / "made.py").write_text(SOURCE.replace("slugify", "slug_of"))
    code, said = run("add", tmp_path / "made.py")
    assert code == 1 and "not kept   slug_of: is there already, as 'slugify'" in said
    with Shelf.open(tmp_path / "shelf", tmp_path / "state") as shelf:
        assert [row.name for row in shelf.rows()] == ["slugify"]
