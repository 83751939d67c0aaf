"""A shelf: files that people can read and put in git, versions, and what becomes of broken and edited ones."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mulligan.runtime.library.contract import Contract, Example, Needs, Provenance
from mulligan.runtime.library.errors import RoutineBroken, RoutineUnknown, ShelfUnusable
from mulligan.runtime.library.routine import EDITED, Routine, make_routine
from mulligan.runtime.library.shelf import Shelf
from mulligan.runtime.library.whereabouts import index_of, user_key

TEXT = 'def slugify(text: str) -> str:\n    """Make a slug."""\n    return text.strip().lower()  # so\n'


def routine(name: str = "slugify", text: str = TEXT, **known: object) -> Routine:
    return make_routine(Contract(name=name, **known), text.replace("slugify", name))  # type: ignore[arg-type]


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    with Shelf.open(tmp_path / "shelf", tmp_path / "state", create=True) as shelf:
        yield shelf


def test_a_routine_is_one_plain_file_with_all_that_is_known_of_it(shelf: Shelf) -> None:
    known = Contract(
        name="slugify",
        needs=Needs(network=("GET a.example/**",), packages={"regex": "1.0"}),
        provenance=Provenance(session="ab12", step=3, model="m", prompt="f00"),
        examples=(Example(call="slugify('A')", gives="'a'"),),
        tags=("text",),
    )
    made = shelf.propose(make_routine(known, TEXT))
    file = shelf.folder / "candidates" / "slugify.py"
    assert file.read_text().endswith("# ///\n\n" + TEXT)
    assert shelf.get("slugify") == made
    assert made.contract.needs == known.needs and made.contract.examples == known.examples
    assert (made.signature, made.line) == ("def slugify(text: str) -> str", "Make a slug.")
    assert {each.name for each in shelf.folder.iterdir()} == {"candidates", ".lock"}


def test_the_next_version_leaves_the_trusted_one_in_force_until_it_is_trusted(shelf: Shelf) -> None:
    shelf.propose(routine())
    shelf.trust("slugify", "by a test", "")
    second = shelf.propose(routine(text=TEXT.replace("lower", "upper")))
    assert (second.version, second.contract.parent) == (2, 1)
    assert [(row.place, row.version, row.state) for row in shelf.rows()] == [
        ("", 1, "trusted"),
        ("candidates", 2, "candidate"),
    ]
    shelf.trust("slugify", "by a test", "")
    assert [(row.place, row.version) for row in shelf.rows()] == [("", 2)]
    assert shelf.versions("slugify") == [1, 2]
    assert shelf.get("slugify", "older/1").text == TEXT


def test_what_is_retracted_gives_way_to_the_one_before_and_comes_back(shelf: Shelf) -> None:
    shelf.propose(routine())
    shelf.trust("slugify", "by a test", "")
    shelf.propose(routine(text=TEXT.replace("lower", "upper")))
    shelf.trust("slugify", "by a test", "")
    assert shelf.retract("slugify", 2) == ""
    assert [(row.version, row.state) for row in shelf.rows()] == [(1, "trusted")]
    assert shelf.bring_back("slugify", 2, "")
    assert [(row.version, row.state) for row in shelf.rows()] == [(2, "trusted")]
    assert shelf.retract("slugify", 1) is None, "it is not in force"


def test_what_was_retracted_does_not_displace_what_came_after_it(shelf: Shelf) -> None:
    shelf.propose(routine())
    assert shelf.retract("slugify", 1) == "candidates"
    assert shelf.rows() == []
    shelf.propose(routine(text=TEXT.replace("lower", "upper")))
    assert not shelf.bring_back("slugify", 1, "candidates")
    assert [row.version for row in shelf.rows()] == [2]


def test_a_trusted_file_that_is_edited_by_hand_is_trusted_no_more(shelf: Shelf) -> None:
    shelf.propose(routine())
    shelf.trust("slugify", "by a test", "")
    file = shelf.folder / "slugify.py"
    for old, new in ((".lower()", ".upper()"), ("version: 1", "version: 7"), ("# so", "# thus")):
        before = file.read_text()
        file.write_text(before.replace(old, new))
        shelf.refresh()
        assert [(row.state, row.why) for row in shelf.rows()] == [("candidate", EDITED)]
        file.write_text(before)
    shelf.refresh()
    assert [row.state for row in shelf.rows()] == ["trusted"]


def test_what_another_user_trusted_is_trusted_by_nobody_else(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.propose(routine())
    shelf.trust("slugify", "by a test", "")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "another"))
    with Shelf.open(shelf.folder, tmp_path / "state") as other:
        assert [(row.state, row.why) for row in other.rows()] == [("candidate", EDITED)]
    key = tmp_path / "another" / "mulligan" / "library.key"
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_candidate_is_not_trusted_for_saying_so(shelf: Shelf) -> None:
    shelf.propose(routine())
    file = shelf.folder / "candidates" / "slugify.py"
    said = file.read_text().replace("# version: 1\n", '# version: 1\n# state: "trusted"\n')
    (shelf.folder / "slugify.py").write_text(said)
    shelf.refresh()
    assert {row.state for row in shelf.rows()} == {"candidate"}


BROKEN = {
    "no_header.py": TEXT,
    "no_end.py": '# /// routine\n# name: "no_end"\n',
    "no_json.py": "# /// routine\n# name: no_json\n# ///\n",
    "python.py": '# /// routine\n# name: __import__("os").system("id")\n# ///\n' + TEXT,
    "twice.py": '# /// routine\n# name: "twice"\n# name: "twice"\n# ///\n',
    "other.py": '# /// routine\n# name: "slugify"\n# ///\n' + TEXT,
    "unknown_key.py": '# /// routine\n# name: "unknown_key"\n# rights: "all"\n# ///\n',
    "wrong_type.py": '# /// routine\n# name: "wrong_type"\n# version: "1"\n# ///\n',
    "wrong_state.py": '# /// routine\n# name: "wrong_state"\n# state: "blessed"\n# ///\n',
    "not_defined.py": '# /// routine\n# name: "not_defined"\n# ///\nnot_defined = 3\n',
    "no_python.py": '# /// routine\n# name: "no_python"\n# ///\ndef no_python(:\n',
    "deep.py": '# /// routine\n# name: "deep"\n# tags: ' + "[" * 20_000 + "\n# ///\n",
    "large.py": "#" * 400_000,
    "binary.py": "\udcff\udcfe",
}


def test_files_that_are_no_routines_are_named_with_what_is_wrong_and_the_others_are_there(
    shelf: Shelf,
) -> None:
    shelf.propose(routine())
    for name, content in BROKEN.items():
        (shelf.folder / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    (shelf.folder / "linked.py").symlink_to("/etc/passwd")
    os.mkfifo(shelf.folder / "pipe.py")
    (shelf.folder / "folder.py").mkdir()
    shelf.refresh()
    assert shelf.broken.keys() == {*BROKEN, "linked.py", "pipe.py", "folder.py"}
    assert all(shelf.broken.values())
    assert [row.name for row in shelf.rows()] == ["slugify"]
    assert [name for name, _ in shelf.search("make a slug")] == ["slugify"]
    with pytest.raises(RoutineBroken, match="no JSON"):
        shelf.get("no_json")


@pytest.mark.parametrize(
    "name", ["../escape", "a/b", "/etc/passwd", "..", "", "os\0x", "sum", "import", "x" * 65, "_priv"]
)
def test_no_name_leads_out_of_the_shelf(shelf: Shelf, name: str) -> None:
    with pytest.raises(RoutineUnknown):
        shelf.get(name)
    with pytest.raises(RoutineBroken):
        routine(name) if name.isidentifier() else make_routine(Contract(name=name), TEXT)


def test_an_index_that_is_damaged_or_gone_is_made_anew(tmp_path: Path) -> None:
    folder, state = tmp_path / "shelf", tmp_path / "state"
    with Shelf.open(folder, state, create=True) as shelf:
        shelf.propose(routine())
    path = index_of(folder, state, user_key())
    for damage in (b"no database" * 1000, None):
        path.write_bytes(damage) if damage else path.unlink()
        with Shelf.open(folder, state) as shelf:
            assert [row.name for row in shelf.rows()] == ["slugify"]


def test_a_shelf_that_cannot_be_written_says_so_and_is_as_it_was(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.propose(routine())
    before = sorted(path.name for path in shelf.folder.rglob("*"))
    monkeypatch.setattr("os.fsync", _full)  # the disk, not our own code
    with pytest.raises(ShelfUnusable, match="No space left"):
        shelf.propose(routine("other_name"))
    assert sorted(path.name for path in shelf.folder.rglob("*")) == before
    with pytest.raises(ShelfUnusable, match="there is no folder"):
        Shelf.open(shelf.folder / "nowhere")


def _full(descriptor: int) -> None:
    raise OSError(28, "No space left on device")


WRITER = """
import sys
from pathlib import Path
from mulligan.runtime.library.contract import Contract
from mulligan.runtime.library.routine import make_routine
from mulligan.runtime.library.shelf import Shelf
folder, state, who = sys.argv[1:]
with Shelf.open(Path(folder), Path(state)) as shelf:
    for number in range(10):
        for name in (f"made_{who}_{number}", "shared_name"):
            text = f"def {name}(text):\\n    return text.lower_{who}_{number}()\\n"
            shelf.propose(make_routine(Contract(name=name), text))
