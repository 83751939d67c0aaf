"""How a server might read a path: every reading has to be allowed.

Servers differ: one takes `%2e%2e` for `..`, another a backslash for a slash, a third cuts a segment at its `;`, some
decode twice. A rule about `/public/**` must not be passed by `/public/..%2fadmin`.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from mulligan.sandbox.egress.errors import Refused

#: how often a path may have been encoded
_ROUNDS = 3
_ODD = re.compile(r"[%;\\]|//|/\.")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def readings(path: str) -> tuple[str, ...]:
    """The path as it stands first, then each other way of reading it. Raises Refused for what nobody should send."""
    if not path.startswith("/"):
        raise Refused("a path begins with a slash")
    if not _ODD.search(path):
        return (path,)
    found = dict.fromkeys([path])
    decoded = path
    for _ in range(_ROUNDS + 1):
        found |= dict.fromkeys(_plain(decoded))
        before, decoded = decoded, unquote_to_bytes(decoded).decode("utf-8", "backslashreplace")
        if _CONTROL.search(decoded):
            raise Refused("its path holds a control character")
        if decoded == before:
            return tuple(found)
    raise Refused("its path is encoded too many times")


def _plain(path: str) -> list[str]:
    """A path without detours, with and without the parameters of its segments."""
    path = path.replace("\\", "/")
    cut = "/".join(segment.partition(";")[0] for segment in path.split("/"))
    return [_walk(path), _walk(cut)]


def _walk(path: str) -> str:
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    return "/" + "/".join(kept) + ("/" if kept and segments[-1] in ("", ".", "..") else "")
