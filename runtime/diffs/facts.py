"""What else than its content changed of a path, in words: mode, owner, kind, links, attributes, times."""

from __future__ import annotations

from collections.abc import Iterator

from mulligan.runtime.changes import place_of
from mulligan.sandbox.snapshots import Entry, Kind

#: names that are told of one list
NAMES = 3


def tell_facts(before: Entry | None, after: Entry | None) -> tuple[str, ...]:
    """Nothing of a plain file or folder that is new; that only the time changed, if nothing else did."""
    if before is None or after is None:
        entry = after or before
        return tuple(_of_one(entry)) if entry else ()
    said = tuple(_of_both(before, after))
    only_time = not said and (before.data, before.mtime_ns) != (before.data, after.mtime_ns)
    return ("only its time changed",) if only_time and before.data == after.data else said


def _of_one(entry: Entry) -> Iterator[str]:
    if entry.kind is not Kind.FILE:
        yield _spell(entry)


def _of_both(before: Entry, after: Entry) -> Iterator[str]:
    if before.kind is not after.kind or (after.kind is Kind.SYMLINK and before.data != after.data):
        yield f"{_spell(before)} → {_spell(after)}"
    if before.mode != after.mode and Kind.SYMLINK not in (before.kind, after.kind):
        yield f"mode {before.mode:04o} → {after.mode:04o}"
    if (before.uid, before.gid) != (after.uid, after.gid):
        yield f"owner {before.uid}:{before.gid} → {after.uid}:{after.gid}"
    if before.links != after.links:
        yield f"{_linked(before)} → {_linked(after)}"
    yield from _attributes(before, after)


def _spell(entry: Entry) -> str:
    if entry.kind is Kind.SYMLINK:
        return f"link to {(entry.data or b'').decode('utf-8', 'backslashreplace')}"
    return str(entry.kind)


def _linked(entry: Entry) -> str:
    if not entry.links:
        return "one name"
    names = [place_of(path) for path in entry.links]
    return f"hard links {', '.join(names[:NAMES])}" + (", …" if len(names) > NAMES else "")


def _attributes(before: Entry, after: Entry) -> Iterator[str]:
    old, new = dict(before.xattrs), dict(after.xattrs)
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    if names:
        told = ", ".join(name.decode("utf-8", "backslashreplace") for name in names[:NAMES])
        yield f"attributes {told}" + (", …" if len(names) > NAMES else "")
