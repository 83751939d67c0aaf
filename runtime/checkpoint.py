"""A point that we can return to, and how: files from their snapshot, memory by waking a twin.

Where the twin is gone (it was thinned out, or killed), the nearest earlier one is woken and the actions since are
run again. That is not the same: time, randomness and identity differ. So it is said, and a replayed action that ends
otherwise than it did, or gives out something else, is named.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from mulligan.runtime.changes import FileChange, present
from mulligan.runtime.history import History
from mulligan.runtime.known import Known
from mulligan.runtime.replay import Replay, run_again
from mulligan.sandbox.confined import ROOT, Confined
from mulligan.sandbox.errors import SandboxLost, SnapshotError
from mulligan.sandbox.isolation import WRITABLE
from mulligan.sandbox.kernel import Fork, Kernel, TwinLost, WorkerLost
from mulligan.sandbox.messages import Event
from mulligan.sandbox.printable import one_line
from mulligan.sandbox.snapshots import Change, Entry, Snapshot, SnapshotStore
from mulligan.sandbox.snapshots.entry import compose

#: in trees of up to so many entries every entry is looked at: it costs no more than a few milliseconds, and finds
#: what watches cannot see (sandbox/snapshots/detector.py)
SMALL = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The state after step `step`. `twin` is None when memory was not captured; `stands` says in words what undo
    to here would not bring back, and `children` names the processes that were there; `rebuilt`: its memory goes back
    to a replay, and `differed` says what was otherwise in it; `anew`: the kernel is not ours, and a return starts it
    anew; `unseen` are folders nested too deep to be looked into; `duration` in seconds."""

    step: int
    snapshot: int
    twin: str | None
    stands: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    rebuilt: bool = False
    differed: tuple[str, ...] = ()
    anew: bool = False
    changes: tuple[Change, ...] = ()
    unseen: tuple[bytes, ...] = ()
    duration: float = 0.0


@dataclass(frozen=True, slots=True)
class Capture:
    """The half of a checkpoint that must be there before other code runs: files. `quiet`: nothing else can have
    changed them since; `started` in seconds, on the monotonic clock."""

    twin: str
    shot: Snapshot
    quiet: bool
    started: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Restoration:
    """What going back did. `restored` are paths whose contents or metadata were put back; `memory` says how the
    variables came back: "woken" (bit for bit), "replayed" (by running actions again) or "fresh".
    `stands` lists, in words, everything that could not be taken back; `taken_back` the calls of tools that were, each
    by its own inverse. `duration` in seconds."""

    step: int
    restored: tuple[FileChange, ...]
    memory: str
    stands: tuple[str, ...]
    duration: float
    taken_back: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return not self.stands


