"""`import mulligan` gives every public name, though each is imported only when it is asked for."""

from __future__ import annotations

import mulligan


def test_every_public_name_is_there_and_no_other_is_offered() -> None:
    assert sorted(mulligan._HOMES) == sorted(mulligan.__all__)
    assert all(getattr(mulligan, name) is not None for name in mulligan.__all__)
    assert not hasattr(mulligan, "Sessions")
