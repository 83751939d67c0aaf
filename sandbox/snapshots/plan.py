"""What a restore has to do, from what differs. Pure: it touches nothing.

The hard part is hard links. Paths that share an inode form a group, now and in the target. For each group of
the target one existing inode is claimed, if any of its paths has one of the right kind that no other group
claimed before: that path leads, its inode is kept, and the group's other paths are linked to it. So `ln a b`,
undone, leaves `a` with the inode that processes have open.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from mulligan.sandbox.snapshots.entry import Change, Entry, Kind


@dataclass(slots=True)
class Plan:
    remove: list[bytes] = field(default_factory=list)  #: deepest first
    folders: list[bytes] = field(default_factory=list)  #: to be made, parents first
    rewrite: list[bytes] = field(default_factory=list)  #: files that keep their inode and get another content
    make: list[bytes] = field(default_factory=list)
    link: dict[bytes, bytes] = field(
        default_factory=dict
    )  #: path to be made -> the path it is another name of
    settle: list[bytes] = field(default_factory=list)  #: all in the target that are no folders

    @classmethod
    def of(cls, changes: Iterable[Change]) -> Plan:
        ordered = {change.path: change for change in sorted(changes, key=lambda change: change.path)}
        plan = cls()
        claimed: set[bytes] = set()
        for change in ordered.values():
            if change.after is None:
                plan.remove.append(change.path)
            elif change.after.kind is Kind.FOLDER:
                plan._folder(change)
            else:
                names = _group(change.path, change.after)
                members = [ordered[name] for name in names if name in ordered]
                if members[0] is change:
                    plan._inode(members, claimed)
        plan.remove.sort(reverse=True)
        return plan

    def _folder(self, change: Change) -> None:
        if change.before is not None and change.before.kind is Kind.FOLDER:
            return
        if change.before is not None:
            self.remove.append(change.path)
        self.folders.append(change.path)

    def _inode(self, members: list[Change], claimed: set[bytes]) -> None:
        """Plan the paths that share one inode in the target; most often there is one."""
        leader = next((m for m in members if _keepable(m) and _inode_now(m) not in claimed), None)
        if leader is None:
            leader = members[0]
            self._clear(leader)
            self.make.append(leader.path)
            kept = None
        else:
            kept = _inode_now(leader)
            claimed.add(kept)
            if (
                leader.before is not None
                and leader.after is not None
                and leader.before.data != leader.after.data
            ):
                self.rewrite.append(leader.path)
        for member in members:
            self.settle.append(member.path)
            if member is not leader and (kept is None or not _keepable(member) or _inode_now(member) != kept):
                self._clear(member)
                self.link[member.path] = leader.path

    def _clear(self, change: Change) -> None:
        if change.before is not None:
            self.remove.append(change.path)


def _group(path: bytes, entry: Entry) -> tuple[bytes, ...]:
    return entry.links or (path,)


def _inode_now(change: Change) -> bytes:
    """A name for the inode that a path has now."""
    assert change.before is not None
    return _group(change.path, change.before)[0]


def _keepable(change: Change) -> bool:
    """Whether the inode that the path has now can become the target's without being made anew."""
    before, after = change.before, change.after
    if before is None or after is None or before.kind is not after.kind:
        return False
    return before.kind is not Kind.SYMLINK or before.data == after.data
