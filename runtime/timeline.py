"""The tree of steps and the cursor, as a pure fold over ledger entries. Nothing is ever taken out of it.

    kind            step  body
    "opened"        0     {}
    "proposed"      n     {source, proposer, why, parent}          fresh: true where it is a restart
    "typed"         n     {answers}             what it was given when it asked for input; null for a password
    "settled"       n     {outcome: {kind, duration, ...}}
    "checkpointed"  n     {snapshot, twin, changes, reach}
    "discarded"     n     {}                    its twin was dropped to bound memory
    "let_go"        n     {why}                 its files and its twin were dropped to bound the disk
    "moved"         -     {cursor, by}          by: "undo", "redo", "goto", "reset" or "revert"
    "committed"     -     {...}

Other kinds are for other readers and pass by. The cursor moves to a step when it settles with an outcome that
leaves its work in place (completed, raised, timed out); where a refused, lost or reverted step leaves the session
is where it was before. A "moved" entry has the last word. A step that was proposed and never settled is shown as
"lost" once the fold ends with a later step or opening: its process died with it.

Redo follows the line that was undone. Moving to an ancestor keeps the way back, moving along that way shortens
it, and a new step or a move to elsewhere forgets it. A move by "revert" keeps nothing: it takes back a step that
should not have been.
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mulligan.runtime.errors import LedgerDamaged, NothingToRedo, NothingToUndo, StepLetGo, StepUnknown
from mulligan.runtime.ledger import Entry

RUNNING, LOST = "running", "lost"
_STANDS = frozenset({"completed", "raised", "timed_out"})
LET_GO = "were let go to stay within resources.history"
_WIDTH = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One step. `kind` is its outcome's, or "running"; `duration` is in seconds; `discarded`: its twin is gone;
    `let_go`: so are its files, and nothing leads back to it; `fresh`: its kernel knows nothing of the steps before;
    `typed` is what it was given when it asked for input."""

    id: int
    parent: int | None
    source: str
    kind: str = RUNNING
    proposer: str = ""
    why: str = ""
    duration: float = 0.0
    outcome: Mapping[str, Any] = field(default_factory=dict, repr=False)
    snapshot: Any = None
    twin: Any = None
    changes: Any = None
    reach: Any = None
    checkpointed: bool = False
    discarded: bool = False
    let_go: bool = False
    fresh: bool = False
    typed: tuple[str | None, ...] = ()


_ROOT = Node(id=0, parent=None, source="session opened", kind="opened")


