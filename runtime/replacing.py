"""A file whose text becomes another, whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace_text(target: Path, text: str, mode: int) -> None:
    """The commit point is the rename. Raises OSError; `target` is then as it was. It is no link: that would be
    replaced, and not what it leads to."""
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=target.parent, prefix=f".{target.name}.", delete=False
    ) as file:
        try:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, target)
        except BaseException:
            os.unlink(file.name)
            raise
