"""How the user's folder comes into a session: beneath it, or by a copy."""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from mulligan.policies.exclusion import Exclusion
from mulligan.runtime import layering
from mulligan.runtime.errors import WorkspaceInvalid
from mulligan.runtime.importing import Progress
from mulligan.runtime.layering import Layered, NotLayered, Place
from mulligan.runtime.workspace import Baseline, stage

STAGINGS = ("auto", "copy", "overlay")
#: why nothing lies beneath a session that a pool hands out
STARTED = "its sandbox was started before it"


@dataclass(frozen=True, slots=True)
class Brought:
    """The user's folder as the session has it, and in words by which way; `layered` where it lies beneath."""

    baseline: Baseline
    how: str
    layered: Layered | None = None


def bring(
    source: Path | None,
    place: Place,
    *,
    staging: str,
    obstacle: str,
    user: tuple[int, int],
    progress: Progress | None,
    exclude: Exclusion,
) -> Brought:
    """Lay the user's folder beneath the workspace, or copy it. `staging` is "auto" (lay a large one beneath where that
    can be), "copy", or "overlay" (WorkspaceInvalid where it cannot be). `obstacle` is why nothing can be laid beneath
    this session, if so. Raises WorkspaceInvalid."""
    check_staging(source, staging, obstacle)
    uid, gid = user
    why = "it was asked for"
    if source is not None and staging != "copy":
        try:
            if obstacle:
                raise NotLayered(obstacle)
            only_large = staging == "auto"
            layered = layering.lay(
                source, place, user=user, progress=progress, exclude=exclude, only_large=only_large
            )
            return Brought(layered.baseline, "an overlay: nothing is copied", layered)
        except NotLayered as error:
            why = str(error)
    if staging == "overlay":
        check_staging(source, staging, why)
    baseline = stage(source, place.workspace, uid=uid, gid=gid, progress=progress, exclude=exclude)
    return Brought(baseline, f"a copy: {why}" if source is not None else "empty")


def check_staging(source: Path | None, staging: str, obstacle: str) -> None:
    """Raises WorkspaceInvalid for a staging that there is not, or that `obstacle` is in the way of."""
    if staging not in STAGINGS:
        raise WorkspaceInvalid(
            f"staging is {', '.join(map(repr, STAGINGS))}, not {staging!r}", hint="'auto' is the default"
        )
    if source is not None and staging == "overlay" and obstacle:
        raise WorkspaceInvalid(
            f"the workspace {source} cannot be laid beneath the session: {obstacle}",
            hint="with staging='auto' it is copied instead",
        )


def engine_sees_mounts(engine: str) -> bool:
    """Whether what is mounted here is seen by who makes the sandbox: a Docker engine may live among other mounts."""
    if engine != "docker":
        return True
    address = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    try:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(address.removeprefix("unix://"))
            said = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        (pid, _, _) = struct.unpack("3i", said)
        return os.stat(f"/proc/{pid}/ns/mnt").st_ino == os.stat("/proc/self/ns/mnt").st_ino
    except OSError:
        return False
