"""Where the library keeps what is no shelf: the index of each, and what sessions are given."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path

import platformdirs

#: bytes of the key
_KEY = 32


def cache_of(state: Path | None) -> Path:
    """In this state folder, or the user's."""
    return (state or platformdirs.user_state_path("mulligan")).absolute() / "library"


def index_of(folder: Path, state: Path | None, key: bytes) -> Path:
    """The index of the shelf in this folder: what is trusted in it depends on the key."""
    name = hashlib.sha256(os.fsencode(folder.resolve()) + b"\0" + key).hexdigest()[:24]
    return cache_of(state) / f"{name}.db"


def user_key() -> bytes:
    """The key under which this user's trust is sealed, made when it is first needed. Raises OSError."""
    path = platformdirs.user_data_path("mulligan").absolute() / "library.key"
    with suppress(FileNotFoundError):
        if len(key := path.read_bytes()) == _KEY:
            return key
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(secrets.token_bytes(_KEY))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(beside, path)  # from here on it is the key; another process may have been first
    except FileExistsError:
        pass
    finally:
        beside.unlink()
    key = path.read_bytes()
    if len(key) != _KEY:  # under one that others can guess, anybody could seal trust
        raise OSError(errno.EINVAL, f"the key {path} is damaged: remove it, and trust your routines again")
    return key


def personal_shelf() -> Path:
    """The shelf that is used where none is named."""
    return platformdirs.user_data_path("mulligan").absolute() / "library"