"""


def test_two_processes_write_one_shelf_and_nothing_is_lost(shelf: Shelf, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(shelf.folder), str(tmp_path / "state")]
    both = [subprocess.Popen([*command, str(who)]) for who in range(2)]
    assert [each.wait() for each in both] == [0, 0]
    shelf.refresh()
    assert len([row for row in shelf.rows() if row.name.startswith("made_")]) == 20
    assert shelf.versions("shared_name") == list(range(1, 21))
    assert shelf.broken == {}


def test_how_often_it_was_used_is_counted_by_version_and_survives_a_new_file(shelf: Shelf) -> None:
    shelf.propose(routine())
    before = shelf.revision
    assert shelf.count("slugify", 1, failed=False) == (1, 0)
    assert shelf.count("slugify", 1, failed=True) == (1, 1)
    assert shelf.revision == before, "or what sessions are given would be made anew"
    shelf.trust("slugify", "by a test", "")
    assert shelf.uses("slugify", 1) == (1, 1)


def test_an_index_in_use_by_two_is_one(shelf: Shelf, tmp_path: Path) -> None:
    with Shelf.open(shelf.folder, tmp_path / "state") as other:
        other.propose(routine())
        shelf.refresh()
        assert shelf.get("slugify") == other.get("slugify")
        assert shelf.revision == other.revision
    assert sqlite3.connect(index_of(shelf.folder, tmp_path / "state", user_key())).execute(
        "PRAGMA integrity_check"
    ).fetchone() == ("ok",)


def test_what_is_noted_of_an_edited_file_does_not_make_it_trusted_again(shelf: Shelf) -> None:
    shelf.propose(routine())
    shelf.trust("slugify", "by a test", "")
    file = shelf.folder / "slugify.py"
    file.write_text(file.read_text().replace("lower", "upper"))
    noted = shelf.note(shelf.get("slugify"), "", tried="its trial failed")
    assert (noted.edited, noted.state) == (False, "candidate")
    assert [(row.name, row.state) for row in shelf.rows()] == [("slugify", "candidate")]


@pytest.mark.parametrize("left", [b"", b"short"])
def test_a_key_that_was_cut_short_seals_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: bytes
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    user_key()
    (tmp_path / "mulligan" / "library.key").write_bytes(left)
    with pytest.raises(ShelfUnusable, match="damaged"):
        Shelf.open(tmp_path / "shelf", tmp_path / "state", create=True)