class Checkpoints:
    """Takes checkpoints and returns to them. Used by the session's thread alone."""

    def __init__(self, store: SnapshotStore, confined: Confined) -> None:
        self._store = store
        self._confined = confined
        self._known = Known()
        #: the steps whose files are gone, which nothing leads back to
        self.let_go: set[int] = set()
        self._names = 0
        #: files that may change through memory, which no watch and no time tells
        self._mapped: list[bytes] = []
        #: how many hard links had been asked for at the last three reports of the kernel (-1: not known), and whether
        #: a file is open under a name that it lost: what is written by such ways no watch tells
        self._links: tuple[int, ...] = (0, 0, 0)
        self._ghosts = False
        #: whether the kernel's present memory goes back to a replay
        self._rebuilt = False
        #: folders that are looked into at each checkpoint, whether a change of them was reported or not
        self.always: frozenset[bytes] = frozenset()
        #: told which step's action is about to be run again
        self.on_again: Callable[[int], None] = lambda step: None

    @property
    def _kernel(self) -> Kernel:
        return self._confined.kernel

    @property
    def _anew(self) -> bool:
        return bool(self._confined.other)

    def __contains__(self, step: int) -> bool:
        return step in self._known

    def __getitem__(self, step: int) -> Checkpoint:
        return self._known[step]

    def as_of_now(self, step: int) -> Checkpoint:
        """With what is known by now that a return would lack: files that the user changed beneath the session."""
        known = self._known[step]
        lost = self._store.lost(known.snapshot)
        said = (
            f"{_path(path)}: you changed it in your folder, and what it held was not kept"
            for path in lost[:20]
        )
        return replace(known, stands=(*known.stands, *said))

    def moved_to(self, confined: Confined) -> None:
        """The sandbox was replaced by a new one: no twin of the old one is left, but for the fresh kernel."""
        self._confined = confined
        self._links = (-1, -1, -1)
        for step, checkpoint in tuple(self._known.items()):
            twin = confined.root.name if checkpoint.twin == ROOT else None
            self._known[step] = replace(checkpoint, twin=twin)
        root = confined.root
        self._known[0] = replace(self._known[0], twin=root.name or None, children=root.children)

    def begin(self, looked_at: Callable[[int], None] | None = None) -> Checkpoint:
        """The state before any action; the twin of the fresh kernel was made when the sandbox opened. `looked_at` is
        called with the size of each entry that is read."""
        root = self._take_in(self._confined.root)
        shot = self._snapshot(looked_at)
        stands = root.stands + _too_deep(shot)
        self._known[0] = Checkpoint(
            step=0,
            snapshot=shot.id,
            twin=root.name or None,
            stands=stands,
            children=root.children,
            anew=self._anew,
            unseen=shot.beyond,
        )
        return self._known[0]

    def changes(self, before: Checkpoint, after: Checkpoint) -> tuple[Change, ...]:
        return self._store.diff(before.snapshot, after.snapshot)

    def files(self, step: int) -> Mapping[bytes, Entry]:
        """Every path after a step, as the store names it. Takes as long as there are files."""
        return self._store.entries(self._known[step].snapshot)

    def restart(self, step: int) -> Checkpoint:
        """End everything that runs and begin with a fresh kernel on the files as they are: the state after `step`.

        Raises SnapshotError, SandboxLost.
        """
        started = time.monotonic()
        halted = self._kernel.halt()
        self._note_links(halted.links)
        hidden = self._ghosts or self._linked() or bool(halted.left)
        shot = self._store.snapshot(
            mapped=self._mapped, folders=self.always, thorough=hidden or self._store.size <= SMALL
        )
        twin, said = self._start_fresh()
        root = self._known[0]
        self._rebuilt, self._mapped, self._ghosts = bool(said) and not self._anew, [], False
        stands = [f"process {name} could not be ended" for name in halted.left]
        stands += [*(_fate(child, ()) for child in root.children), *root.stands, *said, *_too_deep(shot)]
        self._known[step] = Checkpoint(
            step=step,
            snapshot=shot.id,
            twin=twin,
            stands=tuple(stands),
            rebuilt=self._rebuilt,
            anew=self._anew,
            changes=shot.changes,
            unseen=shot.beyond,
            duration=time.monotonic() - started,
        )
        return self._known[step]

    def _start_fresh(self) -> tuple[str | None, tuple[str, ...]]:
        """The name of the twin from which the kernel began, if there was one; and what is to be said of it."""
        try:
            return ROOT, self._kernel.restore(ROOT)
        except (TwinLost, WorkerLost):
            return None, self._confined.restart()

    def capture(self, twin: str) -> Capture:
        """The files as they are now, while the worker forks `twin`; when that is `quiet`, other code may run before
        `complete`. Raises SnapshotError when the files cannot be captured (a full disk)."""
        started = time.monotonic()
        self._kernel.begin(twin)
        try:
            shot = self._snapshot()
        except SnapshotError:
            fork = self._fork(twin)
            self._thaw(fork)
            if fork.name:
                self._kernel.discard([fork.name])
            raise
        return Capture(twin, shot, self._is_quiet(twin), started)

    def await_twin(self, capture: Capture, give_way: Callable[[], bool]) -> None:
        """Until `complete` has nothing to wait for, or `give_way` says, asked again at each ring, that it can wait."""
        with suppress(WorkerLost, SandboxLost):  # `complete` says what became of the twin
            self._kernel.await_fork(capture.twin, give_way)

    def complete(self, step: int, capture: Capture) -> Checkpoint:
        """The state after `step`, when its twin is there. A twin that cannot be made is no error: the checkpoint
        then has none, and says so. Raises SnapshotError, as `capture` does."""
        shot, fork = capture.shot, self._fork(capture.twin)
        changes, moving = shot.changes, not (capture.quiet or fork.frozen)
        if not capture.quiet:
            try:  # now that nothing moves, and that the ways to write are known of which no watch tells
                shot = self._snapshot()
            finally:
                self._thaw(fork)
            changes = compose(changes, shot.changes)
        checkpoint = Checkpoint(
            step=step,
            snapshot=shot.id,
            twin=fork.name or None,
            stands=fork.stands
            + _too_deep(shot)
            + ((_MOVING,) if moving else ())
            + ((_REBUILT,) if self._rebuilt else ()),
            children=fork.children,
            rebuilt=self._rebuilt,
            anew=self._anew,
            changes=changes,
            unseen=shot.beyond,
            duration=time.monotonic() - capture.started,
        )
        self._known[step] = checkpoint
        return checkpoint

    def _snapshot(self, looked_at: Callable[[int], None] | None = None) -> Snapshot:
        thorough = self._ghosts or self._linked() or self._store.size <= SMALL
        return self._store.snapshot(
            mapped=self._mapped, folders=self.always, thorough=thorough, looked_at=looked_at
        )

    def _linked(self) -> bool:
        """Whether a hard link may have been made since the report before the last: one that was asked for just before a
        report is made just after it.
        """
        return -1 in self._links or self._links[0] != self._links[-1]

    def _note_links(self, count: int) -> None:
        self._links = (*self._links[1:], count)

    def _is_quiet(self, twin: str) -> bool:
        try:
            return self._kernel.quiet(twin)
        except (WorkerLost, SandboxLost):
            return False  # `complete` says what became of the twin, and looks at the files once more

    def _thaw(self, fork: Fork) -> None:
        """Let go on what the fork has stopped. Where nobody answers any more, the next call finds out."""
        if fork.frozen:
            with suppress(WorkerLost, SandboxLost):
                self._kernel.thaw()

    def name_twin(self) -> str:
        """A name for the next twin, for the kernel to begin with it in good time."""
        self._names += 1
        return f"t{self._names}"

    def _fork(self, twin: str) -> Fork:
        """The twin that was begun; with an empty name where there could be none."""
        try:
            fork = self._kernel.forked(twin)
        except (WorkerLost, SandboxLost) as error:
            why = f"memory was not captured: {error.message}"
            fork = Fork("", (why,), (), (), True, (), -1, False, 0.0)
        if fork.name in fork.dead:  # it spoke, and ended before the supervisor's reply
            fork = replace(fork, name="", stands=(_ENDED, *fork.stands))
        return self._take_in(fork)

    def _take_in(self, fork: Fork) -> Fork:
        """What a fork tells of the ways to write that no watch tells of."""
        self.bury(fork.dead)
        self._ghosts = fork.ghosts
        self._note_links(fork.links)
        self._mapped = [inside for path in fork.mapped if (inside := _inside(path))]
        return fork

    def bury(self, dead: Sequence[str]) -> None:
        """These twins are gone."""
        if dead:
            self._known.bury(dead)

    def alias(self, step: int, of: int, stands: tuple[str, ...] | None = None) -> None:
        """The state after `step` is that after `of`: nothing of it is left. `stands`: what came of going back."""
        known = self._known[of]
        said = known.stands if stands is None else stands
        if step in self._known and (twin := self._known[step].twin) is not None:
            self._kernel.discard([twin])
        self._known[step] = replace(known, step=step, changes=(), duration=0.0, stands=said)

    def restore(
        self,
        step: int,
        way: Sequence[Replay],
        on_event: Callable[[Event], None],
        *,
        spare: bool = True,
        keep: bool = True,
        halted: Callable[[], None] = lambda: None,
    ) -> Restoration:
        """Go to the state after `step`. `way` are the actions from the root to it, oldest first. Processes that
        were there then go on, unless nothing is to be spared; the files as they are now are captured, unless they
        are not to be kept. `halted` is called when nothing of the code runs any more, before any file is restored.

        Raises SandboxLost when the sandbox is gone; the files are then untouched or at the target.
        """
        started = time.monotonic()
        target = self._known[step]
        stopped = self._kernel.halt(target.twin if spare else None)
        self._note_links(stopped.links)
        halted()
        hidden = self._ghosts or self._linked() or bool(stopped.kept)
        files = self._store.restore(target.snapshot, mapped=self._mapped, thorough=hidden, keep=keep)
        stands = [f"process {name} could not be ended" for name in stopped.left]
        fates = tuple(_fate(child, stopped.kept) for child in target.children)
        stands += fates
        if not spare:  # from now on they are not there
            self._known[step] = target = replace(target, children=(), stands=target.stands + fates)
        stands += [f"{_path(each.path)}: {each.why}" for each in files.stands]
        memory = "woken"
        try:
            if target.twin is None:
                raise TwinLost("its twin is gone")
            stands += self._kernel.restore(target.twin)
            stands += target.differed
            self._rebuilt = target.rebuilt
        except (TwinLost, WorkerLost):
            memory, said = self._start_anew() if self._anew else self._replay(target, way, on_event)
            stands += said
        stands += [line for line in target.stands if line not in stands]
        return Restoration(
            step=step,
            restored=present(files.changed),
            memory=memory,
            stands=tuple(stands),
            duration=time.monotonic() - started,
        )

    def _start_anew(self) -> tuple[str, list[str]]:
        """A kernel that is not ours: on the files that were just put back, and no action is run again."""
        self._mapped, self._ghosts = [], False
        return "fresh", list(self._confined.restart())

    def _replay(
        self, target: Checkpoint, way: Sequence[Replay], on_event: Callable[[Event], None]
    ) -> tuple[str, list[str]]:
        """Wake the nearest earlier twin and run again what came after; then the files once more, to the letter."""
        deadly: set[int] = set()
        while True:
            base, begun = self._wake_earlier(way)
            again = [each for each in way if each.step > base.step and each.step not in deadly]
            differing, killer = self._run_again(again, on_event)
            if killer is None:
                break
            deadly.add(killer)  # from the start, without it: what it left of the memory is gone
        files = self._store.restore(target.snapshot, mapped=self._mapped, thorough=True)
        self._rebuilt = base.rebuilt or bool(begun or again or deadly)
        differing = [*base.differed, *differing]
        differing += [
            f"step {step} ended the kernel when it was run again, and was left out" for step in sorted(deadly)
        ]
        self._know_again(target, (*begun, *differing))
        stands = [*begun, _REPLAYED.format(len(again))] if again else [*begun]
        stands += differing
        stands += [f"{_path(each.path)}: {each.why}" for each in files.stands]
        if begun or again or deadly:
            return "replayed", stands
        return ("fresh" if base.twin is None else "woken"), stands

    def _run_again(
        self, again: Sequence[Replay], on_event: Callable[[Event], None]
    ) -> tuple[list[str], int | None]:
        """How steps differed from the first time, in words; and the one that ended the kernel, if one did."""
        differing: list[str] = []
        for each in again:
            self.on_again(each.step)
            done = run_again(self._kernel, each, on_event)
            if done.deadly:
                return differing, each.step
            if done.says:
                differing.append(done.says)
        return differing, None

    def _know_again(self, target: Checkpoint, differed: tuple[str, ...]) -> None:
        """A twin for the memory that was rebuilt, so that the next return is quick; that it was rebuilt is kept, and
        how it differed."""
        twin = self.name_twin()
        self._kernel.begin(twin)
        fork = self._fork(twin)
        self._thaw(fork)
        stands = tuple(line for line in target.stands if line != _REBUILT)
        self._known[target.step] = replace(
            target,
            twin=fork.name or None,
            stands=stands + ((_REBUILT,) if self._rebuilt else ()),
            children=fork.children,
            rebuilt=self._rebuilt,
            differed=differed,
        )

    def _wake_earlier(self, way: Sequence[Replay]) -> tuple[Checkpoint, tuple[str, ...]]:
        """Wake the twin of the newest step on the way that has one, its files first; or start a fresh kernel, and what
        is to be said of that."""
        first = [] if way and way[0].fresh else [0]
        for step in [each.step for each in reversed(way)] + first:
            checkpoint = self._known.get(step)
            if checkpoint is None or checkpoint.twin is None:
                continue
            self._kernel.halt(checkpoint.twin)
            self._store.restore(checkpoint.snapshot)
            try:
                self._kernel.restore(checkpoint.twin)
            except (TwinLost, WorkerLost):
                self.bury([checkpoint.twin])
                if checkpoint.twin != ROOT:  # it may have left an heir that would end as it did
                    self._kernel.discard_by_and_by([checkpoint.twin])
                continue
            return checkpoint, ()
        base, said = self._known[0], tuple[str, ...]()
        if way and way[0].fresh:
            base = self._known.get(way[0].step, base)
            said = () if base.step else (_OTHER_FILES.format(way[0].step),)
        self._kernel.halt()
        self._store.restore(base.snapshot)
        return base, (*said, *self._confined.restart())

    def collect(
        self,
        history: History,
        here: int,
        announce: Callable[[Sequence[int]], None],
        give_way: Callable[[], bool],
    ) -> None:
        """Let go what nobody can go to, and the oldest where it is too much; never the checkpoint `here`. `announce` is
        told of the steps, before it is done. Raises SnapshotError, as `SnapshotStore.collect` does."""
        told: list[int] = []

        def tell(snapshots: tuple[int, ...]) -> None:
            told.extend(sorted(step for step, each in self._known.items() if each.snapshot in snapshots))
            announce(told)

        try:
            reach = {each.snapshot for each in self._known.values()}
            history.collect(reach, self._known[here].snapshot, tell, give_way)
        finally:  # what was told holds, also where it was not done
            self._forget(told)

    def _forget(self, steps: Sequence[int]) -> None:
        self.let_go.update(steps)
        gone = {self._known.pop(step).twin for step in steps}
        kept = {each.twin for each in self._known.values()}
        if twins := [twin for twin in gone - kept if twin is not None]:
            with suppress(SandboxLost):
                self._kernel.discard(twins)

    def thin(self, keep: int) -> list[int]:
        """Discard twins that are too many, but not that of `keep`; see `Known`. The steps whose twins went."""
        crowded, names = self._known.thin(keep)
        self._kernel.discard_by_and_by(names)
        return crowded


