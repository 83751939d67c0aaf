"""A trial: a routine's examples run in a fresh session that may do no more than its contract says.

Each call is made twice, each time from a clean kernel and clean files, the second time in another order and with other
random numbers. What it gives is told as text, by a rule of ours inside, and compared as text: nothing is unpickled, and
no object comes out. Numbers, texts, None and collections of these are spelt as Python spells them, sets in order; of an
iterator the first items are; anything else is its `repr`, without addresses.

What a trial shows is that the routine did once what it is said to do. It does not show that it always will: whoever
wrote it may have written it so that it behaves when it is tried. Nothing rests on that (rights.py, offer.py).
"""

from __future__ import annotations

import ast
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mulligan.policies.loading import find_policy
from mulligan.policies.policy import RULES, Policy
from mulligan.runtime.library.contract import TEXT, Example
from mulligan.runtime.library.errors import RoutineRefused
from mulligan.runtime.library.library import Library
from mulligan.runtime.library.rights import SECTIONS, everything_by_name, lacking
from mulligan.runtime.library.routine import Routine
from mulligan.runtime.library.scopes import UNPARSABLE
from mulligan.runtime.library.shelf import CANDIDATES, FORCE, Shelf
from mulligan.sandbox.printable import one_line

if TYPE_CHECKING:
    from mulligan.runtime.session import Session

#: seconds that one call may take
PATIENCE = 20.0

#: run inside: `_told(value)` is what a call gave, as text
_TELLING = """
def _told(value, _most={most}):
    import hashlib, itertools, re
    def spell(v, deep):
        if v is None or type(v) in (bool, int, float, complex, str, bytes):
            return repr(v)
        if deep > 8:
            return "..."
        if type(v) in (list, tuple):
            inner = ", ".join(spell(each, deep + 1) for each in v[:1000])
            return f"[{{inner}}]" if type(v) is list else f"({{inner}},)"
        if type(v) in (set, frozenset):
            return "{{" + ", ".join(sorted(spell(each, deep + 1) for each in v)) + "}}"
        if type(v) is dict:
            return "{{" + ", ".join(f"{{spell(a, 9)}}: {{spell(b, deep + 1)}}" for a, b in v.items()) + "}}"
        if hasattr(v, "__next__"):
            return f"iterator {{spell(list(itertools.islice(v, 50)), deep + 1)}}"
        return re.sub(r"0x[0-9a-f]{{6,}}", "0x...", repr(v))
    text = spell(value, 0).encode("ascii", "backslashreplace").decode()
    digest = hashlib.sha256(text.encode()).hexdigest()
    return text if len(text) <= _most else f"{{text[: _most - 80]}}... {{digest}}"
"""
_CALL = """
try:
    _given = {wait}({call})
    _given = _told(_given)
except Exception as _error:
    _given = "raises " + ascii(f"{{type(_error).__name__}}: {{_error}}"[:200])[1:-1]
_given
"""
_VERSIONS = """
import importlib.metadata as _m, json as _j
_found = _m.packages_distributions()
_j.dumps({{name: _m.version(_found[name][0]) for name in {names} if _found.get(name)}})
"""


@dataclass(frozen=True, slots=True)
class Trial:
    """`passed`: it was imported, and its examples gave what they should. `flaky`: they did not twice give the same.
    `said` is in words. `examples` have what they gave, where nothing was recorded before."""

    passed: bool
    flaky: bool
    said: str
    examples: tuple[Example, ...] = ()
    packages: tuple[tuple[str, str], ...] = ()

    @property
    def convincing(self) -> bool:
        """Whether a rule may trust it for this: at least one example, each the same twice."""
        return self.passed and not self.flaky and bool(self.examples)


def try_routine(
    library: Library,
    name: str,
    *,
    policy: Policy | str = "locked",
    trust: bool = False,
    state: Path | None = None,
    **how: Any,
) -> Trial:
    """Try what is proposed under this name, or what is in force, and write on the shelf what came of it. With `trust`
    one that convinces is put in force. `how` is for `mulligan.open`: isolation, image, python.

    Raises RoutineUnknown; RoutineRefused for one that needs more than `policy` allows, and for one that was changed
    meanwhile.
    """
    shelf, routine, place = find_for_trial(library, name)
    granted = _granted(policy, routine)
    trial = _tried(library, routine, granted, state, how)
    needs = replace(
        routine.contract.needs, packages={**routine.contract.needs.packages, **dict(trial.packages)}
    )
    why = routine.contract.why if trial.passed else f"its trial failed: {trial.said}"
    changes = {
        "examples": trial.examples or routine.contract.examples,
        "flaky": trial.flaky,
        "tried": trial.said[:TEXT],
    }
    state_now = {} if trial.passed or routine.state != "trusted" else {"state": "candidate"}
    noted = shelf.note(routine, place, needs=needs, why=why[:TEXT], **changes, **state_now)
    if trust and trial.convincing:
        shelf.trust(name, "its trial convinced", trial.said[:TEXT], noted)
    return trial


def find_for_trial(library: Library, name: str) -> tuple[Shelf, Routine, str]:
    """What is proposed on the first shelf that has it so; else what is in force."""
    for place in (CANDIDATES, FORCE):
        for shelf in library.shelves:
            if any(row.name == name for row in shelf.rows(place)):
                return shelf, shelf.get(name, place), place
    shelf, routine = library.find(name)  # raises, and says how
    return shelf, routine, FORCE


