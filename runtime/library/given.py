"""What a session was told of a library when it was opened."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mulligan.policies.policy import Policy
from mulligan.runtime.library.library import Library
from mulligan.runtime.library.offer import put_on_offer
from mulligan.runtime.library.rights import everything_by_name


@dataclass(frozen=True, slots=True)
class Given:
    """Shelves, the first before the others, and the policy that says what of them may be used."""

    folders: tuple[Path, ...]
    policy: Policy
    state: Path | None

    @classmethod
    def of(
        cls,
        library: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        policy: Policy,
        state: str | os.PathLike[str] | None,
        *,
        by_name: bool,
    ) -> Given:
        """With `by_name` the name of every routine is allowed: nobody gave a policy, but somebody a library."""
        one = isinstance(library, str | os.PathLike)
        folders = tuple(map(Path, (library,) if one else library))  # type: ignore[arg-type]
        if not folders:
            raise ValueError("library is a folder or a list of folders, not an empty one")
        rules = everything_by_name(policy) if by_name else policy
        return cls(folders, rules, None if state is None else Path(state))

    @contextmanager
    def open(self, folder: Path) -> Iterator[Library]:
        """The library, with what the session may use of it put into `folder`. Raises ShelfUnusable."""
        with Library.open(self.folders, self.state, create=True) as library:
            put_on_offer(library, self.policy, folder, self.state)
            yield library
