"""Is it there, has it a Python, can that run a kernel? Asked of an image once, and remembered by its id.

An image's id is a hash of its content, so an answer never goes stale. The question is put in a container as confined
as a session's, for an image may come from anywhere.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, NotFound, NullResource

from mulligan.sandbox.errors import ImageMissing, ImageUnusable
from mulligan.sandbox.image import recipe
from mulligan.sandbox.interior import SYSTEM_PATH, tail

_QUESTION = """
import sys
if sys.version_info < (3, 10):
    sys.exit("it has Python %d.%d, and the sandbox needs 3.10 or newer" % sys.version_info[:2])
try:
    import ipykernel.kernelbase, zmq
except ImportError as error:
    sys.exit("its Python cannot run a kernel: %s" % error)
print(sys.executable)
"""


@dataclass(frozen=True, slots=True)
class Image:
    """An image that can run a kernel. `python` is a path in it; `variables` and `volumes` are what it declares."""

    name: str
    id: str
    python: str
    path: str
    variables: Mapping[str, str]
    volumes: frozenset[str]


def find(client: docker.DockerClient, name: str | None, cache: Path) -> Image:
    """The image `name`, or the default one for None. ImageMissing, or ImageUnusable, with the command that helps."""
    tag, told = _inspect(client, name)
    told_config: Mapping[str, Any] = told.get("Config") or {}
    variables = dict(entry.partition("=")[::2] for entry in told_config.get("Env") or ())
    identity = str(told["Id"])
    python = _remembered(cache, identity) or _remember(cache, identity, _ask(client, tag, identity))
    return Image(
        name=tag,
        id=identity,
        python=python,
        path=variables.get("PATH", SYSTEM_PATH),
        variables=variables,
        volumes=frozenset(told_config.get("Volumes") or ()),
    )


def default(client: docker.DockerClient) -> str | None:
    """The default image's tag, if it was built on this machine."""
    for tag in recipe.default_tags():
        with suppress(NotFound):
            client.api.inspect_image(tag)
            return tag
    return None


def _inspect(client: docker.DockerClient, name: str | None) -> tuple[str, Mapping[str, Any]]:
    tag = default(client) if name is None else name
    if tag is None:
        raise ImageMissing("the sandbox's image is not built", hint="Run: make image, or: mulligan image")
    try:
        return tag, client.api.inspect_image(tag)
    except NotFound as error:
        raise ImageMissing(f"there is no image {tag!r} here", hint=f"Run: docker pull {tag}") from error
    except (APIError, NullResource) as error:
        said = tail(str(error).encode(), 200)
        raise ImageMissing(
            f"{tag!r} names no image: {said}", hint="Name one as `docker images` does."
        ) from error


def _ask(client: docker.DockerClient, tag: str, identity: str) -> str:
    """The path of its Python."""
    for python in ("python3", "python"):
        try:
            code, said = _run(client, identity, [python, "-I", "-B", "-c", _QUESTION])
        except APIError:  # no such program in it
            continue
        if code == 0 and said.startswith("/"):
            return said
        raise ImageUnusable(
            f"the image {tag!r} cannot be used: {said or f'exit status {code}'}", hint=_remedy(tag)
        )
    raise ImageUnusable(
        f"the image {tag!r} has no Python", hint="Build on one that has: FROM python:3.12-slim"
    )


def _run(client: docker.DockerClient, identity: str, command: list[str]) -> tuple[int, str]:
    container = client.containers.create(
        identity,
        entrypoint=command[:1],
        command=command[1:],
        user="65534:65534",
        network_mode="none",
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mem_limit="1g",
        pids_limit=64,
        environment={"HOME": "/"},
        healthcheck={"test": ["NONE"]},
    )
    try:
        container.start()
        code = int(container.wait(timeout=60)["StatusCode"])
        return code, tail(container.logs(tail=20), 600)
    finally:
        container.remove(force=True, v=True)


def _remedy(tag: str) -> str:
    return (
        f"Run: printf 'FROM {tag}\\nUSER root\\nRUN python3 -m pip install ipykernel pyzmq\\n' | "
        "docker build -t with-ipykernel - , then use image='with-ipykernel'"
    )


def _remembered(cache: Path, identity: str) -> str | None:
    try:
        python = json.loads(_file(cache, identity).read_text())["python"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return python if isinstance(python, str) and python.startswith("/") else None


def _remember(cache: Path, identity: str, python: str) -> str:
    """Keeping it is a convenience: a folder that cannot be written costs the next session half a second."""
    with suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        new = _file(cache, identity).with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        new.write_text(json.dumps({"python": python}))
        new.replace(_file(cache, identity))
    return python


def _file(cache: Path, identity: str) -> Path:
    return cache / f"{identity.replace(':', '-')}.json"