def _fate(child: str, kept: Sequence[str]) -> str:
    """What has become of a process, given as "PID COMMAND", that was there at the checkpoint."""
    pid = child.partition(" ")[0]
    alive = any(each.partition(" ")[0] == pid for each in kept)
    return f"process {child} " + ("goes on as it is" if alive else "has ended and does not come back")


_MOVING = (
    "files were captured while something else could write them: it was not stopped, for no twin was there"
)
_ENDED = "memory was not captured: its twin ended"
_REBUILT = "memory goes back to one that was rebuilt by running actions again"
_REPLAYED = (
    "memory was rebuilt by running {} action(s) again: what depends on time, chance or identity may differ"
)

_OTHER_FILES = (
    "the files that the restart at step {} began with were let go: "
    "actions were run again on those of the beginning"
)


def _too_deep(shot: Snapshot) -> tuple[str, ...]:
    return tuple(f"{_path(path)}: nested too deep to be kept" for path in shot.beyond[:20])


def _inside(path: bytes) -> bytes:
    """A path of the sandbox as the store names it; empty for one that is not the session's."""
    for name, place in WRITABLE.items():
        if path.startswith(place.encode() + b"/"):
            return name.encode() + path[len(place) :]
    return b""


def _path(path: bytes) -> str:
    return one_line(path.decode("utf-8", "backslashreplace"))