def _granted(policy: Policy | str, routine: Routine) -> Policy:
    """As much of a policy as the routine says that it needs, and no secret."""
    whole = everything_by_name(find_policy(policy) if isinstance(policy, str) else policy)
    needs = {section: getattr(routine.contract.needs, section) for section in SECTIONS}
    if why := lacking(whole, routine.name, needs):
        raise RoutineRefused(
            f"{routine.name} cannot be tried: {why}", hint="give a policy that allows it: --policy FILE"
        )
    narrowed: dict[str, Any] = {"secrets": {}}
    for section, lines in needs.items():
        kind = RULES[section]
        allowing = (kind.model_validate({"allow": list(lines)}),) if lines else ()
        others = tuple(rule for rule in getattr(whole, section) if str(rule.decision) != "allow")
        narrowed[section] = allowing + others if lines else ()
    return whole.model_copy(update=narrowed)


def _tried(
    library: Library, routine: Routine, policy: Policy, state: Path | None, how: dict[str, Any]
) -> Trial:
    from mulligan.runtime.session import open_session

    calls = [each.call for each in routine.contract.examples]
    if wrong := next((call for call in calls if not _is_call(call, routine.name)), None):
        return Trial(False, False, f"its example {one_line(wrong)[:200]!r} is no call of it")
    with tempfile.TemporaryDirectory(prefix="mulligan-trial-") as beside:
        own = Path(beside, "shelf")
        with Shelf.open(
            own, Path(beside), create=True
        ) as shelf:  # where it counts as trusted, for itself alone
            shelf.propose(routine)
            shelf.trust(routine.name, "for its trial", "")
        folders = (own, *(each.folder for each in library.shelves))
        with open_session(library=folders, policy=policy, state=Path(beside), **how) as session:
            return _Run(session, routine).both()


class _Run:
    def __init__(self, session: Session, routine: Routine) -> None:
        self._session = session
        self._routine = routine

    def both(self) -> Trial:
        calls = [each.call for each in self._routine.contract.examples]
        started = time.monotonic()
        failed, first = self._once(calls)
        if failed:
            return Trial(False, False, failed)
        packages = self._versions()
        self._session.reset()
        self._session.run("import os as _os, random as _random\n_random.seed(_os.urandom(16))")
        failed, second = self._once(calls[::-1])
        if failed:
            return Trial(False, True, f"the second time: {failed}")
        return self._judged(first, second[::-1], packages, time.monotonic() - started)

    def _judged(
        self,
        first: Sequence[str],
        second: Sequence[str],
        packages: tuple[tuple[str, str], ...],
        seconds: float,
    ) -> Trial:
        examples, wrong = [], []
        for example, gave in zip(self._routine.contract.examples, first, strict=True):
            if example.gives and example.gives != gave:
                wrong.append(f"{example.call} gave {gave[:200]} and not {example.gives[:200]}")
            elif not example.gives and gave.startswith("raises "):
                wrong.append(f"{example.call} {gave[:200]}")
            examples.append(example if example.gives else Example(call=example.call, gives=gave))
        if wrong:
            return Trial(False, False, one_line("; ".join(wrong))[:TEXT])
        flaky = [call.call for call, a, b in zip(examples, first, second, strict=True) if a != b]
        count = f"{len(examples)} example{'s' * (len(examples) > 1)}, twice, in {seconds:.1f} s"
        said = count if examples else "it was imported; it has no examples"
        if flaky:
            said = one_line(f"not twice the same: {'; '.join(flaky)}")[:TEXT]
        return Trial(True, bool(flaky), said, tuple(examples), packages)

    def _once(self, calls: Sequence[str]) -> tuple[str, list[str]]:
        """Why it failed, or what each call gave."""
        begun = self._session.run(
            f"from actions import {self._routine.name}\n{_TELLING.format(most=TEXT - 10)}", timeout=PATIENCE
        )
        if not begun.outcome.ok:
            return f"it cannot be imported: {_why(begun.outcome)}", []
        gave = []
        for call in calls:
            wait = "await" if self._routine.signature.startswith("async def") else ""
            step = self._session.run(_CALL.format(wait=wait, call=call), timeout=PATIENCE)
            text = _text_of(step.outcome)
            if text is None:
                return f"{one_line(call)[:200]}: {_why(step.outcome)}", []
            gave.append(text)
        return "", gave

    def _versions(self) -> tuple[tuple[str, str], ...]:
        names = sorted(self._routine.contract.needs.packages)
        if not names:
            return ()
        text = _text_of(self._session.run(_VERSIONS.format(names=names), timeout=PATIENCE).outcome)
        try:
            told = json.loads(text or "{}")
        except ValueError:
            return ()
        pairs = told.items() if isinstance(told, dict) else ()
        return tuple((name, str(found)[:100]) for name, found in pairs if name in names)


def _is_call(text: str, name: str) -> bool:
    """Whether it is one expression, which begins by calling that name. Nothing is run."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except UNPARSABLE:
        return False
    return any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(tree)) and "\n" not in text


def _text_of(outcome: Any) -> str | None:
    """The text that an action ended with; None where it ended otherwise."""
    told = outcome.result.data.get("text/plain") if outcome.ok and outcome.result is not None else None
    if not isinstance(told, str) or len(told) > 2 * TEXT + 100:
        return None
    try:
        text = ast.literal_eval(told)
    except UNPARSABLE:
        return None
    return text[:TEXT] if isinstance(text, str) and text.isascii() else None


def _why(outcome: Any) -> str:
    if outcome.error is not None and outcome.kind == "raised":
        return one_line(f"{outcome.error.name}: {outcome.error.value}")[:500]
    return one_line(outcome.notice or "it said nothing that could be read")[:500]