@dataclass(frozen=True, slots=True)
class Timeline:
    cursor: int = 0
    nodes: Mapping[int, Node] = field(default_factory=lambda: {0: _ROOT}, repr=False)
    forward: tuple[int, ...] = ()
    commits: int = 0

    @classmethod
    def read(cls, entries: Iterable[Entry]) -> Timeline:
        """Raises `LedgerDamaged` for entries that make no tree."""
        return cls().extended(entries)

    def extended(self, entries: Iterable[Entry]) -> Timeline:
        """The timeline after these further entries."""
        fold = Fold(self)
        for entry in entries:
            fold.add(entry)
        return fold.timeline()

    def node(self, id: int) -> Node:
        """Raises `StepUnknown`, which names the nearest id there is."""
        if id in self.nodes:
            return self.nodes[id]
        near = difflib.get_close_matches(str(id), map(str, self.nodes), n=1, cutoff=0.5)
        nearest = near[0] if near else min(self.nodes, key=lambda known: abs(known - id))
        raise StepUnknown(
            f"no step {id!r}", hint=f"the nearest is {nearest}; steps go from 0 to {max(self.nodes)}"
        )

    def path(self, id: int) -> tuple[int, ...]:
        """Ids from the root to this step, both included."""
        line = [self.node(id).id]
        while (parent := self.nodes[line[-1]].parent) is not None:
            line.append(parent)
        return tuple(reversed(line))

    def snapshot_of(self, id: int) -> tuple[int, int]:
        """The snapshot of the files after a step, and whose it is: its own, or that of its latest forerunner whose
        files were captured. Raises `StepUnknown`; `StepLetGo`; `LedgerDamaged` where there is none."""
        for step in reversed(self.path(id)):
            if self.nodes[step].let_go:
                raise self.gone(id)
            snapshot = self.nodes[step].snapshot
            if isinstance(snapshot, int):
                return snapshot, step
        raise LedgerDamaged("no snapshot was ever recorded", hint="the session ended before it was open")

    def gone(self, id: int) -> StepLetGo:
        """Why there is no way back to this step, or to the one whose files it shares, and to where there is."""
        path = self.path(id)
        whose = next((step for step in reversed(path) if self.nodes[step].let_go), id)
        before = next((step for step in reversed(path) if self._is_kept(step)), 0)
        after = next((step for step in sorted(self.nodes) if step > id and self._is_kept(step)), None)
        hint = f"what is left before it is step {before}: undo(to={before}) or goto({before})"
        if after is not None:
            hint += f"; after it step {after}: goto({after})"
        return StepLetGo(f"there is no way back to step {id}: the files of step {whose} {LET_GO}", hint=hint)

    def _is_kept(self, id: int) -> bool:
        return self.nodes[id].checkpointed and not self.nodes[id].let_go

    def children(self, id: int) -> tuple[Node, ...]:
        self.node(id)
        return tuple(node for node in self.nodes.values() if node.parent == id)

    def common_ancestor(self, a: int, b: int) -> int:
        """The nearest step that both come from; a step comes from itself."""
        return [one for one, other in zip(self.path(a), self.path(b), strict=False) if one == other][-1]

    def distance(self, a: int, b: int) -> int:
        """Moves along the tree from one step to the other."""
        common = len(self.path(self.common_ancestor(a, b)))
        return len(self.path(a)) + len(self.path(b)) - 2 * common

    def undo_target(self, n: int = 1) -> int:
        """Where undoing n steps leads. Raises `NothingToUndo` where there are not as many."""
        line = self.path(self.cursor)
        if not 1 <= n < len(line):
            hint = (
                f"at most {len(line) - 1} can be undone here"
                if len(line) > 1
                else "this is the session's beginning"
            )
            raise NothingToUndo(f"cannot undo {n} step(s) from step {self.cursor}", hint=hint)
        return line[-1 - n]

    def redo_target(self, n: int = 1) -> int:
        """Where redoing n undone steps leads. Raises `NothingToRedo`."""
        if not 1 <= n <= len(self.forward):
            hint = f"at most {len(self.forward)} can be redone; goto(step) reaches every other step"
            raise NothingToRedo(f"cannot redo {n} step(s) from step {self.cursor}", hint=hint)
        return self.forward[n - 1]

    def __str__(self) -> str:
        """The tree as plain text, a step a line; a straight line of steps is not indented."""
        return "\n".join(_lines(self))


