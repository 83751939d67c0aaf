"""One pass over all that is in a folder.

Each folder is opened from the one that holds it, which stays open meanwhile: so a path is never walked twice, and a
folder that somebody swaps for a link is not followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Generator, Iterator

#: Deeper folders are refused: each folder on the way is held open.
DEEPEST = 256

#: Path and status.
Found = tuple[bytes, os.stat_result]
Refused = Callable[[bytes, OSError], None]
LeftOut = Callable[[bytes, bool], object]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def folders(
    top: int,
    refused: Refused,
    left_out: LeftOut | None = None,
    entering: Callable[[bytes, int], None] = lambda path, at: None,
) -> Generator[tuple[bytes, int, list[Found]], None, None]:
    """The open folder `top` (b"") and each one below it, a folder before those in it: its path, a descriptor that is
    good until the next one is asked for, and what is in it, in no order.

    A folder that cannot be read, or is too deep, is given to `refused` instead of being taken for empty. What is
    `left_out`, given its path and whether it is a folder, is not looked into. `entering` is called before a folder is
    listed.
    """
    way = [(os.open(".", _FOLDER, dir_fd=top), [b""])]
    try:
        while way:
            above, waiting = way[-1]
            if not waiting:
                os.close(way.pop()[0])
                continue
            path = waiting.pop()
            try:
                at = os.open(path.rpartition(b"/")[2] or b".", _FOLDER, dir_fd=above)
                way.append((at, []))
                entering(path, at)
                found = listed(at, path)
            except OSError as error:
                refused(path, error)
                continue
            if left_out is not None:
                found = [each for each in found if not left_out(each[0], stat.S_ISDIR(each[1].st_mode))]
            yield path, at, found
            way[-1][1].extend(_inner(found, refused))
    finally:
        for at, _ in way:
            os.close(at)


def listed(at: int, path: bytes) -> list[Found]:
    """What is in an open folder (to read, not O_PATH); `path` is its own."""
    found: list[Found] = []
    prefix = path + b"/" if path else b""
    with os.scandir(at) as entries:
        for entry in entries:
            try:
                found.append((prefix + os.fsencode(entry.name), entry.stat(follow_symlinks=False)))
            except FileNotFoundError:
                continue
    return found


def _inner(found: list[Found], refused: Refused) -> Iterator[bytes]:
    for path, status in found:
        if stat.S_ISDIR(status.st_mode):
            if path.count(b"/") < DEEPEST:
                yield path
            else:
                refused(path, OSError(errno.ENAMETOOLONG, f"more than {DEEPEST} folders deep"))
