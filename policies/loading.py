"""Reading a policy from a YAML file, with the files and presets that it extends. This room reads no other files.

    extends: analysis
    resources:
      memory: 2GiB
      wall: 30

Whatever is wrong is said with file, line, column and key, and with what was probably meant.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from pydantic import ValidationError

from mulligan.policies.complaints import complaint, problems_of, unwritten
from mulligan.policies.document import LARGEST, Node, read_document
from mulligan.policies.errors import PolicyError
from mulligan.policies.narrowing import Problem, both, within
from mulligan.policies.policy import RULES, Policy

PRESETS = Path(__file__).parent / "presets"

#: files that extend one another, one in the other
_DEEPEST = 8


def preset_names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in PRESETS.glob("*.yaml")))


def find_policy(name: str | Path) -> Policy:
    """The preset of that name, or the policy in that file. Raises PolicyError; a file that is called as a preset is
    named by its path, ./analysis."""
    return _Loading().named(str(name), Path(), "")


def find_text(name: str | Path) -> tuple[str, str]:
    """The text that `find_policy` would read, and what it is called in errors. Raises PolicyError."""
    if str(name) in preset_names():
        return read_policy_text(PRESETS / f"{name}.yaml"), str(name)
    path = Path(name)
    if not (path.suffix or "/" in str(name) or path.exists()):
        raise _unknown(str(name), "")
    return read_policy_text(path), str(name)


def load_policy(path: Path) -> Policy:
    """The policy in a file. Raises `PolicyError`, for a file that cannot be read as well."""
    return _Loading().file(path)


def parse_policy(text: str, *, origin: str = "policy", folder: Path = Path()) -> Policy:
    """The policy in a text; `origin` names it in errors, and what it extends is looked for in `folder`. Raises
    `PolicyError`."""
    return _Loading().text(text, origin, folder)


def read_policy_text(path: Path, place: str = "") -> str:
    """`place` is where the file was named, for the error that it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise PolicyError(
            f"{place}{path}: {why}", hint="name a policy file that you can read, or a preset"
        ) from error
    if len(data) > LARGEST:
        raise PolicyError(f"{path}: more than {LARGEST:,} bytes", hint="this is not a policy file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PolicyError(f"{path}:{line}: not UTF-8", hint="save the file as UTF-8") from error


def _unknown(name: str, place: str) -> PolicyError:
    close = difflib.get_close_matches(name, preset_names(), n=1)
    meant = f"did you mean {close[0]!r}? The" if close else "the"
    hint = f"{meant} presets are {', '.join(preset_names())}; a file is named with its ending, {name}.yaml"
    return PolicyError(f"{place}no preset and no file is called {name[:200]!r}", hint=hint)


class _Loading:
    """One policy with all that it extends; `_way` are the files on the way down."""

    def __init__(self) -> None:
        self._way: list[Path] = []

    def named(self, name: str, folder: Path, place: str) -> Policy:
        if name in preset_names():
            return self.file(PRESETS / f"{name}.yaml", origin=name)
        path = folder / name
        if path.suffix or "/" in name or path.exists():
            return self.file(path, place=place)
        raise _unknown(name, place)

    def file(self, path: Path, *, origin: str = "", place: str = "") -> Policy:
        if path.suffix == ".toml":
            hint = "write the same keys as YAML: 'resources:' and below it, indented, 'memory: 4GiB'"
            raise PolicyError(f"{place}{path}: policies are YAML files, not TOML", hint=hint)
        if (real := path.absolute()) in self._way or len(self._way) == _DEEPEST:
            circle = " → ".join(str(each.name) for each in (*self._way, path))
            raise PolicyError(
                f"{place}policies extend one another without end: {circle}", hint="break the circle"
            )
        self._way.append(real)
        policy = self.text(read_policy_text(path, place), origin or str(path), path.parent)
        self._way.pop()
        return policy

    def text(self, text: str, origin: str, folder: Path) -> Policy:
        document = read_document(text, origin)
        if not isinstance(document.value, dict):
            hint = "write sections such as 'files:' and 'network:', each at the beginning of a line"
            raise PolicyError(f"{origin}:{document.place.line}: a policy is made of sections", hint=hint)
        if empty := list(unwritten(document)):
            raise complaint(origin, document, empty)
        outer = self._extended(document, origin, folder)
        data = {key: node.plain() for key, node in document.value.items() if key != "extends"}
        try:
            policy = Policy.model_validate(data, context=tuple(outer.secrets) if outer else ())
        except ValidationError as error:
            raise complaint(origin, document, problems_of(document, error)) from error
        policy = _placed(policy, document, origin)
        if outer is None:
            return policy
        joined, problems = within(outer, policy)
        if problems:
            raise complaint(origin, document, problems)
        return joined

    def _extended(self, document: Node, origin: str, folder: Path) -> Policy | None:
        """What the policy extends; of several, what they all allow."""
        assert isinstance(document.value, dict)
        if (node := document.value.get("extends")) is None:
            return None
        names = [each.value for each in node.value] if isinstance(node.value, tuple) else [node.value]
        if not names or not all(isinstance(name, str) for name in names):
            problem = Problem(
                ("extends",), "extends names no preset and no file", "write such as extends: analysis"
            )
            raise complaint(origin, document, [problem])
        place = f"{origin}:{node.place.line}:{node.place.column}: "
        first, *others = (self.named(str(name), folder, place) for name in names)
        for other in others:
            first = both(first, other)
        return first


def _placed(policy: Policy, document: Node, origin: str) -> Policy:
    """The policy, whose rules and keys know where they stand."""
    assert isinstance(document.value, dict)
    update = {}
    for name in RULES:
        node = document.value.get(name)
        if node is not None and isinstance(node.value, tuple):
            pairs = zip(getattr(policy, name), node.value, strict=True)
            update[name] = tuple(rule.at(f"{origin}:{item.place.line}") for rule, item in pairs)
    placed = policy.model_copy(update=update)
    placed._places = dict(_places(document, origin, ()))
    return placed


def _places(node: Node, origin: str, way: tuple[str, ...]) -> list[tuple[tuple[str, ...], str]]:
    """Of every key that is no rule's, and of every text in a list."""
    found: list[tuple[tuple[str, ...], str]] = []
    if isinstance(node.value, dict):
        for key, inner in node.value.items():
            if key not in RULES:
                found.append(((*way, key), f"{origin}:{node.keys[key].line}"))
                found += _places(inner, origin, (*way, key))
    elif isinstance(node.value, tuple):
        found += [
            ((*way, each.value), f"{origin}:{each.place.line}")
            for each in node.value
            if isinstance(each.value, str)
        ]
    return found