class Fold:
    """A timeline that grows, so that n entries cost n. One thread adds to it, and any may ask for what it is now."""

    def __init__(self, start: Timeline) -> None:
        self.nodes = dict(start.nodes)
        self.cursor, self.forward, self.commits = start.cursor, start.forward, start.commits
        self._lock = threading.Lock()
        self._told: Timeline | None = None

    def timeline(self) -> Timeline:
        with self._lock:
            if self._told is None:
                self._told = Timeline(self.cursor, dict(self.nodes), self.forward, self.commits)
            return self._told

    def add(self, entry: Entry) -> None:
        """Raises `LedgerDamaged` for one that makes no sense here."""
        with self._lock:
            self._told = None
            self._add(entry)

    def _add(self, entry: Entry) -> None:
        try:
            match entry.kind:
                case "opened":
                    self._lose_running()
                case "proposed":
                    self._propose(self._step(entry), entry.body)
                case "typed":
                    answers = entry.body["answers"]
                    typed = tuple(each if isinstance(each, str) else None for each in answers)
                    self._update(self._step(entry), typed=typed)
                case "settled":
                    self._settle(self._step(entry), entry.body["outcome"])
                case "checkpointed":
                    known = {name: entry.body.get(name) for name in ("snapshot", "twin", "changes", "reach")}
                    self._update(self._step(entry), checkpointed=True, discarded=False, **known)
                case "discarded":
                    self._update(self._step(entry), discarded=True)
                case "let_go":
                    self._update(self._step(entry), let_go=True)
                case "moved":
                    self._move(int(entry.body["cursor"]), str(entry.body["by"]))
                case "committed":
                    self.commits += 1
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LedgerDamaged(
                f"entry {entry.id} ({entry.kind}) of the ledger makes no sense: {error!r}"
            ) from error

    def _step(self, entry: Entry) -> int:
        if entry.step is None:
            raise ValueError("it names no step")
        return entry.step

    def _propose(self, step: int, body: Mapping[str, Any]) -> None:
        parent = int(body["parent"])
        if step in self.nodes or parent not in self.nodes:
            raise ValueError(f"step {step} after step {parent}")
        self._lose_running()
        proposer, why = str(body.get("proposer") or ""), str(body.get("why") or "")
        self.nodes[step] = Node(
            id=step,
            parent=parent,
            source=str(body["source"]),
            proposer=proposer,
            why=why,
            fresh=body.get("fresh") is True,
        )

    def _lose_running(self) -> None:
        """Steps run one at a time, so one that is unsettled when another begins has died; only the newest can be."""
        newest = self.nodes[next(reversed(self.nodes))]
        if newest.kind == RUNNING:
            self.nodes[newest.id] = replace(newest, kind=LOST)

    def _settle(self, step: int, outcome: Mapping[str, Any]) -> None:
        kind = str(outcome["kind"])
        self._update(step, kind=kind, duration=float(outcome.get("duration", 0.0)), outcome=outcome)
        if kind in _STANDS:
            self.cursor, self.forward = step, ()

    def _update(self, step: int, **changes: Any) -> None:
        self.nodes[step] = replace(self.nodes[step], **changes)

    def _move(self, to: int, by: str) -> None:
        left = self._below(to)
        if by == "revert":
            self.forward = ()
        elif to in self.forward:
            self.forward = self.forward[self.forward.index(to) + 1 :]
        elif left is not None:
            self.forward = left + self.forward
        else:
            self.forward = ()
        self.cursor = self.nodes[to].id

    def _below(self, ancestor: int) -> tuple[int, ...] | None:
        """The steps from just below `ancestor` to the cursor; None where it is no ancestor of the cursor."""
        line: list[int] = []
        at: int | None = self.cursor
        while at is not None and at != ancestor:
            line.append(at)
            at = self.nodes[at].parent
        return None if at is None else tuple(reversed(line))


def headline(text: str, width: int = _WIDTH) -> str:
    """The first line that says something, at most `width` characters, with everything unprintable escaped, so
    that no terminal acts on it. A cut is marked by an ellipsis."""
    lines = [line for line in text[: 64 * width].split("\n") if line.strip()]
    first = lines[0].strip() if lines else ""
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in first[:width]
    )
    cut = len(lines) > 1 or len(first) > width or len(shown) > width or len(text) > 64 * width
    return shown[: width - 1] + "…" if cut and len(shown) >= width else shown + " …" * cut


def _lines(timeline: Timeline) -> Iterator[str]:
    """Depth first without recursion. The last child goes on in its parent's column, the others are set in."""
    children: dict[int, list[int]] = {}
    for node in timeline.nodes.values():
        if node.parent is not None:
            children.setdefault(node.parent, []).append(node.id)
    waiting = [(0, "", "")]
    while waiting:
        id, first, rest = waiting.pop()
        yield _line(timeline.nodes[id], first, here=id == timeline.cursor)
        below = children.get(id, [])
        waiting += [(last, rest, rest) for last in below[-1:]]
        waiting += [(branch, rest + "├─ ", rest + "│  ") for branch in reversed(below[:-1])]


def _line(node: Node, lead: str, *, here: bool) -> str:
    took = f"{node.duration * 1000:.0f} ms" if node.duration < 1 else f"{node.duration:.1f} s"
    facts = [headline(node.kind, 12), *([took] if node.duration else []), headline(node.source)]
    facts += ["(files let go)"] if node.let_go else []
    return f"{'→' if here else ' '} {lead}{node.id:<3} " + "  ".join(facts)
