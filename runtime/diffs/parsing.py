"""Has contents compared in a process apart (parser_process.py), the richest kind first, then ever plainer.

Why apart: whoever wrote these contents may have meant them for a parser's weakness, a bomb that unpacks to gigabytes
or lines that make an alignment take days. There it costs one fork, some seconds at most, and the plainer kind's answer.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import mulligan
from mulligan.runtime.diffs.binary import compare_sizes
from mulligan.runtime.diffs.detail import LARGEST, Detail, decode_record
from mulligan.runtime.diffs.kinds import kinds_for

#: bytes of a content that is compared as more than its size
CONTENT = 64 << 20

#: Starts the process with the package's folders alone. Its front door imports all of Mulligan, which takes half a
#: second, and would make each fork dearer.
_BOOT = """
import sys, types
sys.modules["mulligan"] = types.ModuleType("mulligan")
sys.modules["mulligan"].__path__ = [sys.argv[1]]
from mulligan.runtime.diffs.parser_process import main
main(sys.stdin.buffer, sys.stdout.buffer)
"""

_NAMES = {"delimited": "table", "parquet": "table"}


class Parsing:
    """A context manager. The process is started when it is first needed, and again if it was lost. Any thread may
    call."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._closed = False

    def compare(self, name: str, before: bytes | None, after: bytes | None, lines: int) -> Detail:
        """`None` is where there was no file. Never raises for what is in the contents."""
        notes: tuple[str, ...] = ()
        for kind in kinds_for(name, before, after):
            told = self._ask(kind, before, after, lines)
            if isinstance(told, Detail):
                return Detail(
                    told.kind,
                    told.summary,
                    told.counts,
                    told.lines[:lines],
                    told.left_out,
                    notes + told.notes,
                )
            notes += (f"not compared as {_NAMES.get(kind, kind)}: {told}",)
        sizes = [None if data is None else len(data) for data in (before, after)]
        return compare_sizes(sizes[0], sizes[1], notes)

    def close(self) -> None:
        """May be repeated. Of what is compared afterwards only the sizes are told."""
        with self._lock:
            self._closed = True
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, kind: str, before: bytes | None, after: bytes | None, lines: int) -> Detail | str:
        """The detail, or why there is none."""
        sizes = [None if data is None else len(data) for data in (before, after)]
        head = json.dumps({"kind": kind, "lines": lines, "sizes": sizes}).encode() + b"\n"
        with self._lock:
            try:
                return _read_answer(self._exchange(head, before or b"", after or b""))
            except BaseException as error:
                self._end()
                if isinstance(error, (OSError, ValueError)):
                    return "the process that reads it was lost"
                raise

    def _exchange(self, *parts: bytes) -> bytes:
        requests, answers = self._pipes()
        for part in parts:
            requests.write(part)
        requests.flush()
        length = int.from_bytes(_exactly(answers, 8), "big")
        if length > 2 * LARGEST:
            raise ValueError("an answer that is too long")
        return _exactly(answers, length)

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._closed:
            raise OSError("closed")
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT, str(Path(mulligan.__file__).parent)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def _end(self) -> None:
        """It has nothing to lose."""
        if self._process is None:
            return
        self._process.kill()
        with suppress(OSError):
            self._process.communicate()
        self._process = None


def _read_answer(data: bytes) -> Detail | str:
    record: Any = json.loads(data)
    if isinstance(record, dict) and isinstance(why := record.get("unfit"), str):
        return why[:500]
    return decode_record(record["detail"] if isinstance(record, dict) else None)


def _exactly(file: IO[bytes], count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise ValueError("the process ended")
    return data
