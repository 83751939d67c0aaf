"""Making a patch's edits in the user's folder, never through a symlink.

One file is replaced by writing a temporary name beside it, fsync, rename. Waiting for the disk once a file is
what a commit of many would spend its time on, so files are written in batches: all contents, all fsyncs at once,
then the renames. The window between the last look at a file and its rename is still a few microseconds; an edit
by the user that falls into it is lost from the folder, and only there: Linux has no compare-and-rename.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mulligan.runtime.durable import sync_open
from mulligan.runtime.folder import (
    Entry,
    Folder,
    Kind,
    copy_xattrs,
    key_of,
    kind_of,
    permissions,
    same,
    same_content,
    transfer,
)
from mulligan.runtime.patch import Edit, Patch

#: files, and bytes, that are written before they are synced and renamed together; each holds two descriptors
BATCH, BATCH_BYTES = 64, 64 << 20


def write(
    theirs: Folder, patch: Patch, content: Callable[[Edit], Path], progress: Callable[[int, int], None]
) -> dict[bytes, str]:
    """Make the edits; `content` says where an edit's new content is. Returns the paths that were left as they
    were, with the reason: changed under our hands, or not ours to change. Any other failure is raised."""
    order = [(_Writer.remove, edit) for edit in reversed(patch.edits) if edit.makes_way]
    order += [(_Writer.put, edit) for edit in patch.edits if edit.after is not None]
    with _Writer(theirs, patch, content) as writer:
        for done, (act, edit) in enumerate(order):
            progress(done, len(order))
            writer.attempt(act, edit)
            writer.rename_full_batch()
        writer.finish()
    progress(len(order), len(order))
    return writer.left


class _Changed(Exception):
    pass


@dataclass(frozen=True, slots=True)
class _Written:
    """A new content under its temporary name in the open folder `at`; it is still to be renamed."""

    at: int
    made: int
    size: int

    def close(self) -> None:
        os.close(self.at)
        os.close(self.made)


class _Writer:
    """A context manager: what it wrote and did not rename is removed at the end."""

    def __init__(self, theirs: Folder, patch: Patch, content: Callable[[Edit], Path]) -> None:
        self.theirs, self.patch, self.content = theirs, patch, content
        self.left: dict[bytes, str] = {}
        self._batch: dict[Edit, _Written] = {}

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        while self._batch:
            edit, written = self._batch.popitem()
            with suppress(OSError):  # what stays is found by `clear_temporary`
                os.unlink(self._temporary(edit), dir_fd=written.at)
            written.close()

    def attempt(self, act: Callable[[_Writer, Edit], None], edit: Edit) -> None:
        if edit.path in self.left:
            return
        try:
            act(self, edit)
        except _Changed:
            self.left[edit.path] = "changed while it was being committed"
        except OSError as error:
            expected = (errno.EACCES, errno.EPERM, errno.ENOTEMPTY, errno.ENOENT, errno.ENOTDIR)
            if error.errno not in expected or not same(self.theirs.read(edit.path), edit.before):
                raise OSError(error.errno, error.strerror, edit.path) from error
            self.left[edit.path] = str(error.strerror)

    def remove(self, edit: Edit) -> None:
        with self.theirs.parent(edit.path) as (at, name):
            _expect(at, name, edit.before)
            if edit.before is not None and edit.before.kind is Kind.FOLDER:
                os.rmdir(name, dir_fd=at)
            else:
                os.unlink(name, dir_fd=at)

    def put(self, edit: Edit) -> None:
        assert edit.after is not None
        with self.theirs.parent(edit.path) as (at, name):
            existing = _expect(at, name, None if edit.makes_way else edit.before)
            if edit.after.kind is Kind.FOLDER:
                if existing is None:
                    os.mkdir(name, 0o700, dir_fd=at)
            elif edit.after.kind is Kind.LINK:
                os.symlink(edit.after.content, self._temporary(edit), dir_fd=at)
                os.rename(self._temporary(edit), name, src_dir_fd=at, dst_dir_fd=at)
            elif existing is not None and same_content(edit.before, edit.after):
                _change_mode(at, name, os.O_RDONLY, edit.after.mode)
            else:
                self._file(at, name, edit, edit.after)

    def _file(self, at: int, name: bytes, edit: Edit, after: Entry) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        made = os.open(self._temporary(edit), flags, 0o600, dir_fd=at)
        written = self._batch[edit] = _Written(os.dup(at), made, after.size)
        source = os.open(self.content(edit), os.O_RDONLY | os.O_CLOEXEC)
        try:
            if transfer(source, written.made) != after.content:
                raise OSError(errno.EIO, "the kept copy is damaged")
            self._attributes(at, name, written.made, source, after)
        finally:
            os.close(source)

    def _attributes(self, at: int, name: bytes, made: int, source: int, after: Entry) -> None:
        """The user's own file gets back what it had; one that an action wrote takes after the file it replaces."""
        if after.owner is not None and after.mtime_ns is not None:
            copy_xattrs(source, made)
            _give(made, after.owner)
            os.fchmod(made, after.mode)
            os.utime(made, ns=(after.mtime_ns, after.mtime_ns))
            return
        existing = _look(at, name)
        if existing is not None and stat.S_ISREG(existing.st_mode):
            replaced = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
            copy_xattrs(replaced, made)
            os.close(replaced)
            _give(made, (existing.st_uid, existing.st_gid))
        else:
            _give_like_folder(made, at)
        os.fchmod(made, permissions(after))

    def _temporary(self, edit: Edit) -> bytes:
        return b"%s-%d" % (self.patch.temporary, edit.number)

    def rename_full_batch(self) -> None:
        size = sum(written.size for written in self._batch.values())
        if len(self._batch) >= BATCH or size >= BATCH_BYTES:
            self._rename_batch()

    def _rename_batch(self) -> None:
        """Only what is on the disk is given its name."""
        sync_open([written.made for written in self._batch.values()])
        for edit in self._batch:
            self.attempt(_Writer._rename, edit)
        self.__exit__()

    def _rename(self, edit: Edit) -> None:
        with self.theirs.parent(edit.path) as (at, name):
            _expect(at, name, None if edit.makes_way else edit.before)
            os.rename(self._temporary(edit), name, src_dir_fd=self._batch[edit].at, dst_dir_fd=at)

    def finish(self) -> None:
        """The last batch; folders' modes, deepest first, now that nothing more is put into them; then all names
        made durable."""
        self._rename_batch()
        for edit in reversed(self.patch.edits):
            if edit.after is not None and edit.after.kind is Kind.FOLDER and edit.path not in self.left:
                with self.theirs.parent(edit.path) as (at, name):
                    _finish_folder(at, name, edit.after, new=edit.before is None or edit.makes_way)
        for folder in {edit.path.rpartition(b"/")[0] for edit in self.patch.edits}:
            try:
                with self.theirs.at(folder) as at:
                    _sync_at(at)
            except (FileNotFoundError, NotADirectoryError):
                continue


