"""What can be asked of a store without writing to it; also from beside the process that holds it."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from mulligan.sandbox.errors import SnapshotError, StoreDamaged
from mulligan.sandbox.snapshots.blobs import Blobs
from mulligan.sandbox.snapshots.entry import Change, Entry, Kind, compose, inverse
from mulligan.sandbox.snapshots.index import Index


@dataclass(frozen=True, slots=True)
class Holdings:
    """`bytes` is the length of all contents, each counted once."""

    snapshots: int
    contents: int
    bytes: int


class StoreReader:
    """Made by `attach`. Snapshots that are taken meanwhile are there when it is made anew."""

    def __init__(self, index: Index, blobs: Blobs, resources: ExitStack) -> None:
        self._index = index
        self._blobs = blobs
        self._resources = resources

    @classmethod
    def attach(cls, folder: Path) -> StoreReader:
        """The store in `folder`, whoever holds it. Nothing is written, and what was cut short is left as it is. As long
        as it is attached nothing is let go of.

        Raises SnapshotError when there is none, StoreDamaged when the index cannot be read.
        """
        with ExitStack() as resources:
            index = Index.attach(folder / "index.sqlite")
            _share(folder, resources)
            index.refresh()
            resources.callback(index.close)
            blobs = Blobs(folder, index)
            resources.callback(blobs.close)
            return StoreReader(index, blobs, resources.pop_all())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the store. May be called again."""
        self._resources.close()

    def diff(self, a: int, b: int) -> tuple[Change, ...]:
        """What turns snapshot `a` into `b`, sorted by path. Raises SnapshotUnknown."""
        with self._index.at_one_moment():
            return self._diff(a, b)

    def _diff(self, a: int, b: int) -> tuple[Change, ...]:
        up = list(self._index.lineage(self._index.require(a)))
        down = list(self._index.lineage(self._index.require(b)))
        while up and down and up[-1] == down[-1]:
            up.pop()
            down.pop()
        back = (inverse(self._index.changes(id)) for id in up)
        forth = (self._index.changes(id) for id in reversed(down))
        return compose(*back, *forth)

    def entries(self, id: int) -> Mapping[bytes, Entry]:
        """The whole tree at a snapshot. Takes as long as there are entries and ancestors."""
        entries: dict[bytes, Entry] = {}
        for ancestor in reversed(list(self._index.lineage(self._index.require(id)))):
            for change in self._index.changes(ancestor):
                if change.after is None:
                    del entries[change.path]
                else:
                    entries[change.path] = change.after
        return entries

    def read(self, id: int, path: bytes, limit: int | None = None) -> bytes:
        """A file's content at a snapshot, or its first `limit` bytes; verified whole. Raises StoreDamaged."""
        return self._blobs.read(self._content(id, path), limit)

    def _content(self, id: int, path: bytes) -> bytes:
        entry = self._index.entry(self._index.require(id), path)
        if entry is None or entry.kind is not Kind.FILE or entry.data is None:
            what = "nothing" if entry is None else f"a {entry.kind}"
            failure = SnapshotError(
                f"{os.fsdecode(path)!r} is {what} at snapshot {id}", hint="entries() lists the files."
            )
            failure.errno = errno.ENOENT if entry is None else errno.EINVAL
            raise failure
        return entry.data

    @contextmanager
    def as_file(self, id: int, path: bytes) -> Iterator[int]:
        """A file's content at a snapshot, open to read. Raises as `read` does, also after the block."""
        with self._blobs.as_file(self._content(id, path)) as fd:
            yield fd

    def verify(self) -> tuple[str, ...]:
        """Read everything that is kept again: the index, each snapshot's record, each content. The names of what is
        damaged, `()` when all is whole."""
        with self._index.at_one_moment():
            faults = list(self._index.faults())
        try:
            faults += self._blobs.faults()
        except StoreDamaged as error:
            faults.append(error.message)
        return tuple(dict.fromkeys(faults))

    @property
    def snapshots(self) -> frozenset[int]:
        """The ids of those that are there."""
        return frozenset(self._index.parents)

    @property
    def holdings(self) -> Holdings:
        """How much there is to verify."""
        contents = self._index.blobs()
        return Holdings(len(self._index.parents), len(contents), sum(place.length for _, place in contents))


def _share(folder: Path, resources: ExitStack) -> None:
    """Keep whoever holds the store from letting anything go; a collection that is under way is waited for."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    resources.callback(os.close, descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
