"""Each way out that we could think of is tried from inside, and what stopped it is known by what the attack sees.

One session an isolation, and one action that makes all the attacks, each in a child of its own.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator

import pytest
from tests.guarantees import attacks

import mulligan
from mulligan.sandbox.guest import seccomp

Told = dict[str, dict[str, str]]

#: what says that the mechanisms are there, beside the attacks
FACTS = """
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
held = {name: os.readlink(f"/proc/self/ns/{name}") for name in ("pid", "net", "ipc", "uts", "mnt")}
print(json.dumps({"seen": seen, "status": {k: v.strip() for k, v in status.items()}, "namespaces": held}))
"""


@pytest.fixture(scope="module")
def told(isolation: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """What became of each attack, and what the sandbox says of itself."""
    place = tmp_path_factory.mktemp("attacked")
    place.joinpath("secret").write_text("a secret of the host")
    place.joinpath("secret").chmod(0o644)
    with (
        pytest.MonkeyPatch.context() as patch,
        socket.create_server(("0.0.0.0", 0)) as server,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        patch.setenv("MULLIGAN_TEST_SECRET", "a secret in a variable")
        server.setblocking(False)
        abstract.bind(f"\0mulligan-attacked-{os.getpid()}")
        abstract.listen()
        abstract.setblocking(False)
        with mulligan.open(isolation=isolation, state=place / "state") as session:
            script = attacks.script(
                attacks.ATTACKS,
                host_pid=_high_pid(),
                secret=str(place / "secret"),
                other=str(place),
                state=str(session.folders.root),
                port=server.getsockname()[1],
                ours=socket.gethostbyname(socket.gethostname()),
                abstract=f"mulligan-attacked-{os.getpid()}",
            )
            outcome = session.run(script + FACTS, timeout=100).outcome
            assert outcome.kind == "completed", outcome.text
            yield json.loads(outcome.stdout)
        for listener in (server, abstract):
            with pytest.raises(BlockingIOError):
                listener.accept()


def _high_pid() -> int:
    """Of a process of the host: higher than any that lives in the sandbox."""
    return max(int(name) for name in os.listdir("/proc") if name.isdigit())


@pytest.mark.parametrize("attack", attacks.ATTACKS, ids=lambda each: each.name)
def test_it_is_stopped_by_what_it_should_be(told: Told, attack: attacks.Attack) -> None:
    seen = told["seen"][attack.name]
    assert seen in attack.sees, f"by {attack.by}: {seen}"


def test_each_mechanism_is_in_force(told: Told) -> None:
    status = told["status"]
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert "0" not in status["Uid"].split() and "0" not in status["Gid"].split()
    for name, inside in told["namespaces"].items():
        assert inside != os.readlink(f"/proc/self/ns/{name}"), name


def test_the_calls_that_are_tried_are_those_that_the_filter_names() -> None:
    """On x86_64, where the numbers of `attacks` hold."""
    refused = {name: number for name, number, _ in seccomp.REFUSED}
    for name, arguments in attacks.SYSCALLS.items():
        assert str(refused[name]) == arguments.strip("()").partition(",")[0], name
