"""Three-way comparison: what the workspace changed, and which of it may be written to the user's folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mulligan.runtime.folder import (
    Entry,
    Folder,
    Kind,
    key_of,
    kind_of,
    permissions,
    points_outside,
    same,
    same_content,
)
from mulligan.runtime.patch import Edit, Patch
from mulligan.runtime.workspace import UNREAD, Baseline

#: the digest of a file of the baseline that was not read, by its path: of what it held then
Original = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Conflict:
    """A path that was left as it is in the user's folder; what each side did to it, in words."""

    path: bytes
    ours: str
    theirs: str


@dataclass(frozen=True, slots=True)
class Wish:
    """`mine` is to be where `base` was. `content` holds a file's bytes. `halfway`: a crash may have left the
    path in between the two."""

    path: bytes
    base: Entry | None
    mine: Entry | None
    content: Path | None = None
    halfway: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    edits: tuple[Edit, ...]
    settled: tuple[Wish, ...]
    conflicts: tuple[Conflict, ...]


def changes(
    ours: Folder, baseline: Baseline, after: Path, original: Original
) -> tuple[list[Wish], list[Conflict]]:
    """What the workspace holds that the baseline does not; contents are copied to the folder `after`, so
    that nothing which goes on running in the sandbox can change them afterwards. `original` gives the digests of what
    the baseline did not read."""
    wishes: list[Wish] = []
    refused: dict[bytes, str] = {}
    seen: set[bytes] = set()

    def left_out(path: bytes, folder: bool) -> bool:
        if (glob := baseline.excluded.glob_of(path, folder=folder)) is not None:
            refused[path] = f"{glob!r} is excluded from the session"
        return glob is not None

    for path, status in ours.walk(lambda path, error: refused.update({path: _unreadable(error)}), left_out):
        seen.add(path)
        base = baseline.entries.get(path)
        if base is not None and _untouched(base, status):
            continue
        base = _read_now(path, base, original)
        kept = after / str(len(wishes))
        try:
            mine = _sanitised(ours.read(path, kept))
        except OSError as error:
            refused[path] = _unreadable(error)
            continue
        if same(mine, base):
            kept.unlink(missing_ok=True)
        elif (reason := _unwritable(path, mine, baseline)) is not None:
            refused[path] = reason
        else:
            wishes.append(Wish(path, base, mine, kept))
    gone = [path for path in baseline.entries if path not in seen and not _hidden(path, refused)]
    wishes += [Wish(path, _read_now(path, baseline.entries[path], original), None) for path in gone]
    seen_whole = [wish for wish in wishes if wish.path not in refused]
    return seen_whole, [Conflict(path, reason, "left as it is") for path, reason in refused.items()]


def _read_now(path: bytes, base: Entry | None, original: Original) -> Entry | None:
    if base is None or base.kind is not Kind.FILE or base.content != UNREAD:
        return base
    return replace(base, content=original(path))


def _untouched(base: Entry, status: os.stat_result) -> bool:
    if base.kind is Kind.FOLDER or base.kind is not kind_of(status):
        return base.kind is kind_of(status) and permissions(base) == status.st_mode & 0o777
    return base.key == key_of(status)


def _sanitised(mine: Entry | None) -> Entry | None:
    """Without what is not carried: special bits, owner, times."""
    return mine and replace(mine, mode=permissions(mine), owner=None, mtime_ns=None, key=None)


def _unwritable(path: bytes, mine: Entry | None, baseline: Baseline) -> str | None:
    if mine is None:
        return None
    if mine.kind is Kind.OTHER:
        return f"is a {mine.kind}: only files, folders and links are written"
    outside = mine.kind is Kind.LINK and points_outside(path, mine.content)
    if outside and (path, mine.content) not in baseline.outside:
        return "is a link that points outside the workspace"
    return None


def _hidden(path: bytes, refused: dict[bytes, str]) -> bool:
    """Whether it could not be seen if this path is still there."""
    parts = path.split(b"/")
    return any(b"/".join(parts[:depth]) in refused for depth in range(len(parts)))


