"""The process apart in which contents are compared. It forks for each comparison, so that a content that breaks its
parser, or takes it over, spoils no other.

On standard input, for each: a line of JSON {kind, lines, sizes: [before, after]}, then the contents. On standard
output, for each: the length of the answer in eight bytes, and the answer, JSON: {detail} or {unfit: why}. It ends at
the end of its input, and that is the end of whoever started it.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import time
from collections.abc import Sequence
from typing import Any, BinaryIO

from mulligan.runtime.diffs import detail, limits
from mulligan.runtime.diffs.detail import Unfit
from mulligan.runtime.diffs.kinds import EXTRA, LIBRARIES

#: seconds that one comparison may take, waiting included
DEADLINE = 90


def main(requests: BinaryIO, answers: BinaryIO) -> None:
    while line := requests.readline():
        request = json.loads(line)
        contents = [None if size is None else requests.read(size) for size in request["sizes"]]
        answer = _answer(request, contents)
        answers.write(len(answer).to_bytes(8, "big") + answer)
        answers.flush()


def _answer(request: dict[str, Any], contents: Sequence[bytes | None]) -> bytes:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _compare_in_child(writing, request, contents)
        finally:
            os._exit(0)
    os.close(writing)
    answer, why = _gather(reading, child)
    os.close(reading)
    status = os.waitpid(child, 0)[1]
    return answer if answer and not why else _unfit(why or _died(status))


def _compare_in_child(writing: int, request: dict[str, Any], contents: Sequence[bytes | None]) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.closerange(3, writing)
    os.closerange(writing + 1, 1 << 16)
    answer = _compared(request, contents)
    while answer:
        answer = answer[os.write(writing, answer) :]


def _compared(request: dict[str, Any], contents: Sequence[bytes | None]) -> bytes:
    kind = request["kind"]
    try:
        limits.confine()
    except (OSError, KeyError):
        return _unfit("this machine cannot confine what reads it")
    try:
        module = importlib.import_module(f"mulligan.runtime.diffs.{kind}")
        before, after = contents
        told = detail.kind_of(module).compare(before, after, request["lines"])
        return b'{"detail":' + detail.encode(told) + b"}"
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        return _unfit(f"{LIBRARIES.get(missing, missing)} is not installed: {EXTRA}")
    except Unfit as error:
        return _unfit(str(error))
    except MemoryError:
        return _unfit("that takes too much memory")
    except Exception as error:
        return _unfit(f"reading it failed ({type(error).__name__})")


def _gather(reading: int, child: int) -> tuple[bytes, str]:
    """The child's answer, and why it was ended if it was."""
    answer, end = b"", time.monotonic() + DEADLINE
    while select.select([reading], [], [], max(0.0, end - time.monotonic()))[0]:
        piece = os.read(reading, 1 << 16)
        if not piece:
            return answer, ""
        answer += piece
        if len(answer) > detail.LARGEST:
            break
    os.kill(child, signal.SIGKILL)
    return b"", "that takes too long" if len(answer) <= detail.LARGEST else "too much was said of it"


def _died(status: int) -> str:
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
        return "that takes too long"
    return "its parser crashed"


def _unfit(why: str) -> bytes:
    return json.dumps({"unfit": why[:500]}).encode()
