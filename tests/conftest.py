"""Which isolations the tests run in, and the promise that none is left out unseen.

A test that takes `isolation` runs once in each. `MULLIGAN_ISOLATIONS` names them ("docker,bubblewrap"); without
it both are required in CI, and elsewhere Docker is left out when no engine answers, which the summary then says.
A required engine that does not answer ends the run before its first test.
"""

from __future__ import annotations

import functools
import gc
import os
import warnings

import docker
import pytest

ISOLATIONS = ("docker", "bubblewrap")


@functools.cache
def engine_failure() -> str:
    """Why no Docker engine can be had, or "" where one answers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the SDK drops a socket that could not connect
        try:
            docker.from_env(timeout=10).close()
            return ""
        except docker.errors.DockerException as error:
            return str(error)
        finally:
            gc.collect()


@functools.cache
def isolations() -> tuple[str, ...]:
    named = os.environ.get("MULLIGAN_ISOLATIONS", "")
    chosen = tuple(name.strip() for name in named.split(",") if name.strip())
    if unknown := set(chosen) - set(ISOLATIONS):
        raise pytest.UsageError(f"MULLIGAN_ISOLATIONS: no such isolation: {', '.join(sorted(unknown))}")
    if chosen:
        return chosen
    if os.environ.get("CI") == "true" or not engine_failure():
        return ISOLATIONS
    return ("bubblewrap",)


def pytest_configure() -> None:
    isolations()  # a name that is wrong is said before anything is collected


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "isolation" in metafunc.fixturenames:
        marks = {"docker": [pytest.mark.docker]}
        names = [pytest.param(name, marks=marks.get(name, [])) for name in isolations()]
        metafunc.parametrize("isolation", names, scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "docker" in isolations():
        return
    left_out = [item for item in items if item.get_closest_marker("docker")]
    items[:] = [item for item in items if not item.get_closest_marker("docker")]
    config.hook.pytest_deselected(items=left_out)


def pytest_collection_finish(session: pytest.Session) -> None:
    needed = any(item.get_closest_marker("docker") for item in session.items)
    if needed and engine_failure() and not session.config.option.collectonly:
        raise pytest.UsageError(
            f"Docker is required here and does not answer: {engine_failure()}\n"
            "  `make engine` installs and starts one; MULLIGAN_ISOLATIONS=bubblewrap tests without it"
        )


def pytest_report_header() -> str:
    return f"isolations: {', '.join(isolations())}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if missing := [name for name in ISOLATIONS if name not in isolations()]:
        terminalreporter.section("NOT TESTED", sep="!", red=True, bold=True)
        terminalreporter.line(f"Nothing here says that Mulligan works in: {', '.join(missing)}", red=True)
        if "docker" in missing and engine_failure():
            terminalreporter.line(f"{engine_failure()}  (`make engine` installs and starts Docker)")
