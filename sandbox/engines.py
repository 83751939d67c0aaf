"""Which engine a session gets. There is no third that confines nothing: without either, nothing opens."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from mulligan.sandbox import bubblewrap
from mulligan.sandbox.errors import NoIsolation
from mulligan.sandbox.isolation import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """An engine, and `why` it was taken, as a sentence for a person."""

    engine: Engine
    why: str


def choose(name: str) -> Engine:
    """`decide`, without the reason. `name` is "auto", "docker" or "bubblewrap"."""
    return decide(name).engine


def decide(name: str) -> Choice:
    """The engine of that name, or for "auto": docker if it answers and its image is built, else bubblewrap.

    Docker's bounds on memory and processor time are the stronger ones. Bubblewrap needs no preparation, so a machine
    with an engine and no image works at once and says what is missing. NoIsolation names what stands against each;
    with an engine named, what is wrong with that one is raised by `start`.
    """
    if name == "docker":
        return _docker("it was asked for")
    if name == "bubblewrap":
        return Choice(engine=bubblewrap.BubblewrapEngine(), why="it was asked for")
    if name != "auto":
        raise ValueError(f"isolation is 'auto', 'docker' or 'bubblewrap', not {name!r}")
    return _auto()


def _auto() -> Choice:
    against = _against_docker()
    if not against:
        return _docker("an engine answers and the image is built")
    try:
        bubblewrap.check()
    except NoIsolation as error:
        raise NoIsolation(
            f"neither isolation can be had. docker: {against}. bubblewrap: {error.message}", hint=error.hint
        ) from error
    return Choice(engine=bubblewrap.BubblewrapEngine(), why=f"not docker: {against}")


def _against_docker() -> str:
    """Why docker cannot be taken; "" if it can. The SDK is imported here, for it takes a tenth of a second."""
    from mulligan.sandbox import docker
    from mulligan.sandbox.image import vetting

    try:
        client = docker.connect()
    except NoIsolation as error:
        return error.message
    with closing(client):
        built = vetting.default(client)
    return "" if built else "an engine answers, but the image is not built (make image)"


def _docker(why: str) -> Choice:
    from mulligan.sandbox.docker import DockerEngine

    return Choice(engine=DockerEngine(), why=why)
