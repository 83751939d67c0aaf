"""What a session has of the library: it searches it, and keeps what its steps made.

What a step made is a candidate on the first shelf, and stands and falls with the step: an undo of the step retracts it,
a redo brings it back. Both are in the session's ledger.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mulligan.policies.policy import Policy
from mulligan.policies.requests import RequestPattern
from mulligan.runtime.effects import Effect
from mulligan.runtime.library.contract import Contract, Example, Needs, Provenance
from mulligan.runtime.library.errors import RoutineBroken, RoutineRefused
from mulligan.runtime.library.harvest import Candidate, harvest
from mulligan.runtime.library.library import Found, Library
from mulligan.runtime.library.routine import Routine, make_routine
from mulligan.runtime.library.use import Uses
from mulligan.runtime.step import Step
from mulligan.runtime.timeline import Timeline
from mulligan.sandbox.errors import MulliganError

_RAN = ("completed", "raised", "timed_out")
_REQUEST = re.compile(r"([A-Z]{1,16}) (https?://[^/?#\s]{1,300})")


@dataclass(frozen=True, slots=True)
class Kept:
    """What became a candidate, and by name why the rest did not."""

    routines: tuple[Routine, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Whence:
    """What a session tells of itself: its id, its timeline, the effects of a step, and how it notes something in its
    ledger."""

    session: str
    timeline: Callable[[], Timeline]
    effects: Callable[[int], Sequence[Effect]]
    note: Callable[[str, dict[str, Any]], None]


class Keeping:
    """Used on the session's thread alone."""

    def __init__(self, library: Library, policy: Policy, whence: Whence, uses: Uses) -> None:
        self.library = library
        self._uses = uses
        self._policy = policy
        self._whence = whence
        #: of each step, what it made: name, version, and where it lies, or lay before it was retracted
        self._made: dict[int, list[tuple[str, int, str]]] = {}
        self._retracted: set[int] = set()

    def search(self, text: str, k: int) -> tuple[Found, ...]:
        return tuple(self.library.search(text, k, self._policy))

    def keep(self, step: int | None, names: Sequence[str], known: Mapping[str, Any]) -> Kept:
        """Raises StepUnknown; RoutineRefused for a step that did not complete or was undone, and for a name of `names`
        that the step does not make."""
        timeline = self._whence.timeline()
        node = timeline.node(timeline.cursor if step is None else step)
        if node.kind != "completed" or node.id not in timeline.path(timeline.cursor):
            why = "was undone" if node.kind == "completed" else f"did not complete: it is {node.kind}"
            raise RoutineRefused(f"step {node.id} {why}", hint="keep the routines of a step that stands")
        found = harvest(_sources(timeline, node.id))
        if unknown := set(names) - {each.name for each in found.candidates}:
            name = min(unknown)
            why = found.refused.get(name, "is no function or class of its top level")
            raise RoutineRefused(
                f"{name!r} of step {node.id} {why}", hint="define it so that it needs no more"
            )
        kept: list[Routine] = []
        refused = dict(found.refused)
        for candidate in found.candidates:
            if names and candidate.name not in names:
                continue
            shelved = self._shelve(candidate, node.id, timeline, known)
            if isinstance(shelved, str):
                refused[candidate.name] = shelved
            else:
                kept.append(shelved)
        self._note(node.id, kept, refused)
        return Kept(tuple(kept), refused)

    def follow(self, step: Step, keep: bool) -> None:
        """After a step that completed or raised. Nobody waits for it, so what went wrong is noted."""
        try:
            self._uses.follow(step.action.source, step.outcome)
            if keep and step.outcome.ok:
                self.keep(step.id, (), {})
        except MulliganError as error:
            self._whence.note("unkept", {"of": step.id, "why": error.message})

    def _shelve(
        self, candidate: Candidate, step: int, timeline: Timeline, known: Mapping[str, Any]
    ) -> Routine | str:
        if alike := self.library.alike(candidate.likeness):
            return f"is there already, as {alike!r}"
        for shelf in self.library.shelves[1:]:
            if any(row.name == candidate.name for row in shelf.rows()):
                return f"would hide the routine of that name on {shelf.folder}: give it another name"
        after = [each for each in timeline.path(timeline.cursor) if each >= step]
        used = [each for each in after if re.search(rf"\b{candidate.name}\b", timeline.nodes[each].source)]
        effects = [each for one in used for each in self._whence.effects(one) if not each.denied]
        given = [call for call in known.get("examples", ()) if call.startswith(f"{candidate.name}(")]
        contract = Contract(
            name=candidate.name,
            needs=Needs(network=_requests(effects), packages=dict.fromkeys(candidate.modules, "")),
            effects=tuple(dict.fromkeys(str(each)[:500] for each in effects if each.stands))[:20],
            provenance=Provenance(
                session=self._whence.session,
                step=step,
                model=str(known.get("model", ""))[:200],
                prompt=str(known.get("prompt", ""))[:200],
            ),
            routines=candidate.routines[:50],
            examples=tuple(
                Example(call=call[:4000]) for call in dict.fromkeys((*given, *candidate.examples))
            )[:50],
            tags=tuple(str(each)[:100] for each in known.get("tags", ()))[:50],
        )
        try:
            return self.library.shelves[0].propose(make_routine(contract, candidate.text))
        except RoutineBroken as error:
            return error.message

    def _note(self, step: int, kept: Sequence[Routine], refused: Mapping[str, str]) -> None:
        self._made.setdefault(step, []).extend((each.name, each.version, "candidates") for each in kept)
        told = {
            "routines": [f"{each.name} {each.version}" for each in kept],
            "refused": dict(list(refused.items())[:100]),
        }
        self._whence.note("kept", {"of": step, **told})

    def moved(self) -> None:
        """The cursor moved: what steps made that no longer stand is retracted, and what stands again is put back."""
        timeline = self._whence.timeline()
        standing = set(timeline.path(timeline.cursor))
        shelf = self.library.shelves[0]
        for step in [each for each in self._made if each not in standing and each not in self._retracted]:
            places = [shelf.retract(name, version) for name, version, _ in reversed(self._made[step])]
            made = zip(self._made[step], reversed(places), strict=True)
            self._made[step] = [
                (name, version, place) for (name, version, _), place in made if place is not None
            ]
            self._retracted.add(step)
            self._whence.note(
                "retracted", {"of": step, "routines": [f"{each[0]} {each[1]}" for each in self._made[step]]}
            )
        for step in sorted(self._retracted & standing):
            self._made[step] = [each for each in self._made[step] if shelf.bring_back(*each)]
            self._retracted.remove(step)
            self._whence.note(
                "kept", {"of": step, "routines": [f"{each[0]} {each[1]}" for each in self._made[step]]}
            )


