"""The record of what a commit is about to write, so that a crash at any point can be taken back.

A `Patch` is a folder of the session's journal: `record.json` lists the edits, `before/` and `after/` hold the
contents of files on either side. The order is: contents, record (state `intended`), edits, record (state
`done`). Only `before/` has to outlive a crash, for nothing is carried forward after one. The rename of a record
is the commit point of what it says. A patch that is found `intended` was cut short: its edits are taken back
where the user's folder still shows them, and left where it does not.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mulligan.runtime.durable import sync_files
from mulligan.runtime.folder import Entry, Kind

INTENDED, DONE = "intended", "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One path before and after. `number` names its content in `before/`."""

    path: bytes
    before: Entry | None
    after: Entry | None
    number: int

    @property
    def makes_way(self) -> bool:
        """Whether what is there has to go before anything else can come."""
        if self.before is None:
            return False
        return self.after is None or (self.before.kind is Kind.FOLDER) != (self.after.kind is Kind.FOLDER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    folder: Path
    source: Path
    identity: tuple[int, int]
    token: str
    edits: tuple[Edit, ...] = ()
    state: str = INTENDED

    @classmethod
    def new(cls, journal: Path, source: Path, identity: tuple[int, int]) -> Patch:
        """An empty patch in a new folder of the journal; nothing is recorded yet."""
        journal.mkdir(parents=True, exist_ok=True, mode=0o700)
        taken = [int(folder.name) for folder in journal.iterdir() if folder.name.isdigit()]
        folder = journal / f"{max(taken, default=0) + 1:06d}"
        for inner in ("before", "after"):
            (folder / inner).mkdir(parents=True)
        return cls(folder=folder, source=source, identity=identity, token=secrets.token_hex(8))

    @classmethod
    def load(cls, folder: Path) -> Patch:
        """Raises FileNotFoundError where nothing was recorded, ValueError where the record makes no sense."""
        record = json.loads((folder / "record.json").read_text("ascii"))
        return cls(
            folder=folder,
            source=Path(_bytes(record["source"]).decode("utf-8", "surrogateescape")),
            identity=(int(record["identity"][0]), int(record["identity"][1])),
            token=str(record["token"]),
            edits=tuple(_edit(edit) for edit in record["edits"]),
            state=str(record["state"]),
        )

    def record(self) -> None:
        """Make the record, and first what it needs to be taken back, durable."""
        if self.state == INTENDED:
            kept = [self.before(edit) for edit in self.edits if edit.before and edit.before.kind is Kind.FILE]
            sync_files([*kept, self.folder / "before"])
        text = json.dumps(
            {
                "source": _text(os.fsencode(self.source)),
                "identity": self.identity,
                "token": self.token,
                "state": self.state,
                "edits": [_plain_edit(edit) for edit in self.edits],
            }
        )
        temporary = self.folder / "record.new"
        with temporary.open("w", encoding="ascii") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self.folder / "record.json")  # the commit point
        sync_files([self.folder, self.folder.parent])

    def before(self, edit: Edit) -> Path:
        return self.folder / "before" / str(edit.number)

    @property
    def temporary(self) -> bytes:
        """How the names begin, beside the files being replaced, that a crash may leave behind."""
        return b".mulligan-" + self.token.encode()


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _plain_edit(edit: Edit) -> dict[str, Any]:
    return {
        "path": _text(edit.path),
        "before": _plain(edit.before),
        "after": _plain(edit.after),
        "number": edit.number,
    }


def _plain(entry: Entry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    return {
        "kind": entry.kind.name,
        "mode": entry.mode,
        "size": entry.size,
        "content": entry.content.hex(),
        "mtime_ns": entry.mtime_ns,
        "owner": entry.owner,
    }


def _edit(plain: Mapping[str, Any]) -> Edit:
    return Edit(
        path=_bytes(plain["path"]),
        before=_loaded(plain["before"]),
        after=_loaded(plain["after"]),
        number=int(plain["number"]),
    )


def _loaded(plain: Mapping[str, Any] | None) -> Entry | None:
    if plain is None:
        return None
    return Entry(
        kind=Kind[plain["kind"]],
        mode=int(plain["mode"]),
        size=int(plain["size"]),
        content=bytes.fromhex(plain["content"]),
        mtime_ns=plain["mtime_ns"],
        owner=None if plain["owner"] is None else (int(plain["owner"][0]), int(plain["owner"][1])),
    )
