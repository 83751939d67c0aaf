"""The one-liners of rules: what each may look like, what it matches, and whether it covers another.

    tools       search_*                 a name
                send_mail(to=*@example.org)
    databases   read sales               read, insert, update, delete, define; write is the three in the middle
    packages    pandas from pypi
                numpy>=1.26,<3 from pypi
    library     clean_*
    network     GET pypi.org/**          in requests.py

A pattern is read in two ways. Where it *grants*, it matches what it says and no more. Where it *restricts* (hold, ask,
deny) it is read generously: letters of either case, and an argument that is missing or cannot be compared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from mulligan.policies.globs import word_covers, word_matches

ANY = "ANY"
STATEMENTS = ("read", "insert", "update", "delete", "define")
WRITE = ("insert", "update", "delete")

_NAME = re.compile(r"[\w*][\w.*-]*")
_CALL = re.compile(r"(?P<name>[\w.*-]+)\((?P<arguments>.*)\)")
_PACKAGE = re.compile(
    r"(?P<name>[\w*][\w.*-]*)\s*(?P<versions>[<>=!~][^\s]*(?:\s*,\s*[^\s]+)*)?\s+from\s+(?P<source>[\w*][\w.*-]*)"
)
PYPI = "pypi"
_LONGEST, _STARS = 1000, 8


class Pattern(Protocol):
    """What a one-liner becomes. `parse` raises ValueError, whose text says what to write. `subject` parses an example,
    which is written as what it stands for is shown: a request, a call..."""

    @classmethod
    def parse(cls, text: str) -> Self: ...

    @classmethod
    def subject(cls, text: str) -> object: ...

    def matches(self, subject: object, *, generous: bool) -> bool: ...

    def covers(self, other: object) -> bool:
        """Whether it grants all that the other grants. It may say no where that is so, and never yes where not."""
        ...


def bounded(text: str) -> str:
    if len(text) > _LONGEST or not text.isprintable():
        raise ValueError("a rule is one line of at most 1,000 characters that print: write several rules")
    if any(part.count("*") > _STARS for part in text.split("/")):
        raise ValueError(f"{text!r} has more than {_STARS} stars in a name: write several rules")
    return text


@dataclass(frozen=True, slots=True)
class Call:
    """A tool's call, as it is judged."""

    name: str
    arguments: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class CallPattern:
    """A tool's name, and globs of some of its arguments; those that are not named may be anything."""

    name: str
    arguments: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> CallPattern:
        found = _CALL.fullmatch(bounded(text))
        name = found["name"] if found else text
        if not _NAME.fullmatch(name):
            raise ValueError(f"{text!r} is no tool: write a name, or name(argument=glob, argument=glob)")
        return cls(name, tuple(_argument(each) for each in _split(found["arguments"] if found else "")))

    @classmethod
    def subject(cls, text: str) -> Call:
        pattern = cls.parse(text)
        return Call(pattern.name, dict(pattern.arguments))

    def matches(self, subject: object, *, generous: bool) -> bool:
        assert isinstance(subject, Call)
        named = _same(self.name, subject.name, generous)
        return named and all(
            _argument_matches(glob, subject.arguments.get(key, _ABSENT), generous)
            for key, glob in self.arguments
        )

    def covers(self, other: object) -> bool:
        assert isinstance(other, CallPattern)
        theirs = dict(other.arguments)
        return word_covers(self.name, other.name) and all(
            key in theirs and word_covers(glob, theirs[key]) for key, glob in self.arguments
        )


_ABSENT = object()


def _argument(text: str) -> tuple[str, str]:
    key, equals, glob = text.partition("=")
    if not equals or not key.strip().isidentifier():
        raise ValueError(f"{text!r} is not argument=glob: write such as send_mail(to=*@example.org)")
    return key.strip(), glob.strip()


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")] if text.strip() else []


def _argument_matches(glob: str, value: object, generous: bool) -> bool:
    if isinstance(value, bool):
        value = str(value).lower()
    if isinstance(value, str | int | float):
        return _same(glob, str(value), generous)
    return generous  # absent, or nothing that a glob can be held against


def _same(glob: str, text: str, generous: bool) -> bool:
    return word_matches(glob.casefold(), text.casefold()) if generous else word_matches(glob, text)


@dataclass(frozen=True, slots=True)
class Statement:
    """What is asked of a database: a kind out of STATEMENTS."""

    kind: str
    database: str


