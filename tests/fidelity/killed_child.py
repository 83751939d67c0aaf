"""Works on a tree until it is killed (test_killed.py). Says on its output what it begins and what came of it."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

from walk import seen, walk  # type: ignore[import-not-found]  # it runs as a script, from its own folder

from mulligan.runtime.commit import commit, revert
from mulligan.runtime.workspace import stage
from mulligan.sandbox.snapshots import SnapshotStore

NAMES = [f"{folder}file{number}" for folder in ("", "a/", "a/b/", "c/") for number in range(12)]


def say(**what: Any) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def scribble(root: Path, chance: random.Random) -> None:
    for number, name in enumerate(chance.sample(NAMES, chance.randrange(1, 20))):
        path = root / name
        if chance.random() < 0.2:
            shutil.rmtree(path.parent, ignore_errors=True) if "/" in name else path.unlink(missing_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        size = chance.choice(
            (0, 100, 100, 5000, 5000, 5000, 60_000, 60_000, (1 << 20) + 5 if number < 2 else 9)
        )
        path.write_bytes(chance.randbytes(size))
        path.chmod(chance.choice((0o600, 0o644, 0o755)))
        if chance.random() < 0.1:
            link = root / "link"
            link.unlink(missing_ok=True)
            link.hardlink_to(path) if chance.random() < 0.5 else link.symlink_to(name)


def say_what_goes(tree: str, ids: tuple[int, ...]) -> None:
    say(does="collect", tree=tree, goes=ids)


def work_on_a_store(root: Path, folder: Path, known: set[int], chance: random.Random) -> None:
    with SnapshotStore.open(root, folder) as store:
        while True:
            scribble(root, chance)
            tree = seen(root)
            match chance.choice(("snapshot", "snapshot", "restore", "collect") if known else ("snapshot",)):
                case "snapshot":
                    say(does="snapshot", tree=tree)
                    id = store.snapshot().id
                    known.add(id)
                    say(snapshot=id, tree=tree)
                case "restore":
                    to = chance.choice(sorted(known))
                    say(does="restore", tree=tree, to=to)
                    stands = store.restore(to).stands
                    say(restored=to, stands=repr(stands))
                case _:
                    reach = {id for id in known if chance.random() < 0.8}
                    most = store.taken * 3 // 4 if chance.random() < 0.5 else None
                    say(does="collect", tree=tree, goes=sorted(known - reach))
                    store.collect(reach, most=most, announce=partial(say_what_goes, tree))
                    known &= store.snapshots
                    say(left=sorted(known))


def contents(folder: Path) -> dict[str, str]:
    return {repr(path): repr((found[0], found[-1])) for path, found in walk(folder).items() if path}


def commit_and_revert(user: Path, home: Path, chance: random.Random) -> None:
    workspace = home / "workspace"
    baseline = stage(user, workspace, uid=os.geteuid(), gid=os.getegid())
    for _ in itertools.count():
        scribble(workspace, chance)
        before, after = contents(user), contents(workspace)
        say(does="commit", before=before, after=after)
        done = commit(workspace, baseline, home / "commits")
        assert not done.conflicts, done.conflicts
        baseline = done.baseline
        say(**{"is": after})
        if chance.random() < 0.5:
            say(does="revert", before=after, after=before)
            undone = revert(done, baseline)
            assert not undone.conflicts, undone.conflicts
            baseline = undone.baseline
            say(**{"is": before})


if __name__ == "__main__":
    job, *places, seed = sys.argv[1:]
    if job == "store":
        root, folder, known = map(Path, places)
        ids = {int(id) for id in json.loads(known.read_text())}
        work_on_a_store(root, folder, ids, random.Random(int(seed)))
    else:
        user, home = map(Path, places)
        commit_and_revert(user, home, random.Random(int(seed)))