def plan(theirs: Folder, wishes: Sequence[Wish], patch: Patch | None) -> Plan:
    """Compare with the user's side; its files are kept in the patch's `before/`, where there is a patch."""
    edits: list[Edit] = []
    settled: list[Wish] = []
    conflicts: list[Conflict] = []
    for number, wish in enumerate(sorted(wishes, key=lambda wish: wish.path)):
        keep = None if patch is None else patch.folder / "before" / str(number)
        try:
            found = theirs.read(wish.path, keep)
        except OSError as error:
            conflicts.append(Conflict(wish.path, did(wish.base, wish.mine), _unreadable(error)))
            continue
        if same(found, wish.mine):
            settled.append(wish)
        elif same(found, wish.base) or (wish.halfway and _between(found, wish)):
            edits.append(Edit(path=wish.path, before=found, after=wish.mine, number=number))
        else:
            conflicts.append(Conflict(wish.path, did(wish.base, wish.mine), did(wish.base, found)))
    possible, blocked = _possible(theirs, edits)
    return Plan(possible, tuple(settled), (*conflicts, *blocked))


def _between(found: Entry | None, wish: Wish) -> bool:
    """A folder whose mode was still to come, or nothing, where one kind was to make way for another."""
    if found is None or wish.base is None:
        return (
            found is None
            and wish.mine is not None
            and wish.base is not None
            and wish.base.kind is not wish.mine.kind
        )
    return found.kind is Kind.FOLDER is wish.base.kind


def _possible(theirs: Folder, edits: Sequence[Edit]) -> tuple[tuple[Edit, ...], list[Conflict]]:
    """Without the edits that need what another one could not have: an empty folder, or a folder to be in."""
    blocked: dict[bytes, str] = {}
    going: set[bytes] = set()
    for edit in reversed(edits):
        if not edit.makes_way:
            continue
        if _holds_more(theirs, edit, going):
            blocked[edit.path] = "holds what is not to be removed"
        else:
            going.add(edit.path)
    by_path = {edit.path: edit for edit in edits}
    for edit in edits:
        folder = edit.path.rpartition(b"/")[0]
        above = None if folder in blocked else by_path.get(folder)
        if edit.after is not None and edit.path not in blocked and not _is_folder(theirs, folder, above):
            blocked[edit.path] = "the folder that it would be in is not there"
    conflicts = [
        Conflict(edit.path, did(edit.before, edit.after), blocked[edit.path])
        for edit in edits
        if edit.path in blocked
    ]
    return tuple(edit for edit in edits if edit.path not in blocked), conflicts


def _holds_more(theirs: Folder, edit: Edit, going: set[bytes]) -> bool:
    if edit.before is None or edit.before.kind is not Kind.FOLDER:
        return False
    try:
        return any(path not in going for path, _ in theirs.children(edit.path))
    except PermissionError:
        return True


def _is_folder(theirs: Folder, folder: bytes, edit: Edit | None) -> bool:
    if edit is not None:
        return edit.after is not None and edit.after.kind is Kind.FOLDER
    status = theirs.status(folder) if folder else os.fstat(theirs.descriptor)
    return status is not None and kind_of(status) is Kind.FOLDER


def did(before: Entry | None, after: Entry | None) -> str:
    if before is None or after is None:
        return "removed" if after is None else "added"
    if before.kind is not after.kind:
        return f"became a {after.kind}"
    return "changed" if not same_content(before, after) else "changed in mode"


#: What says something about one path, which is then passed over: its rights, its depth, or that it changed meanwhile.
_OF_ONE_PATH = frozenset(
    (errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.ENXIO, errno.ENOENT, errno.ENOTDIR)
)


def _unreadable(error: OSError) -> str:
    """Why a path is passed over. What is not about that path, such as a full disk, is raised again."""
    if error.errno not in _OF_ONE_PATH:
        raise error
    return f"could not be read: {error.strerror}"
