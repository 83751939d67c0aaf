"""Paths that changed, as people would say it: over a real store, without a sandbox."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from mulligan.runtime.diffs.detail import LARGEST, Detail, Line, decode_record, encode
from mulligan.runtime.diffs.diff import Budget, Diff, FileDiff
from mulligan.runtime.diffs.lines import Bounds, plain
from mulligan.runtime.diffs.parsing import CONTENT, Parsing
from mulligan.sandbox.snapshots import SnapshotStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "files" / "workspace"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def store(folder: Path, tmp_path: Path) -> Iterator[SnapshotStore]:
    with SnapshotStore.open(folder.parent, tmp_path / "store") as store:
        yield store


@pytest.fixture
def compare(store: SnapshotStore, parsing: Parsing) -> Callable[[Callable[[], object]], Diff]:
    """The difference that a change makes."""

    def compare(change: Callable[[], object]) -> Diff:
        before = store.snapshot().id
        change()
        after = store.snapshot(thorough=True).id
        read = (partial(store.read, before), partial(store.read, after))
        return Diff(1, 2, store.diff(before, after), read, parsing)

    return compare


Comparing = Callable[[Callable[[], object]], Diff]


def told(diff: Diff) -> list[tuple[str, str | None, str]]:
    return [(file.action, file.was, file.path) for file in diff.files]


def only(diff: Diff) -> FileDiff:
    (file,) = diff.files
    return file


def test_a_file_that_moved_is_one_rename(folder: Path, compare: Comparing) -> None:
    (folder / "a").write_text("content")
    diff = compare(lambda: (folder / "a").rename(folder / "b"))
    assert told(diff) == [("renamed", "a", "b")]
    assert only(diff).detail() is None
    assert sorted(map(str, diff)) == ["+ b", "- a"]


def test_a_folder_that_moved_with_all_that_is_in_it_is_one_rename(folder: Path, compare: Comparing) -> None:
    (folder / "old" / "deep").mkdir(parents=True)
    for name in ("one", "deep/two", "deep/three"):
        (folder / "old" / name).write_text(name)
    (folder / "old" / "empty").touch()
    diff = compare(lambda: (folder / "old").rename(folder / "new"))
    assert told(diff) == [("renamed", "old", "new")]
    assert only(diff).inside == 5


def test_of_a_folder_that_moved_and_changed_the_files_are_told(folder: Path, compare: Comparing) -> None:
    (folder / "old").mkdir()
    for name in ("same", "edited"):
        (folder / "old" / name).write_text(name)

    def move() -> None:
        (folder / "old").rename(folder / "new")
        (folder / "new" / "edited").write_text("otherwise")

    assert told(compare(move)) == [
        ("added", None, "new/edited"),
        ("renamed", "old/same", "new/same"),
        ("removed", None, "old/edited"),
    ]


def test_among_equal_contents_names_and_times_tell_which_went_where(folder: Path, compare: Comparing) -> None:
    for name in ("a", "b", "c"):
        (folder / name).write_text("equal")
    os.utime(folder / "a", ns=(1, 1))

    def move() -> None:
        (folder / "to").mkdir()
        for name in ("b", "c"):
            (folder / name).rename(folder / "to" / name)
        (folder / "a").rename(folder / "z")

    assert told(compare(move)) == [("renamed", "b", "to/b"), ("renamed", "c", "to/c"), ("renamed", "a", "z")]


def test_a_move_into_a_folder_that_moved_as_well_is_told_once(folder: Path, compare: Comparing) -> None:
    """Two equal trees, one of which lands within what another became: no path is told twice, none is left out."""
    for top in ("a", "b"):
        (folder / top / "x").mkdir(parents=True)
        (folder / top / "x" / "f").write_text("equal")

    def move() -> None:
        (folder / "a").rename(folder / "c")
        (folder / "b").rename(folder / "c" / "b")

    files = compare(move).files
    names = [name for file in files for name in (file.was, file.path) if name]
    assert len(names) == len(set(names))
    assert {"a", "b"} <= {name.partition("/")[0] for name in names}


def test_an_empty_file_that_is_new_is_not_one_that_went(folder: Path, compare: Comparing) -> None:
    (folder / "a").touch()
    os.utime(folder / "a", ns=(1, 1))

    def replace() -> None:
        (folder / "a").unlink()
        (folder / "b").touch()

    assert told(compare(replace)) == [("removed", None, "a"), ("added", None, "b")]


def test_what_changed_besides_the_content_is_said(folder: Path, compare: Comparing) -> None:
    for name in ("mode", "time", "kind", "linked", "attribute"):
        (folder / name).write_text(name)
    (folder / "link").symlink_to("mode")

    def change() -> None:
        (folder / "mode").chmod(0o755)
        os.utime(folder / "time", ns=(1, 1))
        (folder / "kind").unlink()
        (folder / "kind").mkdir()
        os.link(folder / "linked", folder / "other")
        os.setxattr(folder / "attribute", "user.note", b"x")
        (folder / "link").unlink()
        (folder / "link").symlink_to("time")

    (folder / "mode").chmod(0o644)
    facts = {file.path: file.facts for file in compare(change).files}
    assert facts == {
        "mode": ("mode 0644 → 0755",),
        "time": ("only its time changed",),
        "kind": ("file → folder", f"mode 0644 → {(folder / 'kind').stat().st_mode & 0o7777:04o}"),
        "linked": ("one name → hard links linked, other",),
        "other": (),
        "attribute": ("attributes user.note",),
        "link": ("link to mode → link to time",),
    }


def test_folders_are_told_only_where_nothing_in_them_is(folder: Path, compare: Comparing) -> None:
    def make() -> None:
        (folder / "full").mkdir()
        (folder / "full" / "file").write_text("x")
        (folder / "empty").mkdir()

    assert told(compare(make)) == [("added", None, "empty"), ("added", None, "full/file")]


def test_the_workspace_comes_first_and_files_elsewhere_are_summed_up(
    folder: Path, compare: Comparing
) -> None:
    (folder.parent / "home").mkdir()

    def write() -> None:
        (folder / "z").write_text("in the workspace\n")
        (folder.parent / "home" / "a").write_text("at home\n")

    diff = compare(write)
    assert [file.path for file in diff.files] == ["z", "/home/user/a"]
    assert "+in the workspace" in diff.text
    assert "+at home" not in diff.text and "+1 -0 lines" in diff.text.partition("/home/user/a")[2]


def test_a_file_above_the_bound_is_told_by_its_size(folder: Path, compare: Comparing) -> None:
    def grow() -> None:
        with (folder / "big").open("wb") as file:
            file.truncate(CONTENT + 1)

    detail = only(compare(grow)).detail()
    assert detail is not None
    assert (detail.kind, detail.notes) == ("binary", ("above 64 MiB only sizes are compared",))


def test_damaged_contents_are_named_and_the_others_are_told(
    folder: Path, store: SnapshotStore, tmp_path: Path, compare: Comparing
) -> None:
    big = os.urandom(2 << 20)

    def write() -> None:
        (folder / "big").write_bytes(big)
        (folder / "small").write_text("fine\n")

    diff = compare(write)
    (large,) = (tmp_path / "store" / "large").iterdir()
    large.write_bytes(b"something else")
    details = {file.path: file.detail() for file in diff.files}
    assert details["big"] and "not what was stored" in details["big"].notes[0]
    assert details["small"] and details["small"].lines


def test_all_of_it_keeps_to_its_bounds(folder: Path, compare: Comparing) -> None:
    def write() -> None:
        for number in range(30):
            (folder / f"{number:02}").write_text("line\n" * 50)

    diff = compare(write)
    text = plain(diff, Bounds(files=20, details=10, file=5, lines=12))
    assert text.count("+line\n") + text.count("@@ ") == 12
    assert "… 10 paths more" in text
    assert "30 added" in text.splitlines()[-1]
    assert all(file.detail(lines=5, budget=Budget(bytes=0)).notes for file in diff.files)  # type: ignore[union-attr]


def test_a_detail_crosses_as_it_was_and_what_is_none_is_refused() -> None:

    detail = Detail("text", "+1", {"a": 1}, (Line("+", "\ud800\x1b"),), 3, ("why",))
    assert decode_record(json.loads(encode(detail))) == detail
    good = json.loads(encode(detail))
    for name, value in {
        "kind": 3,
        "summary": "x" * LARGEST,
        "counts": {"a": "b"},
        "lines": [["!", "forged"]],
        "left_out": None,
        "notes": 3,
    }.items():
        with pytest.raises(ValueError):
            decode_record(good | {name: value})
    with pytest.raises(ValueError):
        decode_record(None)
