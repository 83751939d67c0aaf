"""What a step costs: a small action with its checkpoint, checkpoint and undo of small and large heaps, cold start."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mulligan
from bench.measure import SAID, Aim, Comparison, Turn, alternate, machine, versions
from bench.peers import PlainKernel, check, docker_run, plain_kernel
from mulligan.sandbox.errors import SandboxError

ISOLATIONS = ("bubblewrap", "docker")
PLAIN = "plain ipykernel"
DOCKER_RUN = "docker run"

STEP = "a small action and its checkpoint, back to back"
REPLY = "a small action's reply, after a pause"
COLD = "cold start to the first result"

#: an agent thinks between two actions; long enough for what is done off the reply's path
PAUSE = 0.03
_PACKAGES = ("mulligan", "ipykernel", "ipython", "jupyter_client", "pyzmq", "numpy", "docker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of everything. `array` is in bytes, `entries` in dict entries."""

    rounds: int = 40
    batch: int = 20
    heap_rounds: int = 25
    cold_rounds: int = 7
    array: int = 1_000_000_000
    entries: int = 5_000_000
    files: int = 1_000
    changed: int = 10


QUICK = Size(
    rounds=2, batch=3, heap_rounds=2, cold_rounds=1, array=8_000_000, entries=50_000, files=100, changed=10
)


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of our own, and the isolations that can be had here; their image where they have one."""

    folder: Path
    isolations: Sequence[str]
    image: str
    left_out: Mapping[str, str]

    @contextmanager
    def session(self, isolation: str, workspace: Path | None = None) -> Iterator[mulligan.Session]:
        resources = mulligan.Policy().resources.model_copy(update={"memory": 8 << 30})
        policy = mulligan.Policy(resources=resources)
        with mulligan.open(workspace, isolation=isolation, policy=policy, state=self.folder) as session:
            yield session


def measure(quick: bool, isolations: Sequence[str] = ISOLATIONS) -> dict[str, Any]:
    """Everything in one run; plain data, ready for JSON."""
    size = QUICK if quick else Size()
    facts = machine()
    with tempfile.TemporaryDirectory() as folder:
        place = find(Path(folder), isolations)
        found = [
            *small_actions(place, size),
            *heaps(place, size),
            *files(place, size),
            *cold_starts(place, size),
        ]
    return {
        "benchmark": "steps",
        "quick": quick,
        "machine": facts,
        "versions": versions(*_PACKAGES),
        "measures": [each.figures(who) for each in found for who in each.seconds],
        "aims": [aim.figures() for aim in aims(found, size)],
        "left_out": dict(place.left_out),
    }


def find(folder: Path, isolations: Sequence[str]) -> Place:
    """Which of the isolations open here, and why the others do not."""
    image, left_out = "", {}
    for isolation in isolations:
        SAID.print(f"opening {isolation}")
        try:
            with mulligan.open(isolation=isolation, state=folder) as session:
                image = session.report.image if isolation == "docker" else image
        except SandboxError as error:
            left_out[isolation] = str(error)
    if len(left_out) == len(isolations):
        raise SystemExit(f"nothing to measure: {left_out}")
    if image and shutil.which("docker") is None:
        left_out[DOCKER_RUN] = "there is no docker command; the peer of the cold start is the command's"
    return Place(folder, [each for each in isolations if each not in left_out], image, left_out)


# -- small actions ---------------------------------------------------------------------------------------------


def action(n: int) -> tuple[str, str]:
    """One of the small actions, and what it has to answer."""
    return ((f"x = {n}", ""), (f"print({n})", str(n)), ("sum(range(1000))", "499500"))[n % 3]


def small_actions(place: Place, size: Size) -> list[Comparison]:
    with ExitStack() as stack:
        plain = stack.enter_context(plain_kernel(place.folder / "ipython"))
        steps: dict[str, Turn] = {PLAIN: _batch(plain, size.batch)}
        replies: dict[str, Turn] = {PLAIN: _reply_of_plain(plain)}
        for isolation in place.isolations:
            session = stack.enter_context(place.session(isolation))
            steps[isolation] = _steps(session, size.batch)
            replies[isolation] = _reply(session)
        return [
            *alternate("small actions, back to back", steps, size.rounds, warmups=2, peer=PLAIN),
            *alternate("small actions, replies", replies, size.rounds * 3, warmups=3, peer=PLAIN),
        ]


def _batch(plain: PlainKernel, count: int) -> Turn:
    def turn(n: int) -> Mapping[str, float]:
        started = time.perf_counter()
        for i in range(n * count, (n + 1) * count):
            source, answer = action(i)
            check(plain.run(source), answer)
        return {STEP: (time.perf_counter() - started) / count}

    return turn


def _steps(session: mulligan.Session, count: int) -> Turn:
    """Each action waits for the checkpoint before it, and the last one's is waited for as well."""

    def turn(n: int) -> Mapping[str, float]:
        started = time.perf_counter()
        for i in range(n * count, (n + 1) * count):
            step = _answer(session, *action(i))
        settle(step)
        return {STEP: (time.perf_counter() - started) / count}

    return turn


def _reply_of_plain(plain: PlainKernel) -> Turn:
    def turn(n: int) -> Mapping[str, float]:
        time.sleep(PAUSE)
        source, answer = action(n)
        started = time.perf_counter()
        check(plain.run(source), answer)
        return {REPLY: time.perf_counter() - started}

    return turn


def _reply(session: mulligan.Session) -> Turn:
    def turn(n: int) -> Mapping[str, float]:
        time.sleep(PAUSE)
        started = time.perf_counter()
        step = _answer(session, *action(n))
        took = time.perf_counter() - started
        settle(step)
        return {REPLY: took}

    return turn


