"""What went from one name to another: removed here, and the same added there.

A folder went as a whole when all that was in it is, under the same names, in one that was not there before. Files and
links went when their contents are the same; one that is empty, when its time is too. Contents that were edited on the
way are told as removed and added.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from mulligan.sandbox.snapshots import Change, Entry, Kind

#: changes among which renames are looked for
MOST = 50_000

Entries = Mapping[bytes, Entry]
Found = tuple[bytes, Entry]
Groups = dict[Hashable, list[Found]]


@dataclass(frozen=True, slots=True)
class Renamed:
    """`inside` are the paths that went along with a folder, as they were and as they are."""

    before: bytes
    after: bytes
    inside: tuple[tuple[bytes, bytes], ...] = ()


def find_renames(changes: Iterable[Change]) -> tuple[Renamed, ...]:
    changes = tuple(changes)
    if len(changes) > MOST:
        return ()
    removed = {change.path: change.before for change in changes if change.before and not change.after}
    added = {change.path: change.after for change in changes if change.after and not change.before}
    found = list(_folders(removed, added))
    for renamed in found:
        for was, now in ((renamed.before, renamed.after), *renamed.inside):
            removed.pop(was)
            added.pop(now)
    return (*found, *_pair(_by(removed, _content), _by(added, _content)))


def _folders(removed: Entries, added: Entries) -> Iterator[Renamed]:
    """The outermost first; what is in one that went as a whole is not looked at again."""
    before, after = _Trees(removed), _Trees(added)
    gone = _by({path: removed[path] for path in before.whole}, lambda path, entry: before.digest(path))
    come = _by({path: added[path] for path in after.whole}, lambda path, entry: after.digest(path))
    taken: set[bytes] = set()
    for one in sorted(_pair(gone, come), key=lambda renamed: renamed.before):
        if taken & {one.before, one.after}:
            continue
        inside = tuple((path, one.after + path[len(one.before) :]) for path in before.below(one.before))
        paths = {one.before, one.after, *(path for pair in inside for path in pair)}
        if not taken & paths:
            yield Renamed(one.before, one.after, inside)
            taken |= paths


class _Trees:
    """The folders among some entries, what is in them, and a digest of that."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        self._in: dict[bytes, list[bytes]] = defaultdict(list)
        self._digests: dict[bytes, bytes] = {}
        for path in sorted(entries, reverse=True):  # what is in a folder comes before the folder
            self._in[_above(path)].append(path)
            self._digests[path] = self._digest(path)
        self.whole = [path for path in entries if entries[path].kind is Kind.FOLDER and self._in.get(path)]

    def digest(self, path: bytes) -> bytes:
        return self._digests[path]

    def below(self, folder: bytes) -> Iterator[bytes]:
        todo = [folder]
        while todo:
            inside = self._in.get(todo.pop(), ())
            yield from inside
            todo += inside

    def _digest(self, path: bytes) -> bytes:
        entry = self._entries[path]
        hasher = hashlib.blake2b(
            repr((entry.kind, entry.mode, entry.size, entry.data)).encode(), digest_size=16
        )
        for inside in self._in.get(path, ()):
            hasher.update(repr(inside.rpartition(b"/")[2]).encode() + self._digests[inside])
        return hasher.digest()


def _content(path: bytes, entry: Entry) -> Hashable:
    """What two files that are one have in common; None for what cannot be told from others."""
    if entry.kind is Kind.SYMLINK or (entry.kind is Kind.FILE and entry.size):
        return entry.kind, entry.size, entry.data
    return (entry.kind, entry.mtime_ns) if entry.kind is Kind.FILE else None


def _by(entries: Entries, key: Callable[[bytes, Entry], Hashable]) -> Groups:
    groups: Groups = defaultdict(list)
    for path, entry in entries.items():
        if (of := key(path, entry)) is not None:
            groups[of].append((path, entry))
    return groups


def _pair(removed: Groups, added: Groups) -> Iterator[Renamed]:
    """Among those with one content, first those with one time and name, then with one of these, then in order."""
    for key in removed:
        gone, left = removed[key], added.get(key, [])
        for likeness in (_time_and_name, _time, _name, _nothing):
            gone, left, pairs = _match(gone, left, likeness)
            yield from pairs


def _match(
    gone: list[Found], left: list[Found], likeness: Callable[[Found], Hashable]
) -> tuple[list[Found], list[Found], list[Renamed]]:
    """Those of both that found no partner, and the pairs."""
    waiting: dict[Hashable, deque[Found]] = defaultdict(deque)
    for found in left:
        waiting[likeness(found)].append(found)
    alone, pairs = [], []
    for found in gone:
        if partners := waiting[likeness(found)]:
            pairs.append(Renamed(found[0], partners.popleft()[0]))
        else:
            alone.append(found)
    return alone, [found for partners in waiting.values() for found in partners], pairs


def _time_and_name(found: Found) -> Hashable:
    return _time(found), _name(found)


def _time(found: Found) -> Hashable:
    return found[1].mtime_ns


def _name(found: Found) -> Hashable:
    return found[0].rpartition(b"/")[2]


def _nothing(found: Found) -> Hashable:
    return None


def _above(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]
