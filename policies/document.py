"""YAML as policy files use it: text in, plain values out, and for every key and value the place that it stands at.

PyYAML reads the events; the values are made here, since its own ways of making them are what goes wrong in files of
rules: `no` is a truth value there, of two equal keys the last one wins, and a few lines of aliases unfold to
gigabytes. So here `true` and `false` are the only truth values, a number is what looks like one to anybody, all else is
text, and anchors, aliases, tags and a second key of one name are refused. Depth and size are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

import yaml

from mulligan.policies.errors import PolicyError

#: bytes of a file, and how deep it may be nested
LARGEST, DEEPEST = 1 << 18, 12

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})")
_NUMBER = re.compile(r"[-+]?[0-9]{1,18}\.[0-9]{1,18}")
_QUOTE = 'put the value in quotes, such as "*.csv" or "**/**"'


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something stands in a file; lines and columns count from 1."""

    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its place. `value` is text, a number, a truth value, None where nothing was written, a tuple of
    nodes, or a dict of nodes; `keys` are the places of a dict's keys."""

    place: Place
    value: object
    keys: dict[str, Place] = field(default_factory=dict)

    def plain(self) -> object:
        """The value without places."""
        match self.value:
            case dict():
                return {key: node.plain() for key, node in self.value.items()}
            case tuple():
                return tuple(node.plain() for node in self.value)
        return self.value

    def at(self, path: tuple[str | int, ...]) -> tuple[Node, Place, bool]:
        """The node that a path leads to, or the last on the way that there is; the place of its key, where it has
        one; and whether the path was walked to its end."""
        node, place = self, self.place
        for step in path:
            if isinstance(node.value, dict) and step in node.value:
                node, place = node.value[step], node.keys[str(step)]
            elif isinstance(node.value, tuple) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                place = node.place
            else:
                return node, place, False
        return node, place, True


def read_document(text: str, origin: str) -> Node:
    """The one document in a text; an empty text is an empty dict. Raises PolicyError, which names file, line and
    column."""
    if len(text) > LARGEST:
        raise PolicyError(f"{origin}: more than {LARGEST:,} characters", hint="this is not a policy file")
    reader = _Reader(text, origin)
    try:
        return reader.document()
    except PolicyError:
        raise
    except yaml.MarkedYAMLError as error:
        raise _broken(text, origin, error) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise PolicyError(
            f"{origin}:{line}: the character U+{error.character:04X} cannot stand in a policy file",
            hint="remove it; a policy is plain text in UTF-8",
        ) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise PolicyError(f"{origin}: not YAML: {error}", hint="put odd text in single quotes") from error


def _broken(text: str, origin: str, error: yaml.MarkedYAMLError) -> PolicyError:
    """What the parser says, in words that tell what to write."""
    mark = error.problem_mark or error.context_mark
    place = f"{origin}:{mark.line + 1}:{mark.column + 1}" if mark else origin
    problem = (error.problem or "not YAML").replace("\n", " ")
    line = text.split("\n")[mark.line] if mark and mark.line < text.count("\n") + 1 else ""
    if "\t" in line[: len(line) - len(line.lstrip())] or "'\\t'" in problem:
        return PolicyError(
            f"{place}: a tab at the beginning of a line", hint="indent with spaces, two a level"
        )
    if "alias" in (error.context or "") or "anchor" in (error.context or ""):
        return PolicyError(
            f"{place}: a value that begins with * or & has a meaning of its own in YAML", hint=_QUOTE
        )
    if "mapping values are not allowed" in problem:
        hint = "indent the keys of one section alike, and put a value that holds ': ' in quotes"
        return PolicyError(
            f"{place}: a second ':' in one line, or a line that is indented too far", hint=hint
        )
    if "cannot start any token" in problem:
        return PolicyError(f"{place}: {problem}", hint=_QUOTE)
    if "found unexpected end of stream" in problem or "quoted scalar" in (error.context or ""):
        return PolicyError(
            f"{place}: a quotation mark that is never closed", hint="close it in the same line"
        )
    if "could not find expected ':'" in problem or "expected <block end>" in problem:
        hint = "write 'key: value', with a space after the colon, and indent the keys of one section alike"
        return PolicyError(
            f"{place}: this line is no 'key: value' of the section that it stands in", hint=hint
        )
    if "flow" in (error.context or ""):
        return PolicyError(
            f"{place}: a [ or {{ that is never closed, or a comma that is missing", hint="close it"
        )
    return PolicyError(
        f"{place}: not YAML: {problem}", hint="see policies/presets/coding.yaml for what a policy looks like"
    )


class _Reader:
    def __init__(self, text: str, origin: str) -> None:
        self._origin = origin
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=yaml.SafeLoader)

    def document(self) -> Node:
        next(self._events)  # the stream starts
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            return Node(Place(), {})
        node = self._node(next(self._events), 0)
        next(self._events)  # the document ends
        if not isinstance(second := next(self._events), yaml.StreamEndEvent):
            self._refuse(_place(second), "a second document", "one file is one policy: remove the line '---'")
        return Node(node.place, {}) if node.value is None else node

    def _node(self, event: yaml.Event, depth: int) -> Node:
        place = _place(event)
        if isinstance(event, yaml.AliasEvent):
            self._refuse(place, f"an alias, *{event.anchor}", f"write the value itself; or {_QUOTE}")
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
        if event.anchor is not None:
            self._refuse(place, f"an anchor, &{event.anchor}", "write values where they are used")
        if event.tag is not None:
            self._refuse(
                place, f"a tag, {event.tag[:100]}", "remove it: values are text, numbers, true and false"
            )
        if depth > DEEPEST:
            self._refuse(place, "nested too deep", "no key of a policy lies so deep")
        if isinstance(event, yaml.ScalarEvent):
            return Node(place, event.value if not event.implicit[0] else _value(event.value))
        if isinstance(event, yaml.SequenceStartEvent):
            return Node(place, tuple(self._items(depth)))
        return self._mapping(place, depth)

    def _items(self, depth: int) -> Iterator[Node]:
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            yield self._node(event, depth + 1)

    def _mapping(self, place: Place, depth: int) -> Node:
        values: dict[str, Node] = {}
        keys: dict[str, Place] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._key(event)
            if key in values:
                first = keys[key].line
                self._refuse(_place(event), f"a second key {key!r}", f"join it with that of line {first}")
            keys[key] = _place(event)
            values[key] = self._node(next(self._events), depth + 1)
        return Node(place, values, keys)

    def _key(self, event: yaml.Event) -> str:
        if not isinstance(event, yaml.ScalarEvent) or event.tag is not None or event.anchor is not None:
            self._refuse(_place(event), "a key that is no plain word", "write 'key: value'; quote odd text")
        return str(event.value)

    def _refuse(self, place: Place, what: str, hint: str) -> NoReturn:
        raise PolicyError(f"{self._origin}:{place.line}:{place.column}: {what}", hint=hint)


def _place(event: yaml.Event) -> Place:
    mark = event.start_mark
    assert mark is not None
    return Place(mark.line + 1, mark.column + 1)


def _value(text: str) -> object:
    """A scalar without quotes."""
    if text in ("true", "false"):
        return text == "true"
    if text in ("", "~", "null"):
        return None
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text