def _answer(session: mulligan.Session, source: str, answer: str) -> mulligan.Step:
    step = session.run(source)
    assert isinstance(step.outcome, mulligan.Completed), step.outcome
    result = step.outcome.result
    check(step.outcome.stdout + (str(result.data["text/plain"]) if result else ""), answer)
    return step


def settle(step: mulligan.Step) -> None:
    """Wait for a step's checkpoint, which has to be of files and memory both."""
    if (step.reach.files, step.reach.memory) != ("exact", "exact"):
        raise RuntimeError(f"step {step.id} has no whole checkpoint: {step.reach}")


# -- heaps -----------------------------------------------------------------------------------------------------


def heaps(place: Place, size: Size) -> list[Comparison]:
    """Checkpoint and undo with nothing, a large array and a large dict in memory; all sessions take turns."""
    kinds = {
        "an empty heap": "pass",
        f"a numpy array of {size.array / 1e9:g} GB": f"import numpy; a = numpy.ones({size.array // 8})",
        f"a dict of {size.entries:,} entries": f"d = {{i: i * 0.5 for i in range({size.entries})}}",
    }
    with ExitStack() as stack:
        turns: dict[str, Turn] = {}
        for heap, source in kinds.items():
            for isolation in place.isolations:
                SAID.print(f"preparing {heap} in {isolation}")
                session = stack.enter_context(place.session(isolation))
                settle(session.run(source))
                turns[f"{heap}\0{isolation}"] = _there_and_back(session, heap)
        mixed = alternate("heaps", turns, size.heap_rounds)
    return [
        Comparison(each.work, {who.partition("\0")[2]: took for who, took in each.seconds.items()})
        for each in sorted(mixed, key=lambda each: each.work)
    ]


def _there_and_back(session: mulligan.Session, heap: str) -> Turn:
    settle(session.run("x = -1"))

    def turn(n: int) -> Mapping[str, float]:
        step = _answer(session, f"x = {n}", "")
        started = time.perf_counter()
        settle(step)
        taken = time.perf_counter()
        undo(session)
        back = time.perf_counter()
        settle(_answer(session, "x", "-1"))
        return {f"checkpoint with {heap}": taken - started, f"undo with {heap}": back - taken}

    return turn


def undo(session: mulligan.Session) -> mulligan.Restoration:
    """Take the last step back; its memory has to come from a twin, not from running actions again."""
    back = session.undo()
    if back.memory != "woken":
        raise RuntimeError(f"an undo woke no twin: {back}")
    return back


# -- files -----------------------------------------------------------------------------------------------------


def files(place: Place, size: Size) -> list[Comparison]:
    """Undo of memory and of a few changed files among many."""
    folder = place.folder / "many"
    for n in range(size.files):
        file = folder / f"folder{n % 10}" / f"{n}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{n} as it was\n" * 100)
    with ExitStack() as stack:
        sessions = {each: stack.enter_context(place.session(each, folder)) for each in place.isolations}
        turns = {each: _wreck_and_undo(session, size) for each, session in sessions.items()}
        return alternate("files", turns, size.heap_rounds)


def undo_of_files(size: Size) -> str:
    return f"undo of memory and of {size.changed} changed files in {size.files:,}"


def _wreck_and_undo(session: mulligan.Session, size: Size) -> Turn:
    settle(session.run("import pathlib; kept = [1]"))
    names = [f"folder{n % 10}/{n}.txt" for n in range(size.changed)]
    wreck = f"for name in {names}: pathlib.Path(name).write_text('wrecked')\nkept.append(2)"

    def turn(n: int) -> Mapping[str, float]:
        settle(_answer(session, wreck, ""))
        started = time.perf_counter()
        back = undo(session)
        took = time.perf_counter() - started
        if len(back.restored) != size.changed:
            raise RuntimeError(f"{len(back.restored)} files came back where {size.changed} were due")
        settle(_answer(session, "kept", "[1]"))
        return {undo_of_files(size): took}

    return turn


# -- cold start ------------------------------------------------------------------------------------------------


def cold_starts(place: Place, size: Size) -> list[Comparison]:
    """From nothing to the answer of `print(1)`. What comes after it (closing) is not counted."""
    turns: dict[str, Turn] = {PLAIN: lambda n: {COLD: _cold_plain(place)}}
    for isolation in place.isolations:
        turns[isolation] = lambda n, isolation=isolation: {COLD: _cold(place, isolation)}  # type: ignore[misc]
    if place.image and DOCKER_RUN not in place.left_out:
        turns[DOCKER_RUN] = lambda n: {COLD: docker_run(place.image)}
    peer = DOCKER_RUN if DOCKER_RUN in turns else PLAIN
    return alternate("cold starts", turns, size.cold_rounds, peer=peer)


def _cold(place: Place, isolation: str) -> float:
    started = time.perf_counter()
    with place.session(isolation) as session:
        _answer(session, "print(1)", "1")
        return time.perf_counter() - started


def _cold_plain(place: Place) -> float:
    started = time.perf_counter()
    with plain_kernel(place.folder / "ipython") as plain:
        check(plain.run("print(1)"), "1")
        return time.perf_counter() - started


# -- aims ------------------------------------------------------------------------------------------------------


def aims(found: Sequence[Comparison], size: Size) -> list[Aim]:
    by_work = {each.work: each for each in found}
    step, back = by_work[STEP], by_work[undo_of_files(size)]
    ours = [who for who in step.seconds if who != PLAIN]
    beside = "a step with its checkpoint, as a multiple of plain ipykernel's without one"
    return [Aim(beside, who, step.ratio(who), 1.0) for who in ours] + [
        Aim(f"{back.work}, ms", who, back.median(who) * 1000, 15.0) for who in ours
    ]
