"""Making a patch's edits in the user's folder, never through a symlink.

One file is replaced by writing a temporary name beside it, fsync, rename. The window between the last look at
a file and its rename is a few microseconds; an edit by the user that falls into it is lost from the folder, and
only there: Linux has no compare-and-rename.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

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


def write(
    theirs: Folder, patch: Patch, content: Callable[[Edit], Path], progress: Callable[[int, int], None]
) -> dict[bytes, str]:
    """Make the edits; `content` says where an edit's new content is. Returns the paths that were left as they
    were, with the reason: changed under our hands, or not ours to change. Any other failure is raised."""
    writer = _Writer(theirs, patch, content)
    order = [(writer.remove, edit) for edit in reversed(patch.edits) if edit.makes_way]
    order += [(writer.put, edit) for edit in patch.edits if edit.after is not None]
    for done, (act, edit) in enumerate(order):
        progress(done, len(order))
        writer.attempt(act, edit)
    writer.finish()
    progress(len(order), len(order))
    return writer.left


class _Changed(Exception):
    pass


class _Writer:
    def __init__(self, theirs: Folder, patch: Patch, content: Callable[[Edit], Path]) -> None:
        self.theirs, self.patch, self.content = theirs, patch, content
        self.left: dict[bytes, str] = {}

    def attempt(self, act: Callable[[Edit], None], edit: Edit) -> None:
        if edit.path in self.left:
            return
        try:
            act(edit)
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
                os.symlink(edit.after.content, self.patch.temporary, dir_fd=at)
                self._rename(at, name)
            elif existing is not None and same_content(edit.before, edit.after):
                _change_mode(at, name, os.O_RDONLY, edit.after.mode)
            else:
                self._file(at, name, edit, edit.after)

    def _file(self, at: int, name: bytes, edit: Edit, after: Entry) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        made = os.open(self.patch.temporary, flags, 0o600, dir_fd=at)
        try:
            source = os.open(self.content(edit), os.O_RDONLY | os.O_CLOEXEC)
            try:
                if transfer(source, made) != after.content:
                    raise OSError(errno.EIO, "the kept copy is damaged")
                self._attributes(at, name, made, source, after)
            finally:
                os.close(source)
            os.fsync(made)
            self._rename(at, name)
        except BaseException:
            _discard(at, self.patch.temporary)
            raise
        finally:
            os.close(made)

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

    def _rename(self, at: int, name: bytes) -> None:
        os.rename(self.patch.temporary, name, src_dir_fd=at, dst_dir_fd=at)

    def finish(self) -> None:
        """Folders' modes, deepest first, now that nothing more is put into them; then all names made durable."""
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


def _discard(at: int, name: bytes) -> None:
    try:
        os.unlink(name, dir_fd=at)
    except FileNotFoundError:
        return


def clear_temporary(theirs: Folder, patch: Patch) -> None:
    """Remove the temporary file that a crash may have left beside one of the paths."""
    for folder in {edit.path.rpartition(b"/")[0] for edit in patch.edits}:
        try:
            with theirs.at(folder) as at:
                _discard(at, patch.temporary)
        except (FileNotFoundError, NotADirectoryError):
            continue


def _sync_at(at: int) -> None:
    descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=at)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