@dataclass(frozen=True, slots=True)
class StatementPattern:
    kinds: frozenset[str]
    database: str

    @classmethod
    def parse(cls, text: str) -> StatementPattern:
        words = bounded(text).split()
        if len(words) != 2 or not _NAME.fullmatch(words[1]):
            raise ValueError(
                f"{text!r} is not KIND DATABASE: write such as 'read sales' or 'insert,update sales'"
            )
        return cls(_kinds(words[0]), words[1])

    @classmethod
    def subject(cls, text: str) -> Statement:
        words = text.split()
        if len(words) != 2 or words[0] not in STATEMENTS:
            raise ValueError(
                f"{text!r} is not KIND DATABASE: write such as 'read sales'; a kind is {', '.join(STATEMENTS)}"
            )
        return Statement(*words)

    def matches(self, subject: object, *, generous: bool) -> bool:
        assert isinstance(subject, Statement)
        return subject.kind in self.kinds and _same(self.database, subject.database, generous)

    def covers(self, other: object) -> bool:
        assert isinstance(other, StatementPattern)
        return other.kinds <= self.kinds and word_covers(self.database, other.database)


def _kinds(word: str) -> frozenset[str]:
    if word == ANY:
        return frozenset(STATEMENTS)
    kinds: set[str] = set()
    for each in word.split(","):
        if each != "write" and each not in STATEMENTS:
            raise ValueError(
                f"{each!r} is no kind of statement: write {', '.join(STATEMENTS)}, write or {ANY}"
            )
        kinds.update(WRITE if each == "write" else (each,))
    return frozenset(kinds)


@dataclass(frozen=True, slots=True)
class Package:
    """`name` as an index compares it (PEP 503), "" where it cannot be told; `source` is "pypi" or the host of another
    index. `version` is None where it is not said yet, "" where it cannot be told."""

    name: str
    source: str
    version: str | None = None


@dataclass(frozen=True, slots=True)
class PackagePattern:
    """`versions` as PEP 440 has them: ">=1.26,<3"; empty for all."""

    name: str
    source: str
    versions: str = ""

    @classmethod
    def parse(cls, text: str) -> PackagePattern:
        found = _PACKAGE.fullmatch(bounded(text).strip())
        if not found or (found["name"] == ANY and found["versions"]):
            raise ValueError(
                f"{text!r} is not PACKAGE from SOURCE: write such as 'pandas from pypi', or 'numpy>=1.26,<3 from pypi'"
            )
        name = "*" if found["name"] == ANY else found["name"]
        source = "*" if found["source"] == ANY else found["source"].lower()
        return cls(plain_name(name), PYPI if source == "pypi.org" else source, _versions(found["versions"]))

    @classmethod
    def subject(cls, text: str) -> Package:
        pattern = cls.parse(text)
        if not pattern.versions:
            return Package(pattern.name, pattern.source)
        exactly = pattern.versions.removeprefix("==")
        if exactly == pattern.versions or not exactly[:1].isalnum() or set("*,") & set(exactly):
            raise ValueError(f"{text!r} is no package: write one version, such as 'numpy==1.26.4 from pypi'")
        return Package(pattern.name, pattern.source, exactly)

    def matches(self, subject: object, *, generous: bool) -> bool:
        assert isinstance(subject, Package)
        named = _same(self.name, plain_name(subject.name), generous)
        if not subject.name:
            named = generous or self.name == "*"
        return (
            named
            and _same(self.source, subject.source.lower(), generous)
            and self._versions_match(subject.version, generous)
        )

    def _versions_match(self, version: str | None, generous: bool) -> bool:
        """Of a project's page no version is known: it is not forbidden for some, and is needed for those allowed."""
        if not self.versions:
            return True
        if version is None:
            return not generous
        try:
            return SpecifierSet(self.versions).contains(Version(version), prereleases=True)
        except InvalidVersion:
            return generous

    def covers(self, other: object) -> bool:
        assert isinstance(other, PackagePattern)
        return (
            word_covers(self.name, other.name)
            and word_covers(self.source, other.source)
            and self.versions in ("", other.versions)
        )


def _versions(text: str | None) -> str:
    try:
        return str(SpecifierSet(text or ""))
    except InvalidSpecifier as error:
        raise ValueError(f"{text!r} are no versions: write such as >=1.26,<3") from error


def plain_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True, slots=True)
class NamePattern:
    """A routine's name."""

    name: str

    @classmethod
    def parse(cls, text: str) -> NamePattern:
        if not _NAME.fullmatch(bounded(text)):
            raise ValueError(f"{text!r} is no routine's name: write such as clean_* or load_sales")
        return cls(text)

    @classmethod
    def subject(cls, text: str) -> str:
        return cls.parse(text).name

    def matches(self, subject: object, *, generous: bool) -> bool:
        assert isinstance(subject, str)
        return _same(self.name, subject, generous)

    def covers(self, other: object) -> bool:
        assert isinstance(other, NamePattern)
        return word_covers(self.name, other.name)
