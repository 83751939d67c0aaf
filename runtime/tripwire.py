"""Tripwires: the first write to a protected path ends the action that is running, while it runs.

watchdog reads inotify on the host's side of the workspace: what is created, changed, deleted, moved or given other
attributes; opening and reading say nothing. The first that is protected is kept, and rings for the session's thread.

It is never the only judge. Its queue can overflow, folders that come quickly are watched late, a user's watches can run
out, and a store through a memory map reports nothing. So `story.py` also judges what really changed, before anyone
is told of the outcome: the wire makes that early, not sure.

Of watchdog, its reader is used and not its observer. That one walks the tree by paths, which hostile code can make
lead out of the workspace while it is walked, lets an exception end its thread, and says nothing of a folder that it
could not watch. Here each folder is reached by descriptors, and what cannot be watched is said.

The queue has one order, so a mark of our own tells when all from before it was heard: at the end of an action, before
it is judged, and after we have put files back ourselves, which trips the wire too and is then forgotten. Sessions that
protect nothing have none, and do not import watchdog.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchDescriptor,
)

from mulligan.policies.decision import Finding
from mulligan.policies.judge import Touched, protected
from mulligan.policies.protection import Protection
from mulligan.sandbox.isolation import Bound, Enforcement

#: folders that may be nested in one another and still be watched: each new one is looked through to its end
DEEPEST = 100
#: seconds in which the reader should come to our mark; a flood of events may keep it longer
SETTLING = 1.0

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHANGE = Mask(
    InotifyConstants.IN_CREATE
    | InotifyConstants.IN_MODIFY
    | InotifyConstants.IN_ATTRIB
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_MOVE
    | InotifyConstants.IN_ONLYDIR
)

logging.getLogger("watchdog").addHandler(logging.NullHandler())  # what it has to say, `blind` says


class Tripwire:
    """Used by the session's thread; `ring` is called on another one, and must only wake it."""

    def __init__(self, workspace: Path, protection: Protection, ring: Callable[[], None]) -> None:
        self._workspace = workspace
        self._protection = protection
        self._holding: dict[bytes, bytes] = {}
        self._ring = ring
        self._wire: _Wire | None = None
        self._undrawn = "it is not drawn"

    def draw(self, existing: Iterable[bytes]) -> None:
        """Begin to watch, with nothing tripped. Where that cannot be, `blind` says why. `existing` are the protected
        paths that there are: a folder that holds one is not to be moved or removed either."""
        self._holding = {folder: path for path in existing for folder in _above(path)}
        self._draw()

    def _draw(self) -> None:
        self.take_down()
        try:
            self._wire = _Wire(self._workspace, self._objection, self._ring)
        except OSError as error:
            self._undrawn = error.strerror or str(error)

    def settle(self) -> None:
        """Until what was done so far has been heard of. Where that takes too long, with a new wire."""
        if self._wire is not None and not self._wire.settled():
            self._draw()

    def forget(self) -> None:
        """What was done so far does not count, and what could not be watched may be there no more."""
        self.settle()
        if self._wire is None or self._wire.blind:
            self._draw()
        else:
            self._wire.tripped = None

    def take_down(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    @property
    def tripped(self) -> Finding | None:
        """The objection to the first protected change since the wire was drawn."""
        return self._wire.tripped if self._wire is not None else None

    @property
    def blind(self) -> str:
        """Why not everything is watched; empty where everything is."""
        return self._undrawn if self._wire is None else self._wire.blind

    def bound(self) -> Bound:
        """For the session's report."""
        how = "an action is ended at the first write that is noticed, and judged at its end by what changed"
        if self.blind:
            how = (
                f"an action is judged at its end by what changed; the tripwire does not see all: {self.blind}"
            )
        return Bound(enforcement=Enforcement.SUPERVISED, how=how)

    def _objection(self, path: bytes, did: str) -> Finding | None:
        if did in ("moved", "removed") and path in self._holding:
            return protected(self._protection, Touched(self._holding[path], did))
        return protected(self._protection, Touched(path, did))


class _Wire:
    """The watches, from being drawn to being taken down; watchdog calls the `on_` methods on its reader's thread."""

    def __init__(
        self, root: Path, objection: Callable[[bytes, str], Finding | None], ring: Callable[[], None]
    ) -> None:
        """Raises OSError where the user can have no more inotify instances, or the root cannot be watched."""
        self._objection = objection
        self._ring = ring
        self._folders: dict[WatchDescriptor, tuple[bytes, CallbackId]] = {}
        self._ids = itertools.count()
        self._closed = False
        self.tripped: Finding | None = None
        self.blind = ""
        self._heard = threading.Event()
        with ExitStack() as resources:
            self._root = os.open(root, _FOLDER)
            resources.callback(os.close, self._root)
            self._mark = os.memfd_create("mulligan-tripwire")
            resources.callback(os.close, self._mark)
            self._reader = InotifyFD()
            self._reader.start()
            resources.callback(self._reader.join)
            resources.callback(self._reader.stop)
            self._mark_watch = self._reader.add_callback(
                _path(self._mark), Mask(InotifyConstants.IN_ATTRIB), self, CallbackId(next(self._ids))
            )
            self._watch(b"", new=False)
            self._resources = resources.pop_all()

    def close(self) -> None:
        self._closed = True
        self._resources.close()

    def settled(self) -> bool:
        self._heard.clear()
        os.fchmod(self._mark, 0o600)
        return self._heard.wait(SETTLING)

    def on_event(self, event: InotifyEvent) -> None:
        if event.wd == self._mark_watch:
            return self._heard.set()
        if self._closed or event.wd not in self._folders:
            return
        path = _join(self._folders[event.wd][0], event.name)
        self._notice(path, _did(event))
        if event.is_directory and event.name and (event.is_create or event.is_moved_to):
            self._watch(path, new=True)

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        self._folders.pop(wd, None)

    def on_queue_overflow(self) -> None:
        """What was lost, the judgement at the end sees; folders that came meanwhile are watched again."""
        self._watch(b"", new=False)

    def _notice(self, path: bytes, did: str) -> None:
        if self.tripped is None and (found := self._objection(path, did)) is not None:
            self.tripped = found
            self._ring()

    def _watch(self, top: bytes, *, new: bool) -> None:
        """Watch a folder with all in it. What is in a `new` one may have come before its watch: it is noticed."""
        try:
            fd = _open_below(self._root, top)
        except OSError:
            return  # it went again, or a link took its place
        try:
            for folder, names, files, at in os.fwalk(b".", dir_fd=fd):
                path = _join(top, folder[2:])
                self._add(path, at)
                if path.count(b"/") >= DEEPEST and names:
                    self._miss(f"folders are nested more than {DEEPEST} deep")
                    names.clear()
                for name in (*names, *files) if new else ():
                    self._notice(_join(path, name), "added")
        except OSError as error:
            self._miss(error.strerror or str(error))
        finally:
            os.close(fd)

    def _add(self, path: bytes, fd: int) -> None:
        """A folder that moved is met again under its new path, and keeps its watch."""
        id = CallbackId(next(self._ids))
        try:
            wd = self._reader.add_callback(_path(fd), _CHANGE, self, id)
        except OSError as error:
            return self._miss(error.strerror or str(error))
        if wd < 0:
            return self._miss("a folder may not be read")
        if wd in self._folders:
            self._reader.remove_callbacks([(wd, self._folders[wd][1])])
        self._folders[wd] = path, id

    def _miss(self, why: str) -> None:
        self.blind = self.blind or why


def _did(event: InotifyEvent) -> str:
    if event.is_move:
        return "moved"
    if event.is_create:
        return "added"
    return "removed" if event.is_delete else "changed"


def _join(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder and name else folder or name


def _above(path: bytes) -> Iterable[bytes]:
    parts = path.split(b"/")
    return (b"/".join(parts[:depth]) for depth in range(1, len(parts)))


def _path(fd: int) -> bytes:
    return b"/proc/self/fd/%d" % fd


def _open_below(root: int, path: bytes) -> int:
    """A folder, reached without following a link."""
    fd = os.dup(root)
    for name in path.split(b"/") if path else ():
        above = fd
        try:
            fd = os.open(name, _FOLDER, dir_fd=above)
        finally:
            os.close(above)
    return fd
