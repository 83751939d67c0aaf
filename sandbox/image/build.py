"""Makes the sandbox's image where it is missing: `python -m mulligan.sandbox.image.build`, or `make image`.

A machine behind a mirror, or behind a proxy that looks into TLS, builds too: the certificates and pip settings that
its environment names (the variables pip itself reads) go into the build context, and no further than the stage that
installs. Where the default base cannot be pulled, one is made from Debian's packages.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException, NotFound

from mulligan.sandbox.docker import connect
from mulligan.sandbox.errors import ImageMissing, ImageUnusable, SandboxError
from mulligan.sandbox.image import recipe, vetting
from mulligan.sandbox.interior import tail

Progress = Callable[[str], None]

CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
PIP = {
    "PIP_INDEX_URL": "index-url",
    "PIP_EXTRA_INDEX_URL": "extra-index-url",
    "PIP_TRUSTED_HOST": "trusted-host",
}
PIP |= {"PIP_DEFAULT_TIMEOUT": "timeout", "PIP_RETRIES": "retries"}
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")  # the engine passes these on without keeping them


def ensure(base: str | None, progress: Progress) -> str:
    """The tag of the image on `base` (None: the default), built if it is missing; quick if it is not.

    NoIsolation without an engine, ImageMissing when no base can be had, ImageUnusable when the build fails.
    """
    with closing(connect()) as client:
        found = _present(client, recipe.tag(base)) if base else vetting.default(client)
        if found:
            progress(f"{found} is there")
            return found
        base = base or _default_base(client, progress)
        tag = recipe.tag(base)
        _build(client, base, tag, progress)
        progress(f"{tag} is built")
        return tag


def _default_base(client: docker.DockerClient, progress: Progress) -> str:
    if _present(client, recipe.DEFAULT_BASE):
        return recipe.DEFAULT_BASE
    progress(f"Pulling {recipe.DEFAULT_BASE} ...")
    try:
        client.images.pull(*recipe.DEFAULT_BASE.split(":"))
        return recipe.DEFAULT_BASE
    except DockerException as error:
        progress(f"It cannot be pulled: {tail(str(error).encode(), 200)}")
    made = recipe.debian_base()
    if not _present(client, made):
        _bootstrap(client, made, progress)
    return made


def _bootstrap(client: docker.DockerClient, tag: str, progress: Progress) -> None:
    """A base from Debian's packages."""
    program = shutil.which("mmdebstrap")
    if program is None:
        raise ImageMissing(
            f"{recipe.DEFAULT_BASE} cannot be pulled, and mmdebstrap, which makes a base, is not installed",
            hint="Run: apt-get install mmdebstrap, then make image; or name a base that this machine has: "
            "python -m mulligan.sandbox.image.build --base NAME",
        )
    progress(f"Making {tag} from Debian's packages (half a minute) ...")
    with tempfile.TemporaryDirectory(prefix="mulligan-base-") as folder:
        tarball = Path(folder, "base.tar")
        packages = ",".join(recipe.DEBIAN_PACKAGES)
        options = ["--variant=minbase", f"--include={packages}", recipe.DEBIAN_SUITE]
        _follow([program, *options, str(tarball)], progress)
        repository, _, version = tag.partition(":")
        client.api.import_image_from_file(str(tarball), repository=repository, tag=version)


def _follow(command: list[str], progress: Progress) -> None:
    """Run it, passing on each line; its last ones go into the error."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        lines: list[str] = []
        for line in map(tail, process.stdout):
            lines = [*lines[-7:], line]
            progress(line)
    if process.returncode:
        raise ImageMissing(
            f"{Path(command[0]).name} made no base: " + "\n".join(lines),
            hint="Name a base that this machine has: python -m mulligan.sandbox.image.build --base NAME",
        )


def _build(client: docker.DockerClient, base: str, tag: str, progress: Progress) -> None:
    progress(f"Building {tag} on {base} (a minute or two) ...")
    session = client.api.build(
        fileobj=recipe.context(_private(os.environ)),
        custom_context=True,
        tag=tag,
        buildargs={"BASE": base, **_named(PROXIES, os.environ)},
        network_mode="host",
        rm=True,
        forcerm=True,
        decode=True,
    )
    try:
        _watch(session, progress)
    finally:
        _forget_stages(client)


def _watch(events: Iterable[Mapping[str, Any]], progress: Progress) -> None:
    last: list[str] = []
    failure = ""
    for event in events:  # to the end, which an error is too: the connection is free only then
        if line := tail(str(event.get("stream", "")).encode(), 300):
            last = [*last[-8:], line]
            progress(line)
        failure = tail(str(event.get("error", "")).encode(), 400) or failure
    if failure:
        raise ImageUnusable(
            "\n".join([f"the image was not built: {failure}", *last]),
            hint="A mirror or a proxy? Set PIP_INDEX_URL, and PIP_CERT to its certificates, and try again.",
        )


def _forget_stages(client: docker.DockerClient) -> None:
    """The first stage saw the host's pip settings: it does not stay."""
    for stage in client.images.list(filters={"dangling": True, "label": "mulligan.stage=packages"}):
        try:
            client.images.remove(stage.id)
        except DockerException:  # a build at the same time still uses it, and will remove it
            continue


def _private(environment: Mapping[str, str]) -> dict[str, bytes]:
    """Files for the first stage only: certificates if the environment names a file of them, and pip's settings."""
    settings = {PIP[name]: value for name, value in _named(PIP, environment).items() if "file:" not in value}
    files = {}
    for path in _named(CERTIFICATES, environment).values():
        if Path(path).is_file():
            files["ca.pem"] = Path(path).read_bytes()
            settings["cert"] = "/build/ca.pem"
            break
    if settings:
        lines = [f"{name} = {' '.join(value.split())}" for name, value in settings.items()]
        files["pip.conf"] = "\n".join(["[global]", *lines, ""]).encode()
    return files


def _named(names: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    return {name: environment[name] for name in names if environment.get(name)}


def _present(client: docker.DockerClient, tag: str) -> str | None:
    try:
        client.api.inspect_image(tag)
    except NotFound:
        return None
    return tag


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the sandbox's image where it is missing.")
    parser.add_argument(
        "--base", help=f"any image with Python 3.10 or newer (default: {recipe.DEFAULT_BASE})"
    )
    chosen = parser.parse_args(arguments)
    try:
        print(ensure(chosen.base, lambda line: print(f"  {line}", file=sys.stderr, flush=True)))
    except SandboxError as error:
        print(f"mulligan: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
