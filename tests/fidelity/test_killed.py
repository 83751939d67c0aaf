"""SIGKILL at any moment of a snapshot, a restore, a collection, a commit to the user's folder and its revert.

A child works; its parent kills it at a random moment, opens what it leaves, and looks with an independent walk: the
tree is one of the two states, what is kept is whole, and the next child goes on from there. MULLIGAN_KILLS is how
often, in `make soak`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mulligan.runtime.commit import recover
from mulligan.sandbox.snapshots import SnapshotStore

from .walk import seen, walk

KILLS = 20
MANY = pytest.param(
    int(os.environ.get("MULLIGAN_KILLS", "200")), marks=[pytest.mark.soak, pytest.mark.timeout(3600)]
)
CHILD = Path(__file__).with_name("killed_child.py")

Said = dict[str, Any]


def killed(chance: random.Random, *arguments: str) -> list[Said]:
    """What a child said until it was killed, some milliseconds after it had begun something."""
    command = [sys.executable, str(CHILD), *arguments, str(chance.randrange(1 << 32))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said: list[Said] = []
        for _ in range(chance.randrange(1, 8)):
            said += until_it_begins(process.stdout)
        try:
            process.wait(timeout=chance.random() ** 2 * 0.03)
        except subprocess.TimeoutExpired:
            process.kill()
        said += [json.loads(line) for line in process.stdout if line.endswith(b"\n")]
    assert process.returncode == -signal.SIGKILL, "it ended by itself"
    return said


def until_it_begins(stdout: Any) -> Iterator[Said]:
    for line in stdout:
        said = json.loads(line)
        yield said
        if "does" in said:
            return


def test_the_walks_agree_that_a_tree_is_what_it_was(tmp_path: Path) -> None:
    """`seen` stands for a whole walk: it differs when one bit of a mode does."""
    (tmp_path / "file").write_bytes(b"x")
    before = seen(tmp_path)
    (tmp_path / "file").chmod(0o611)
    assert seen(tmp_path) != before


@pytest.mark.parametrize("kills", [KILLS, MANY])
def test_a_store_that_is_killed_at_any_moment_opens_whole_and_the_tree_is_one_of_two(
    tmp_path: Path, kills: int
) -> None:
    root, folder, chance = tmp_path / "root", tmp_path / "store", random.Random(kills)
    root.mkdir()
    known: dict[int, str] = {}
    amid: Counter[str] = Counter()
    for _ in range(kills):
        (tmp_path / "known").write_text(json.dumps(known))
        said = killed(chance, "store", str(root), str(folder), str(tmp_path / "known"))
        known |= {line["snapshot"]: line["tree"] for line in said if "snapshot" in line}
        may_be_gone = {id for line in said for id in line.get("goes", ())}
        last = said[-1]
        with SnapshotStore.open(root, folder) as store:
            assert store.verify() == ()
            if "does" in last:
                amid[last["does"]] += 1
                states = {last["tree"], known[last["to"]] if last["does"] == "restore" else last["tree"]}
                assert seen(root) in states, last
            known = {id: tree for id, tree in known.items() if id in store.snapshots or id not in may_be_gone}
            now = store.snapshot().id
            assert known.setdefault(now, seen(root)) == seen(root), "a mix is called whole"
            for id in {*chance.sample(sorted(known), min(2, len(known))), now}:
                assert store.restore(id).stands == ()
                assert seen(root) == known[id]
        assert not list(folder.rglob("*.partial"))
    assert sum(amid.values()) > kills / 4, f"too few kills came amid something: {amid}"
    assert kills < 200 or amid.keys() == {"snapshot", "restore", "collect"}


@pytest.mark.parametrize("kills", [KILLS, MANY])
def test_a_commit_that_is_killed_at_any_moment_leaves_the_users_folder_in_one_of_two_states(
    tmp_path: Path, kills: int
) -> None:
    user, chance = tmp_path / "user", random.Random(kills)
    user.mkdir()
    amid: Counter[str] = Counter()
    for number in range(kills):
        home = tmp_path / f"session{number}"
        home.mkdir()
        said = killed(chance, "commit", str(user), str(home))
        recover(home / "commits")
        last = said[-1]
        now = contents(user)
        if "does" in last:
            amid[last["does"]] += 1
            assert now in (last["before"], last["after"]), last["does"]
        elif "is" in last:
            assert now == last["is"]
        assert recover(home / "commits") == (), "once is enough"
        assert contents(user) == now
    assert sum(amid.values()) > kills / 4, f"too few kills came amid something: {amid}"
    assert kills < 200 or amid.keys() == {"commit", "revert"}


def contents(folder: Path) -> dict[str, str]:
    """What a commit carries: kinds, modes and contents, by path."""
    return {repr(path): repr((found[0], found[-1])) for path, found in walk(folder).items() if path}
