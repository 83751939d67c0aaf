"""All that an action gave out, in files, where memory and the ledger keep only its head and its tail.

An action of ordinary output has none. The files are begun when a stream passes what the ledger keeps of it, or when
there are more displays than memory keeps, with what had come until then. They lie in the session's folder, outside of
what the sandbox can write, and are removed with it. What is in them is as it came, live escape codes included.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

#: bytes between two looks at the free space of the host's disk
OFTEN = 32 << 20
DISPLAYS = "displays.jsonl"


@dataclass(frozen=True, slots=True)
class Transcript:
    """`folder` holds `stdout.txt`, `stderr.txt` and `displays.jsonl`, as far as they were begun: the text of the
    streams in UTF-8, and a display a line as JSON, updates as further lines. `size` in bytes; `cut`: more came than
    could be kept."""

    folder: Path
    size: int
    cut: bool

    def record(self) -> dict[str, Any]:
        return {"folder": self.folder.name, "size": self.size, "cut": self.cut}


class Transcripts:
    """Those of a session, which share a bound."""

    def __init__(self, folder: Path, limit: int, starved: Callable[[], str | None]) -> None:
        """`limit` in bytes; `starved` says what the host's disk lacks, or None."""
        self.folder = folder
        self.left = limit
        self.starved = starved

    def of(self, step: int) -> Writing:
        return Writing(self, self.folder / str(step))


class Writing:
    """The transcript of one action while it runs. A file that cannot be written is one that is cut."""

    def __init__(self, owner: Transcripts, folder: Path, *, cut: bool = False) -> None:
        self._owner = owner
        self._folder = folder
        self._files: dict[str, BinaryIO] = {}
        self._size = self._looked = 0
        self._cut = cut

    def add(self, name: str, text: str) -> None:
        """To the end of the file of that name, which is begun with it if need be."""
        if self._cut:
            return
        data = text.encode("utf-8", "backslashreplace")
        kept = data[: self._owner.left] if name != DISPLAYS or len(data) <= self._owner.left else b""
        try:
            self._cut = len(kept) < len(data) or self._starves()
            self._file(name).write(kept)
        except OSError:
            self._cut = True
            return
        self._owner.left -= len(kept)
        self._size += len(kept)

    def add_display(self, shown: Mapping[str, Any]) -> None:
        try:
            self.add(DISPLAYS, json.dumps(shown) + "\n")
        except (ValueError, RecursionError):  # nested as deep as can just be read
            self._cut = True

    def clear(self) -> None:
        """Begin anew: the action has taken back what it had shown."""
        self._owner.left += self._size
        self._size = self._looked = 0
        try:
            for file in self._files.values():
                file.truncate(0)
                file.seek(0)
        except OSError:
            self._cut = True

    def close(self) -> Transcript | None:
        """The transcript, if one was begun. May be called more than once."""
        for file in self._files.values():
            try:
                file.close()
            except OSError:
                self._cut = True
        return Transcript(self._folder, self._size, self._cut) if self._files or self._cut else None

    def _file(self, name: str) -> BinaryIO:
        if name not in self._files:
            self._folder.mkdir(parents=True, mode=0o700, exist_ok=True)
            self._files[name] = open(self._folder / name, "wb")  # noqa: SIM115
        return self._files[name]

    def _starves(self) -> bool:
        """Whether the host's disk is nearly full; looked at now and then."""
        if self._files and self._size - self._looked < OFTEN:
            return False
        self._looked = self._size
        return self._owner.starved() is not None


def unwritten() -> Writing:
    """A transcript that nothing is written to, for output that has one already."""
    return Writing(Transcripts(Path(), 0, lambda: None), Path(), cut=True)
