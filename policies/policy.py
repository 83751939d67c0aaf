"""The rules in force, as an immutable value. An unknown key is refused: a misspelt rule is no missing rule."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from mulligan.policies.protection import check_glob

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}
_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([A-Za-z]{1,3})")


def _bytes(value: object) -> object:
    """Text such as "4GiB" or "512 MB" as a number of bytes; anything else is left for the model to judge."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None or match[2].upper() not in _UNITS:
        raise ValueError(
            f'{value!r} is not a size: write a number of bytes, or text such as "4GiB" or "512MB"'
        )
    return int(float(match[1]) * _UNITS[match[2].upper()])


def _globs(value: object) -> object:
    """A list of globs, each checked; anything else is left for the model to judge."""
    return tuple(check_glob(glob) for glob in value) if isinstance(value, list | tuple) else value


Bytes = Annotated[int, BeforeValidator(_bytes), Field(gt=0, lt=1 << 62)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Resources(_Section):
    """What one session may use."""

    memory: Bytes = Field(default=4 << 30, description="bytes of memory of all processes together")
    cpus: float = Field(default=2.0, gt=0, le=4096, description="cores")
    pids: int = Field(default=512, ge=16, le=1 << 22, description="processes and threads at once")
    wall: float = Field(default=120.0, gt=0, description="seconds that one action may take")
    open_files: int = Field(default=4096, ge=64, le=1 << 20, description="descriptors of one process")
    file_size: Bytes = Field(default=8 << 30, description="bytes of one file")
    disk: Bytes = Field(default=16 << 30, description="bytes that the session may add to its files")
    output: Bytes = Field(default=4 << 30, description="bytes of long output that the session keeps in files")
    history: Bytes = Field(
        default=16 << 30,
        description="bytes that the first snapshot's successors may take; the oldest are let go",
    )
    files: int = Field(default=1_000_000, ge=1, le=1 << 32, description="files that the session may add")


class Actions(_Section):
    """What a proposed action may look like."""

    max_source_bytes: Bytes = Field(default=1 << 20, description="bytes of one action's source in UTF-8")


class Files(_Section):
    """What actions may do to the workspace's files."""

    protect: Annotated[tuple[str, ...], BeforeValidator(_globs)] = Field(
        default=(), description="globs of paths that no action may change; see protection.py"
    )


class Policy(_Section):
    """`Policy()` is the default policy: each field's default is what its section documents."""

    resources: Resources = Resources()
    actions: Actions = Actions()
    files: Files = Files()
