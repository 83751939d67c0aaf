"""Carrying the workspace's changes to the user's real folder, and back.

Three-way, path by path: what the action made (`mine`), what both sides began with (`base`), what the user's
folder holds now. Where the user's side is still `base`, mine is written; where it is mine already, nothing is
to do; anything else is a conflict, listed with both sides' reasons, and that path is left exactly as it is.

What hostile code made is not all carried: sockets, pipes and devices, and new links that point out of the
folder, are conflicts; setuid, setgid and sticky bits, owners, times and xattrs stay behind (a file that is
replaced keeps its owner and its xattrs). Two names of one file become two files.

A revert is the same thing with the before-images as `mine`, so it can be reverted too; so is what happens
to a commit that a crash cut short. Folders' times are not given back. Commits to one folder wait for one
another (flock on the folder itself).
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from mulligan.policies.protection import NOTHING, Protection
from mulligan.runtime.errors import CommitFailed, WorkspaceInvalid
from mulligan.runtime.folder import Folder
from mulligan.runtime.outbox import Held
from mulligan.runtime.patch import DONE, INTENDED, Edit, Patch
from mulligan.runtime.threeway import Conflict, Original, Plan, Wish, changes, did, plan
from mulligan.runtime.workspace import UNREAD, Baseline
from mulligan.runtime.writing import clear_temporary, write

Progress = Callable[[int, int], None]
Refusal = Callable[[bytes, str], str | None]


@dataclass(frozen=True, slots=True)
class Applied:
    """A path that was written. `did` is "added", "changed", "removed", or "became a ..."."""

    path: bytes
    did: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What one commit, or one revert, did. `patch` is its folder in the journal, None where nothing was
    written; `baseline` is what the next commit must compare with. Of the requests that
    were held `sent` have left, and `databases` are the names of those that were committed with it (of a revert: had and
    were, and that stands); `held` wait on."""

    applied: tuple[Applied, ...]
    conflicts: tuple[Conflict, ...]
    patch: Path | None
    baseline: Baseline = field(repr=False)
    databases: tuple[str, ...] = ()
    sent: tuple[Held, ...] = ()
    held: tuple[Held, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBack:
    """A commit that a crash had cut short: what was restored in `source`, and what stands and why."""

    source: Path
    restored: tuple[Applied, ...]
    stands: tuple[Conflict, ...]


def commit(
    workspace: Path,
    baseline: Baseline,
    journal: Path,
    *,
    progress: Progress | None = None,
    protection: Protection = NOTHING,
    refusal: Refusal = lambda path, did: None,
    original: Original = lambda path: UNREAD,
) -> Commit:
    """Write what changed in `workspace` since `baseline` to the user's folder, but for what is protected and what
    `refusal` has a reason against, given a path and what was done to it.

    `original` gives the digest of a file that the baseline left unread; one that cannot be had equals no other.
    `journal` is a folder of the session's own, on the host. `progress` is called with (done, all) before each
    write and at the end. Raises `WorkspaceInvalid` where the folder is not the one that was staged, and
    `CommitFailed` where writing failed; everything was taken back then.
    """
    if baseline.source is None:
        hint = "open the session with workspace=FOLDER to have one"
        raise WorkspaceInvalid("this session has no folder to commit to", hint=hint)
    with (
        _locked(baseline.source, baseline.identity) as theirs,
        _new_patch(journal, theirs, baseline.source) as patch,
    ):
        with Folder.open(workspace) as ours:
            wishes, refused = changes(ours, baseline, patch.folder / "after", original)
        refused += [
            Conflict(wish.path, reason, "left as it is")
            for wish, reason in _kept_from(wishes, protection, refusal)
        ]
        refusals = {each.path for each in refused}
        wishes = [wish for wish in wishes if wish.path not in refusals]
        return _carry_out(theirs, patch, wishes, refused, baseline, progress)


def _kept_from(
    wishes: Sequence[Wish], protection: Protection, refusal: Refusal
) -> Iterator[tuple[Wish, str]]:
    for wish in wishes:
        if (glob := protection.glob_of(wish.path)) is not None:
            yield wish, f"{did(wish.base, wish.mine)}, and {glob!r} is protected"
        elif (reason := refusal(wish.path, did(wish.base, wish.mine))) is not None:
            yield wish, reason


def revert(done: Commit, baseline: Baseline, *, progress: Progress | None = None) -> Commit:
    """Take a commit back from the user's folder; a path that was changed there since is a conflict.

    `baseline` is the session's present one. Raises as `commit` does.
    """
    if done.patch is None:
        return Commit(applied=(), conflicts=(), patch=None, baseline=baseline)
    old = Patch.load(done.patch)
    with (
        _locked(old.source, old.identity) as theirs,
        _new_patch(old.folder.parent, theirs, old.source) as patch,
    ):
        return _carry_out(theirs, patch, _backwards(old), [], baseline, progress)


def recover(journal: Path) -> tuple[TakenBack, ...]:
    """Take back every commit that a crash cut short, newest first. May be repeated, and waits for one that is
    only running. Raises `WorkspaceInvalid` where the user's folder is gone, `CommitFailed` where it cannot be
    written; the record stays then, for another try."""
    if not journal.is_dir():
        return ()
    folders = sorted((folder for folder in journal.iterdir() if folder.name.isdigit()), reverse=True)
    return tuple(back for folder in folders if (back := _recover_one(folder)) is not None)


def _recover_one(folder: Path) -> TakenBack | None:
    patch = _loaded(folder)
    if patch is None or patch.state != INTENDED:
        return None
    with _locked(patch.source, patch.identity) as theirs:
        patch = _loaded(folder)  # it may have been finished while we waited
        if patch is None or patch.state != INTENDED:
            return None
        try:
            return _take_back(theirs, patch)
        except OSError as error:
            raise _failed(
                patch.source, error, "an earlier commit was cut short and is still to be taken back"
            ) from error


def _loaded(folder: Path) -> Patch | None:
    try:
        return Patch.load(folder)
    except FileNotFoundError:  # it never came to be recorded: nothing was written
        return None
    except (ValueError, KeyError, TypeError) as error:
        hint = "compare your folder with the images in its before/, then remove it"
        raise CommitFailed(f"the record of a commit is damaged: {folder}", hint=hint) from error


@contextmanager
def _locked(source: Path, identity: tuple[int, int]) -> Iterator[Folder]:
    hint = "nothing was written, the session's files are kept: put it back, or open a session on the new one"
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(Folder.open(source))
        except OSError as error:
            raise WorkspaceInvalid(
                f"the folder {source} is not there any more: {error.strerror}", hint=hint
            ) from error
        fcntl.flock(folder.descriptor, fcntl.LOCK_EX)
        if folder.identity != identity:
            raise WorkspaceInvalid(f"{source} is another folder than the one that was opened", hint=hint)
        yield folder


@contextmanager
def _new_patch(journal: Path, theirs: Folder, source: Path) -> Iterator[Patch]:
    """A patch to fill; its folder goes again unless it was recorded."""
    patch = Patch.new(journal, source, theirs.identity)
    try:
        yield patch
    except OSError as error:
        if isinstance(error, CommitFailed):
            raise
        raise _failed(source, error, "nothing was written") from error
    finally:
        if not (patch.folder / "record.json").exists():
            shutil.rmtree(patch.folder, ignore_errors=True)


def _backwards(patch: Patch, *, halfway: bool = False) -> list[Wish]:
    return [Wish(edit.path, edit.after, edit.before, patch.before(edit), halfway) for edit in patch.edits]


def _carry_out(
    theirs: Folder,
    patch: Patch,
    wishes: list[Wish],
    refused: list[Conflict],
    baseline: Baseline,
    progress: Progress | None,
) -> Commit:
    planned = plan(theirs, wishes, patch)
    left = _perform(theirs, patch, planned, wishes, progress) if planned.edits else {}
    made = [edit for edit in planned.edits if edit.path not in left]
    overtaken = [
        Conflict(edit.path, did(edit.before, edit.after), left[edit.path])
        for edit in planned.edits
        if edit.path in left
    ]
    agreed = {wish.path: wish.mine for wish in planned.settled} | {edit.path: edit.after for edit in made}
    return Commit(
        applied=tuple(Applied(edit.path, did(edit.before, edit.after)) for edit in made),
        conflicts=tuple(
            sorted([*refused, *planned.conflicts, *overtaken], key=lambda conflict: conflict.path)
        ),
        patch=patch.folder if made else None,
        baseline=baseline.with_changes(
            {path: entry and replace(entry, key=None) for path, entry in agreed.items()}
        ),
    )


def _perform(
    theirs: Folder, patch: Patch, planned: Plan, wishes: Sequence[Wish], progress: Progress | None
) -> dict[bytes, str]:
    patch = replace(patch, edits=planned.edits)
    patch.record()  # from here on, a crash is taken back by `recover`
    try:
        left = write(theirs, patch, _contents(wishes), progress or (lambda done, total: None))
        made = tuple(edit for edit in patch.edits if edit.path not in left)
        replace(patch, edits=made, state=DONE).record()
    except BaseException as error:
        _take_back_now(theirs, patch)
        if isinstance(error, OSError):
            raise _failed(patch.source, error, "everything was taken back") from error
        raise
    shutil.rmtree(patch.folder / "after", ignore_errors=True)
    return left


def _take_back_now(theirs: Folder, patch: Patch) -> None:
    try:
        _take_back(theirs, patch)
    except OSError as error:
        raise _failed(patch.source, error, "it is partly written; the next session takes it back") from error


def _take_back(theirs: Folder, patch: Patch) -> TakenBack:
    """Idempotent: the record stays until everything is back, so a crash here leads here again."""
    clear_temporary(theirs, patch)
    wishes = _backwards(patch, halfway=True)
    planned = plan(theirs, wishes, None)
    left = write(theirs, replace(patch, edits=planned.edits), _contents(wishes), lambda done, total: None)
    (patch.folder / "record.json").unlink()
    shutil.rmtree(patch.folder, ignore_errors=True)
    stands = [Conflict(path, "not taken back", reason) for path, reason in left.items()]
    made = [edit for edit in planned.edits if edit.path not in left]
    return TakenBack(
        source=patch.source,
        restored=tuple(Applied(edit.path, did(edit.before, edit.after)) for edit in made),
        stands=(*planned.conflicts, *stands),
    )


def _contents(wishes: Sequence[Wish]) -> Callable[[Edit], Path]:
    by_path = {wish.path: wish.content for wish in wishes}

    def content(edit: Edit) -> Path:
        path = by_path[edit.path]
        assert path is not None
        return path

    return content


def _failed(source: Path, error: OSError, state: str) -> CommitFailed:
    name = ascii(error.filename) + ": " if error.filename else ""
    hint = "free some space or give access, then commit again"
    return CommitFailed(f"could not commit to {source}: {name}{error.strerror}; {state}", hint=hint)
