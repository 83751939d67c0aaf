"""The folder that sessions and what belongs to the user are kept in."""

from __future__ import annotations

from pathlib import Path

from mulligan.runtime.errors import WorkspaceInvalid


def make_state(folder: Path | None) -> Path | None:
    """It is there then; None stands for the user's own. Raises WorkspaceInvalid."""
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "name a folder that you can write"
        raise WorkspaceInvalid(
            f"the state folder {folder} cannot be made: {error.strerror}", hint=hint
        ) from error
    return folder
