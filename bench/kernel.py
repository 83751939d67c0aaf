"""What a kernel costs: to have one (cold, from a pool, by a reset), to talk to it, to stop it, to let it sit idle."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mulligan
from bench.measure import Aim, Comparison, Turn, alternate, machine, versions
from bench.memory import pss_of_pid, pss_of_user
from bench.peers import PlainKernel, check, plain_kernel, plain_kernel_in
from bench.steps import COLD, DOCKER_RUN, ISOLATIONS, PLAIN, Place, find, settle
from mulligan.sandbox.messages import Event

POOLED = "from a pool to the first result"
RESET = "reset"
AFTER = "the first result after a reset"
TRIP = "round trip of `x`"
PRINTS = "1,000 prints"
SHOWN = "a display of 10 MB"
#: what is interrupted; each says "on" just before there is something to interrupt
ENDLESS = {
    "interrupt of pure Python": "print('on', flush=True)\nwhile True: pass",
    "interrupt of time.sleep": "import time; print('on', flush=True); time.sleep(600)",
    "interrupt of a subprocess": "import subprocess; print('on', flush=True); subprocess.run(['sleep', '600'])",
}
#: seconds after which what was announced is surely under way: an interrupt that comes earlier, plain ipykernel may lose
UNDER_WAY = 0.2
MEMORY = "memory of an idle session, as a multiple of plain ipykernel's"
#: the same Python and libraries as in a session there: whose pages are shared with whom is the same for both
IN_IMAGE = "plain ipykernel in the image"
_PACKAGES = ("mulligan", "ipykernel", "ipython", "jupyter_client", "pyzmq", "docker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    rounds: int = 15
    starts: int = 5
    interrupts: int = 8
    display: int = 10_000_000


QUICK = Size(rounds=2, starts=1, interrupts=1, display=100_000)


def measure(quick: bool, isolations: Sequence[str] = ISOLATIONS) -> dict[str, Any]:
    """Everything in one run; plain data, ready for JSON."""
    size, facts = QUICK if quick else Size(), machine()
    with tempfile.TemporaryDirectory() as folder:
        place = find(Path(folder), isolations)
        found, memory = [*starts(place, size), *pooled(place, size)], idle(place)
        found += talks(place, size)
    return {
        "benchmark": "kernel",
        "quick": quick,
        "machine": facts,
        "versions": versions(*_PACKAGES),
        "measures": [each.figures(who) for each in found for who in each.seconds],
        "memory": [{"who": who, "pss_mb": round(held / 1e6, 1)} for who, held in memory.items()],
        "aims": [aim.figures() for aim in aims(found, memory)],
        "left_out": dict(place.left_out),
    }


# -- to have one ---------------------------------------------------------------------------------------------------


def starts(place: Place, size: Size) -> list[Comparison]:
    def cold(isolation: str) -> Turn:
        def turn(n: int) -> Mapping[str, float]:
            started = time.perf_counter()
            with mulligan.open(isolation=isolation, state=place.folder) as session:
                check(session.run("print(1)").outcome.stdout, "1")
                return {COLD: time.perf_counter() - started}

        return turn

    def plain(n: int) -> Mapping[str, float]:
        started = time.perf_counter()
        with plain_kernel(place.folder / "ipython") as kernel:
            check(kernel.run("print(1)"), "1")
            return {COLD: time.perf_counter() - started}

    turns = {PLAIN: plain, **{each: cold(each) for each in place.isolations}}
    return alternate("cold starts", turns, size.starts, peer=PLAIN)


def pooled(place: Place, size: Size) -> list[Comparison]:
    """The pool is full before each turn: what is measured is what waits, not the filling."""
    with ExitStack() as stack:
        pools = {
            each: stack.enter_context(mulligan.Pool(2, isolation=each, state=place.folder))
            for each in place.isolations
        }

        def turn_of(pool: mulligan.Pool) -> Turn:
            def turn(n: int) -> Mapping[str, float]:
                for each in pools.values():  # none of them is being filled while another is measured
                    each.fill()
                time.sleep(0.05)
                started = time.perf_counter()
                session = pool.open()
                check(session.run("print(1)").outcome.stdout, "1")
                took = time.perf_counter() - started
                session.close()
                return {POOLED: took}

            return turn

        return alternate("from a pool", {who: turn_of(pool) for who, pool in pools.items()}, size.rounds)


# -- to talk to it, and to stop it -----------------------------------------------------------------------------------


@contextmanager
def contenders(place: Place) -> Iterator[dict[str, PlainKernel | mulligan.Session]]:
    with ExitStack() as stack:
        yield {
            PLAIN: stack.enter_context(plain_kernel(place.folder / "ipython")),
            **{each: stack.enter_context(place.session(each)) for each in place.isolations},
        }


def talks(place: Place, size: Size) -> list[Comparison]:
    works = {
        TRIP: "x",
        PRINTS: "for i in range(1000): print(i)",
        SHOWN: f"from IPython.display import display; display({{'text/plain': 'x' * {size.display}}}, raw=True)",
    }
    with contenders(place) as open_ones:
        for each in open_ones.values():
            _run(each, "x = 1")
        return [
            *alternate(
                "talk", {w: _talk(each, works) for w, each in open_ones.items()}, size.rounds, peer=PLAIN
            ),
            *alternate(
                "interrupts", {w: _stop(each) for w, each in open_ones.items()}, size.interrupts, peer=PLAIN
            ),
            *alternate("resets", {w: _reset(s) for w, s in _sessions(open_ones)}, size.rounds),
        ]


def _sessions(open_ones: Mapping[str, Any]) -> list[tuple[str, mulligan.Session]]:
    return [(who, each) for who, each in open_ones.items() if isinstance(each, mulligan.Session)]


def _run(one: PlainKernel | mulligan.Session, source: str) -> str:
    """What it said; of a session when its checkpoint is taken."""
    if isinstance(one, PlainKernel):
        return one.run(source)
    step = one.run(source)
    settle(step)
    return step.outcome.text


def _talk(one: PlainKernel | mulligan.Session, works: Mapping[str, str]) -> Turn:
    def turn(n: int) -> Mapping[str, float]:
        took = {}
        for work, source in works.items():
            _run(one, "pass")
            started = time.perf_counter()
            step = one.run(source)
            took[work] = time.perf_counter() - started
            if not isinstance(step, str):
                settle(step)
        return took

    return turn


def _stop(one: PlainKernel | mulligan.Session) -> Turn:
    def turn(n: int) -> Mapping[str, float]:
        took = {}
        for work, source in ENDLESS.items():
            sent: list[float] = []

            def stop(halt: Callable[[], None], sent: list[float] = sent) -> None:
                if not sent:
                    time.sleep(UNDER_WAY)
                    sent.append(time.perf_counter())
                    halt()

            if isinstance(one, PlainKernel):
                one.run(source, lambda stop=stop: stop(one.interrupt))  # type: ignore[misc]
            else:

                def heard(event: Event, stop: Callable[[Callable[[], None]], None] = stop) -> None:
                    stop(one.interrupt)

                outcome = one.run(source, on_event=heard).outcome
                if outcome.kind != "raised":
                    raise RuntimeError(f"{work} ended otherwise: {outcome.text}")
            took[work] = time.perf_counter() - sent[0]
            _run(one, "pass")
        return took

    return turn


def _reset(session: mulligan.Session) -> Turn:
    def turn(n: int) -> Mapping[str, float]:
        settle(session.run(f"y = {n}; open('left', 'w').write('left')"))
        started = time.perf_counter()
        back = session.reset()
        there = time.perf_counter()
        said = session.run("import os; print('y' in globals(), os.listdir())").outcome.stdout
        answered = time.perf_counter()
        check(said, "False []")
        if back.memory != "woken" or back.stands:
            raise RuntimeError(f"a reset was not clean: {back}")
        return {RESET: there - started, AFTER: answered - there}

    return turn


# -- to let it sit idle ----------------------------------------------------------------------------------------------


def idle(place: Place) -> dict[str, int]:
    """Bytes that all processes of each answer for, after one action, with one twin more than the root's. Docker's own
    process for each container is not among them."""
    if os.geteuid() != 0:
        place.left_out["memory"] = "other users' processes are told apart by root only"  # type: ignore[index]
        return {}
    with contenders(place) as sessions, ExitStack() as stack:
        open_ones = dict(sessions)
        if place.image and DOCKER_RUN not in place.left_out:
            inside = plain_kernel_in(place.image, place.folder / "inside")
            open_ones[IN_IMAGE] = stack.enter_context(inside)
        for each in open_ones.values():
            _run(each, "x = 1")
        time.sleep(0.5)  # for what is done off the reply's path
        return {
            who: pss_of_user(each._uid) if isinstance(each, mulligan.Session) else pss_of_pid(each.pid)
            for who, each in open_ones.items()
        }


def aims(found: Sequence[Comparison], memory: Mapping[str, int]) -> list[Aim]:
    most = {POOLED: 30.0, RESET: 15.0, **dict.fromkeys(ENDLESS, 100.0)}
    timed = [
        Aim(f"{each.work}, ms", who, each.median(who) * 1000, most[each.work])
        for each in found
        if each.work in most
        for who in each.seconds
        if who != PLAIN
    ]
    peers = dict.fromkeys(memory, PLAIN) | ({"docker": IN_IMAGE} if IN_IMAGE in memory else {})
    held = [
        Aim(MEMORY, who, memory[who] / memory[peer], 1.3)
        for who, peer in peers.items()
        if who not in (PLAIN, IN_IMAGE)
    ]
    return timed + held