def _sources(timeline: Timeline, step: int) -> list[str]:
    """What ran on the way to a step, since the kernel was last started anew."""
    nodes = [timeline.nodes[each] for each in timeline.path(step)[1:]]
    fresh = max((at + 1 for at, node in enumerate(nodes) if node.fresh), default=0)
    return [node.source for node in nodes[fresh:] if node.kind in _RAN]


def _requests(effects: Sequence[Effect]) -> tuple[str, ...]:
    """What a policy would have to allow, as its rules spell it: method and host, any path."""
    lines: dict[str, None] = {}
    for effect in effects:
        found = _REQUEST.match(effect.what)
        line = f"{found[1]} {found[2].removeprefix('https://')}/**" if found else ""
        try:
            RequestPattern.parse(line)
        except ValueError:
            continue
        lines.setdefault(line)
    return tuple(lines)[:50]


class SessionLibrary:
    """A session's `library`: from any thread, in turn with its other calls."""

    def __init__(
        self,
        keeping: Keeping,
        do: Callable[[Callable[[], Any]], Any],
        later: Callable[[Callable[[], Any]], Any],
    ) -> None:
        self._keeping, self._do, self._later = keeping, do, later
        #: whether what each step that completes makes is kept by itself
        self.automatic = False

    def search(self, text: str, k: int = 10) -> tuple[Found, ...]:
        """The k routines that fit best, those that this session may use before the others; none where none fits."""
        return tuple(self._do(lambda: self._keeping.search(text, k)).result())

    def keep(
        self,
        step: int | None = None,
        *names: str,
        examples: Sequence[str] = (),
        tags: Sequence[str] = (),
        model: str = "",
        prompt: str = "",
    ) -> Kept:
        """Make candidates of the functions and classes of a step (of the last one, when None), or of those that are
        named. `examples` are calls, as text, for their trial.

        Raises StepUnknown, RoutineRefused, ShelfUnusable.
        """
        known = {"examples": examples, "tags": tags, "model": model, "prompt": prompt}
        kept: Kept = self._do(lambda: self._keeping.keep(step, names, known)).result()
        return kept

    def follow(self, step: Future[Step]) -> None:
        """Called with each step that is to come."""
        step.add_done_callback(self._stepped)

    def _stepped(self, step: Future[Step]) -> None:
        """On the session's thread, which follows the step when it has told it."""
        if step.cancelled() or step.exception() is not None:
            return
        if step.result().outcome.kind in ("completed", "raised"):
            with suppress(RuntimeError):  # closed meanwhile
                self._later(partial(self._keeping.follow, step.result(), self.automatic))
