"""Containers meet the container-runtime section of the CIS Docker benchmark, as the engine itself tells of a live one.

The numbers are those of version 1.6.0. What cannot be met here is in docs/confinement.md, with the reason, and nowhere
else: each number of the section is either held below or listed there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

import mulligan

pytestmark = pytest.mark.docker

PAGE = Path(__file__).parents[2] / "docs" / "confinement.md"
#: version 1.6.0 has so many in the section
NUMBERS = {f"5.{number}" for number in range(1, 32)}
SENSITIVE = ("/boot", "/dev", "/etc", "/lib", "/proc", "/sys", "/usr", "/run", "/var/run")


@dataclass(frozen=True)
class Container:
    """What the engine says of it, of itself, and of the processes in it."""

    told: Mapping[str, Any]
    engine: Mapping[str, Any]
    programs: list[str]

    @property
    def host(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.told["HostConfig"]
        return found

    @property
    def options(self) -> list[str]:
        return [str(option) for option in self.host["SecurityOpt"] or ()]

    def engine_has(self, name: str) -> bool:
        return any(name in option for option in self.engine["SecurityOptions"] or ())

    @property
    def sources(self) -> list[str]:
        return [str(mount.get("Source", "")) for mount in self.told["Mounts"]]


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    client = docker.from_env()
    with mulligan.open(isolation="docker", state=tmp_path_factory.mktemp("state")) as session:
        label = f"mulligan.session={session.id}"
        (found,) = client.api.containers(filters={"label": label})
        told = client.api.inspect_container(found["Id"])
        rows = client.api.top(found["Id"], ps_args="-eo pid,args")["Processes"]
        yield Container(told, client.api.info(), [row[-1] for row in rows])
    client.close()


Check = Callable[[Container], bool]

CHECKS: dict[str, tuple[str, Check]] = {
    "5.1": (
        "AppArmor's profile, where the engine has AppArmor",
        lambda it: (
            not any("apparmor" in option for option in it.options)
            and (not it.engine_has("apparmor") or it.told["AppArmorProfile"] == "docker-default")
        ),
    ),
    "5.3": ("no capabilities", lambda it: it.host["CapDrop"] == ["ALL"] and not it.host["CapAdd"]),
    "5.4": ("not privileged", lambda it: it.host["Privileged"] is False),
    "5.5": (
        "no sensitive folder of the host",
        lambda it: all(
            source.strip("/") and not source.startswith(tuple(f"{each}/" for each in SENSITIVE))
            for source in it.sources
        ),
    ),
    "5.6": ("no sshd", lambda it: bool(it.programs) and not any("ssh" in each for each in it.programs)),
    "5.7": ("no privileged port", lambda it: not it.host["PortBindings"]),
    "5.8": ("no port at all", lambda it: not it.told["NetworkSettings"]["Ports"]),
    "5.9": ("not the host's network", lambda it: it.host["NetworkMode"] == "none"),
    "5.10": ("memory is bounded", lambda it: 0 < it.host["Memory"] == it.host["MemorySwap"]),
    "5.11": (
        "processor time is bounded, and weighed",
        lambda it: it.host["NanoCpus"] > 0 < it.host["CpuShares"],
    ),
    "5.12": ("the root is read-only", lambda it: it.host["ReadonlyRootfs"] is True),
    "5.13": ("nothing comes in by any interface", lambda it: not it.host["PublishAllPorts"]),
    "5.14": (
        "it is never restarted by the engine",
        lambda it: it.host["RestartPolicy"]["Name"] in ("", "no"),
    ),
    "5.15": ("processes of its own", lambda it: it.host["PidMode"] == ""),
    "5.16": ("IPC of its own", lambda it: it.host["IpcMode"] == "private"),
    "5.17": ("no device", lambda it: not it.host["Devices"] and not it.host["DeviceRequests"]),
    "5.18": (
        "limits of its own",
        lambda it: {each["Name"] for each in it.host["Ulimits"]} == {"fsize", "nofile", "core"},
    ),
    "5.19": (
        "no shared mounts",
        lambda it: all("shared" not in each["Propagation"] for each in it.told["Mounts"]),
    ),
    "5.20": ("a name of its own", lambda it: it.host["UTSMode"] == ""),
    "5.21": (
        "the engine's filter of calls stays",
        lambda it: it.engine_has("seccomp") and not any("seccomp" in option for option in it.options),
    ),
    "5.22": ("nothing is run in it by the engine", lambda it: it.told["ExecIDs"] is None),
    "5.23": (
        "nor as root: it has a user",
        lambda it: re.fullmatch(r"[1-9]\d*:[1-9]\d*", it.told["Config"]["User"]) is not None,
    ),
    "5.24": ("the engine's control group", lambda it: it.host["CgroupParent"] == ""),
    "5.25": ("no new privileges", lambda it: "no-new-privileges" in it.options),
    "5.27": (
        "the image is named by its content",
        lambda it: it.told["Config"]["Image"].startswith("sha256:"),
    ),
    "5.28": ("processes are bounded", lambda it: it.host["PidsLimit"] > 0),
    "5.29": (
        "not on the engine's bridge",
        lambda it: set(it.told["NetworkSettings"]["Networks"]) == {"none"},
    ),
    "5.30": ("not the host's users", lambda it: it.host["UsernsMode"] != "host"),
    "5.31": ("no socket of an engine", lambda it: not any("docker.sock" in source for source in it.sources)),
}


@pytest.mark.parametrize("number", CHECKS)
def test_a_live_container_meets_it(container: Container, number: str) -> None:
    what, check = CHECKS[number]
    assert check(container), (number, what, container.told)


def test_what_is_not_met_is_listed_with_its_reason() -> None:
    listed = set(re.findall(r"^\| (5\.\d+) \|", PAGE.read_text(), flags=re.MULTILINE))
    assert listed == NUMBERS - set(CHECKS)
