"""Answers that hold for good: a line under `approvals.always` in the policy's own file.

The file is changed as text, so that all that people wrote in it stays. What came out is loaded before it is written:
it must say the same as before, and allow this line. Where it would not, nothing is offered and nothing is written.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from mulligan.policies.document import Node, read_document
from mulligan.policies.errors import PolicyError
from mulligan.policies.loading import parse_policy, preset_names, read_policy_text
from mulligan.policies.policy import Policy
from mulligan.runtime.replacing import replace_text

_BY_HAND = "write it there yourself, under approvals: always:"


class Standing:
    """The file of a session's policy."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, policy: Policy | str | os.PathLike[str] | None) -> Standing | None:
        """None where a session's policy is no file of the user's own."""
        if policy is None or isinstance(policy, Policy) or policy in preset_names():
            return None
        return cls(Path(policy).absolute())

    def would_take(self, line: str) -> bool:
        """Whether the line can be written, and would be obeyed."""
        with suppress(PolicyError):
            self._with(line)
            return True
        return False

    def write(self, line: str) -> None:
        """Raises PolicyError, and then the file is as it was."""
        text = self._with(line)
        target = Path(os.path.realpath(self.path))
        try:
            replace_text(target, text, target.stat().st_mode & 0o7777)
        except OSError as error:
            raise PolicyError(f"{self.path}: {error.strerror}", hint=_BY_HAND) from error

    def _with(self, line: str) -> str:
        before = read_policy_text(self.path)
        text = with_line(before, line, str(self.path))
        if text == before:
            return text
        old = parse_policy(before, origin=str(self.path), folder=self.path.parent)
        new = parse_policy(text, origin=str(self.path), folder=self.path.parent)
        wanted = old.model_dump()
        wanted["approvals"]["always"] = (*wanted["approvals"]["always"], line)
        if new.model_dump() != wanted:
            raise PolicyError(f"{self.path}: it would not say the same as before", hint=_BY_HAND)
        return text


def with_line(text: str, line: str, origin: str) -> str:
    """The policy with one line more under `approvals.always`. Raises PolicyError where it is written so that it cannot
    be put in."""
    quoted = json.dumps(line)
    document = read_document(text, origin)
    section = _inner(document, "approvals")
    if section is None:
        return f"{text}{'' if text.endswith(chr(10)) or not text else chr(10)}approvals:\n  always:\n    - {quoted}\n"
    always = _inner(section, "always")
    if not section.keys:
        raise _unfit(origin)
    if always is None:
        at, indent = min(place.line for place in section.keys.values()), section.place.column - 1
        return _inserted(text, at - 1, [f"{' ' * indent}always:", f"{' ' * indent}  - {quoted}"])
    items = always.value if isinstance(always.value, tuple) else ()
    if any(item.value == line for item in items):
        return text
    if not items:
        raise _unfit(origin)
    last, rows = items[-1].place, text.split("\n")
    if last.line > len(rows):  # YAML ends lines with other characters too
        raise _unfit(origin)
    before = rows[last.line - 1][: last.column - 1]
    if before.strip() != "-":
        raise _unfit(origin)
    return _inserted(text, last.line, [f"{before}{quoted}"])


def _inner(node: Node, key: str) -> Node | None:
    return node.value.get(key) if isinstance(node.value, dict) else None


def _inserted(text: str, at: int, lines: list[str]) -> str:
    """What comes of it is loaded and compared, so a file that is written otherwise than expected is noticed."""
    old = text.split("\n")
    return "\n".join([*old[:at], *lines, *old[at:]])


def _unfit(origin: str) -> PolicyError:
    return PolicyError(f"{origin}: approvals.always is not a list with one request a line", hint=_BY_HAND)
