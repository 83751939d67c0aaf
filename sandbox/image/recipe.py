"""What the sandbox's image is made of, and the names that follow from it. Touches no engine.

A tag is a hash of the content: the same Dockerfile, requirements and base give the same tag on every machine, and an
edit to any of them gives another, so "is it there?" and "is it up to date?" are one question.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = "mulligan-sandbox"
BASE_REPOSITORY = "mulligan-base"

#: pulled when a registry can be reached; the Dockerfile says the same
DEFAULT_BASE = "python:3.12-slim"

#: made from Debian's packages when it cannot
DEBIAN_SUITE = "bookworm"
DEBIAN_PACKAGES = ("python3", "python3-venv", "ca-certificates")


def tag(base: str) -> str:
    """The name of the image built on `base`."""
    parts = ((HERE / "Dockerfile").read_bytes(), (HERE / "requirements.txt").read_bytes(), base.encode())
    return f"{REPOSITORY}:{_digest(*parts)}"


def debian_base() -> str:
    """The name of the base made from Debian's packages."""
    return f"{BASE_REPOSITORY}:{_digest(DEBIAN_SUITE.encode(), *(name.encode() for name in DEBIAN_PACKAGES))}"


def default_tags() -> tuple[str, ...]:
    """The images that count as the default one, the preferred first."""
    return tag(DEFAULT_BASE), tag(debian_base())


def context(extra: Mapping[str, bytes]) -> io.BytesIO:
    """The build context as a tar: the Dockerfile, the requirements, and `extra` files by name."""
    files = {name: (HERE / name).read_bytes() for name in ("Dockerfile", "requirements.txt")} | dict(extra)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            tar.addfile(member, io.BytesIO(content))
    stream.seek(0)
    return stream


def _digest(*parts: bytes) -> str:
    """Each part's length goes in first, so that no two lists of parts run together to the same bytes."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "little") + part)
    return whole.hexdigest()[:16]
