"""Ports and names at which sockets of sleeping twins are found.

A twin shares its sockets with the worker that it was forked from, and goes on holding them when that is dead: where a
step was undone, its port stays taken for as long as the step can be done again. That is said, with the undo.
"""

from __future__ import annotations

from collections.abc import Iterator

from .processes import read

_LISTENS = b"0A"
_MOST = 50


def held(sockets: set[int]) -> list[str]:
    """Where others than these sockets' holders cannot listen, in words; `sockets` are the numbers of their inodes."""
    if not sockets:
        return []
    try:
        where = sorted({*_numbered(sockets), *_named(sockets)})
    except OSError as error:
        where = [f"what sockets of other steps listen at cannot be looked up ({error.strerror}): an address"]
    return [
        f"{each} is held by a step that can be gone to still, and cannot be listened at"
        for each in where[:_MOST]
    ]


def _numbered(sockets: set[int]) -> Iterator[str]:
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        for line in _lines(kind):
            fields = line.split()
            if int(fields[9]) in sockets and (fields[3] == _LISTENS or kind.startswith("udp")):
                yield f"{kind[:3].upper()} port {int(fields[1].rpartition(b':')[2], 16)}"


def _named(sockets: set[int]) -> Iterator[str]:
    """A name in the file system is a file, which undo removes. Names are chosen inside, with line breaks perhaps."""
    for line in _lines("unix"):
        fields = line.split(maxsplit=7)
        ours = len(fields) > 7 and fields[6].isdigit() and int(fields[6]) in sockets
        if ours and fields[7].startswith(b"@"):
            yield f"the socket {fields[7].decode('utf-8', 'replace')[:200]}"


def _lines(kind: str) -> list[bytes]:
    try:
        return read(f"/proc/net/{kind}").splitlines()[1:]
    except FileNotFoundError:
        return []  # a kernel that has no such sockets
