"""Who keeps a tree of files and takes changes back: ours, and what people use today."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from mulligan.sandbox.snapshots import SnapshotStore

CHANGED = 10


@dataclass(frozen=True, slots=True)
class Work:
    """What an action does to the tree: paths relative to its root."""

    changed: tuple[str, ...]
    added: str
    deleted: str
    seed: int

    @classmethod
    def of_round(cls, n: int, files: Sequence[str]) -> Work:
        *changed, deleted = random.Random(n).sample(files, CHANGED + 1)
        return cls(tuple(changed), f"{changed[0].rpartition('/')[0]}/added", deleted, n)


def do(root: Path, work: Work) -> None:
    random_ = random.Random(work.seed)
    for path in work.changed:
        (root / path).write_bytes(random_.randbytes(600))
    (root / work.deleted).unlink()
    (root / work.added).write_bytes(b"added")


class Keeper(Protocol):
    def do(self, work: Work) -> None: ...

    def snapshot(self) -> None: ...

    def undo(self) -> None:
        """Take back what came after the first snapshot."""
        ...

    def undone(self, work: Work) -> bool: ...

    def tidy(self) -> None:
        """After each round; not measured."""
        ...


class OnHost:
    """A tree in a folder of the host's."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def do(self, work: Work) -> None:
        do(self.root, work)

    def undone(self, work: Work) -> bool:
        return (self.root / work.deleted).exists() and not (self.root / work.added).exists()

    def tidy(self) -> None:
        pass


class Ours(OnHost):
    """As a session uses it, which is told by the kernel that no action has made a hard link."""

    def __init__(self, root: Path, store: SnapshotStore) -> None:
        super().__init__(root)
        self._store = store
        self._first = store.snapshot().id

    def snapshot(self) -> None:
        self._store.snapshot(thorough=False)

    def undo(self) -> None:
        if stands := self._store.restore(self._first, thorough=False).stands:
            raise RuntimeError(f"not restored: {stands}")


class Git(OnHost):
    """Its own folder lies outside the tree, as a tool's would."""

    def __init__(self, root: Path, folder: Path) -> None:
        super().__init__(root)
        identity = ("-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0")
        self._git = ("git", *identity, f"--git-dir={folder}", f"--work-tree={root}")
        self._run("init", "-q")
        self.snapshot()
        self._run("tag", "first")

    def snapshot(self) -> None:
        self._run("add", "-A")
        self._run("commit", "-q", "-m", "snapshot")

    def undo(self) -> None:
        self._run("reset", "-q", "--hard", "first")
        self._run("clean", "-q", "-fdx")

    def _run(self, *arguments: str) -> None:
        subprocess.run([*self._git, *arguments], check=True)


class Copies(OnHost):
    """A whole copy for each snapshot, by a command from one folder to another; undo copies the first one back."""

    def __init__(self, root: Path, folder: Path, save: Sequence[str], load: Sequence[str]) -> None:
        super().__init__(root)
        folder.mkdir()
        self._folder, self._save, self._load = folder, save, load
        self._run(save, root, folder / "first")

    def snapshot(self) -> None:
        self._run(self._save, self.root, self._folder / "next")

    def undo(self) -> None:
        shutil.rmtree(self.root)
        self.root.mkdir()
        self._run(self._load, self._folder / "first", self.root)

    def tidy(self) -> None:
        last = self._folder / "next"
        shutil.rmtree(last) if last.is_dir() else last.unlink()

    def _run(self, command: Sequence[str], source: Path, target: Path) -> None:
        names = {"source": str(source), "target": str(target), "first": str(self._folder / "first")}
        subprocess.run([part.format_map(names) for part in command], check=True)


_DO_INSIDE = """
import json, random, sys
from pathlib import Path
work = json.load(sys.stdin)
root, random_ = Path("/tree"), random.Random(work["seed"])
for path in work["changed"]:
    (root / path).write_bytes(random_.randbytes(600))
(root / work["deleted"]).unlink()
(root / work["added"]).write_bytes(b"added")
"""
_LOOK_INSIDE = """
import json, os, sys
work = json.load(sys.stdin)
print(os.path.exists("/tree/" + work["deleted"]) and not os.path.exists("/tree/" + work["added"]))
"""


class Container:
    """The tree lies in the writable layer of a container: a snapshot is an image of it, undo a new container from the
    first one. The images and containers that it made are removed by `close`.
    """

    def __init__(self, image: str) -> None:
        self._name = f"mulligan-bench-{uuid.uuid4().hex[:12]}"
        self._image = image

    def begin(self, root: Path) -> None:
        """Move the tree into a container."""
        self._start(self._image)
        _docker("cp", "-q", str(root), f"{self._name}:/tree")
        shutil.rmtree(root)
        _docker("commit", self._name, f"{self._name}:first")

    def do(self, work: Work) -> None:
        self._inside(_DO_INSIDE, work)

    def snapshot(self) -> None:
        _docker("commit", self._name, f"{self._name}:next")

    def undo(self) -> None:
        _docker("rm", "--force", self._name)
        self._start(f"{self._name}:first")

    def undone(self, work: Work) -> bool:
        return self._inside(_LOOK_INSIDE, work).strip() == "True"

    def tidy(self) -> None:
        _docker("image", "rm", f"{self._name}:next")

    def close(self) -> None:
        with suppress(RuntimeError):
            _docker("rm", "--force", self._name)
        with suppress(RuntimeError):
            _docker("image", "rm", f"{self._name}:first")

    def _start(self, image: str) -> None:
        _docker(
            "run", "--detach", "--init", "--network=none", "--name", self._name, image, "sleep", "infinity"
        )

    def _inside(self, script: str, work: Work) -> str:
        return _docker("exec", "-i", self._name, "python3", "-c", script, told=json.dumps(asdict(work)))


def _docker(*arguments: str, told: str = "") -> str:
    done = subprocess.run(["docker", *arguments], input=told, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"docker {arguments[0]}: {done.stderr.strip()}")
    return done.stdout
