"""Where the library keeps what is no shelf: the index of each, and what sessions are given."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import platformdirs


def cache_of(state: Path | None) -> Path:
    """In this state folder, or the user's."""
    return (state or platformdirs.user_state_path("mulligan")).absolute() / "library"


def index_of(folder: Path, state: Path | None) -> Path:
    """The index of the shelf in this folder."""
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:24]
    return cache_of(state) / f"{name}.db"


def personal_shelf() -> Path:
    """The shelf that is used where none is named."""
    return platformdirs.user_data_path("mulligan").absolute() / "library"