def _expect(at: int, name: bytes, planned: Entry | None) -> os.stat_result | None:
    """What is there, if it is what was there when we planned. A folder's own ctime moves with what is in it."""
    found = _look(at, name)
    if found is None or planned is None:
        if (found is None) != (planned is None):
            raise _Changed
        return found
    if kind_of(found) is not planned.kind:
        raise _Changed
    if planned.key is not None and planned.kind is not Kind.FOLDER and key_of(found) != planned.key:
        raise _Changed
    return found


def _look(at: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _finish_folder(at: int, name: bytes, after: Entry, *, new: bool) -> None:
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
    try:
        if new:
            _give(descriptor, after.owner) if after.owner else _give_like_folder(descriptor, at)
        special = (
            stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o7000
            if after.owner is None
            else after.mode & 0o7000
        )
        os.fchmod(descriptor, special | permissions(after))
    finally:
        os.close(descriptor)


def _change_mode(at: int, name: bytes, flags: int, mode: int) -> None:
    descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    try:
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def _give(descriptor: int, owner: tuple[int, int]) -> None:
    status = os.fstat(descriptor)
    if (status.st_uid, status.st_gid) != owner:
        os.fchown(descriptor, *owner)


def _give_like_folder(descriptor: int, at: int) -> None:
    """What root makes in a user's folder belongs to that user."""
    if os.geteuid() == 0:
        folder = os.fstat(at)
        _give(descriptor, (folder.st_uid, folder.st_gid))


def clear_temporary(theirs: Folder, patch: Patch) -> None:
    """Remove the temporary files that a crash may have left beside the paths."""
    for folder in {edit.path.rpartition(b"/")[0] for edit in patch.edits}:
        try:
            with theirs.at(folder) as at:
                found = [path.rpartition(b"/")[2] for path, _ in theirs.children(folder)]
                for name in found:
                    if name.startswith(patch.temporary):
                        os.unlink(name, dir_fd=at)
        except (FileNotFoundError, NotADirectoryError):
            continue


def _sync_at(at: int) -> None:
    descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=at)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
