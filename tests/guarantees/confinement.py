"""Makes each risky action in a session, undoes it, and looks whether all is as it was: a table of docs/confinement.md.

`python -m tests.guarantees.confinement [ISOLATION]...` makes them all and prints the table, or what was not as it
should be; and the table of attacks.py before it.
"""

from __future__ import annotations

import json
import pwd
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence

from tests.fidelity.walk import walk
from tests.guarantees.attacks import ATTACKS
from tests.guarantees.risky_actions import RISKY, SETTING, Risky

import mulligan
from mulligan import Session, Step

#: accounts that a sandbox has not
_HOSTS = [
    f"{each.pw_name}:x:{each.pw_uid}:" for each in pwd.getpwall() if each.pw_name not in ("root", "nobody")
]
SHOW = "print(*state(), sep='\\n', flush=True)\n"


class Confinement:
    """A session with something to spoil. Whatever an action did, it is undone before the next."""

    def __init__(self, session: Session) -> None:
        self._session = session
        step = session.run(SETTING)
        assert step.outcome.ok and step.reach.exact, step.outcome.text
        self._marked = step.id
        self._files = walk(session.folders.files)
        self._state = session.run(SHOW).outcome.stdout
        session.goto(self._marked)

    def objections(self) -> Iterator[str]:
        """What is not as it should be, of every action; nothing where all is."""
        yield from self._of_stopped([risky for risky in RISKY if risky.stopped])
        before = "what was stopped"
        for risky in (each for each in RISKY if not each.stopped):
            step = self._session.run(SHOW + risky.source, timeout=60)
            if not step.outcome.stdout.startswith(self._state):
                yield f"{before}: memory or processes are not what they were: {step.outcome.text[:1000]}"
            before = risky.name
            found = (_of_confined(risky, step), self._of_undo())
            yield from (f"{before}: {said}" for said in found if said)
        if self._session.run(SHOW).outcome.stdout != self._state:
            yield f"{before}: memory or processes are not what they were"

    def _of_stopped(self, stopped: Sequence[Risky]) -> Iterator[str]:
        """All in one action, of which each must be stopped, and which leaves the files as they are without an undo."""
        sources = {each.name: each.source for each in stopped}
        step = self._session.run(f"print(json.dumps(attempts({sources!r})))", timeout=100)
        said = json.loads(step.outcome.stdout) if step.outcome.ok else {}
        for risky in stopped:
            text = said.get(risky.name, step.outcome.text)
            if not re.search(risky.says, text) or (risky.language == "bash" and "exit 0" in text):
                yield f"{risky.name}: it was not stopped: {text}"
        if walk(self._session.folders.files) != self._files:
            yield f"what was stopped has changed {step.changes}"
        if left := self._of_undo():
            yield f"what was stopped: {left}"

    def _of_undo(self) -> str:
        back = self._session.goto(self._marked)
        if back.memory != "woken" or not back.complete:
            return f"undo left something: {back}"
        same = walk(self._session.folders.files) == self._files
        return "" if same else "the files are not what they were"


def _of_confined(risky: Risky, step: Step) -> str:
    """Whether it did what it was to do, and saw nothing of the host's."""
    text = f"{step.outcome.text}\n{step.outcome.stderr}"
    if found := [line for line in _HOSTS if line in text]:
        return f"it has read what is the host's: {found}"
    ended = step.outcome.kind == "lost" or (risky.language == "bash" and "exit 0" in step.outcome.stdout)
    done = ended or (risky.language == "Python" and step.outcome.ok)
    return "" if done else f"it did not do it: {text}"


def table() -> Iterator[str]:
    """The rows of the page, with their head."""
    yield "| of the kind | action | in | what becomes of it |"
    yield "|---|---|---|---|"
    kind = ""
    for risky in RISKY:
        end = "stopped" if risky.stopped else "confined, undone exactly"
        yield f"| {'' if risky.kind == kind else risky.kind} | {risky.what} | {risky.language} | {end} |"
        kind = risky.kind


def mechanisms() -> Iterator[str]:
    """The rows of the page that say what stops which attacks, with their head."""
    yield "| stopped by | attacks |"
    yield "|---|---|"
    for mechanism in dict.fromkeys(each.by for each in ATTACKS):
        yield f"| {mechanism} | {'; '.join(each.name for each in ATTACKS if each.by == mechanism)} |"


def main(isolations: list[str]) -> int:
    failed = 0
    for isolation in isolations:
        with (
            tempfile.TemporaryDirectory() as state,
            mulligan.open(isolation=isolation, state=state) as session,
        ):
            for said in Confinement(session).objections():
                failed += 1
                print(f"{isolation}: {said}", file=sys.stderr)
    if not failed:
        print("\n".join([*mechanisms(), "", *table()]))
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["docker", "bubblewrap"]))
