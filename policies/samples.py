"""Subjects that a pattern is about, with its stars written out: what two policies are tried with. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mulligan.policies.address import PORTS, Request
from mulligan.policies.patterns import (
    Call,
    CallPattern,
    NamePattern,
    Package,
    PackagePattern,
    Pattern,
    Statement,
    StatementPattern,
)
from mulligan.policies.requests import METHODS, TUNNEL, RequestPattern

#: what a star stands for: no rule is likely to name it
_SOME = "some-name"
_VERSION = re.compile(r"[0-9][0-9A-Za-z.!+]*[0-9A-Za-z]|[0-9]")


def samples(pattern: Pattern) -> Iterator[tuple[str, object]]:
    """Each with how it is said."""
    match pattern:
        case RequestPattern():
            yield from ((str(each), each) for each in _requests(pattern))
        case CallPattern():
            arguments = {key: _written(glob) for key, glob in pattern.arguments}
            said = ", ".join(f"{key}={value}" for key, value in arguments.items())
            name = _written(pattern.name)
            yield f"{name}({said})" if said else name, Call(name, arguments)
        case StatementPattern():
            name = _written(pattern.database)
            yield from ((f"{kind} {name}", Statement(kind, name)) for kind in sorted(pattern.kinds))
        case PackagePattern():
            name, source = _written(pattern.name), _written(pattern.source)
            yield f"{name} from {source}", Package(name, source)
            for version in _VERSION.findall(pattern.versions):
                yield f"{name}=={version} from {source}", Package(name, source, version)
        case NamePattern():
            yield _written(pattern.name), _written(pattern.name)


def path_of(glob: str) -> str:
    """A path that a glob of files is about; its marks that are no stars are left as they are."""
    name = glob.strip("/").replace("**", _SOME).replace("*", _SOME)
    return name or _SOME


def _requests(pattern: RequestPattern) -> Iterator[Request]:
    host = "some-name.example" if pattern.host == "*" else _written(pattern.host)
    scheme = pattern.scheme or "https"
    for port in sorted(pattern.ports or {PORTS[scheme]}):
        for method in sorted(pattern.methods or set(METHODS) - TUNNEL):
            if method == "CONNECT":
                yield Request(method, "", host, port, "")
            else:
                yield Request(method, scheme, host, port, _written(pattern.path.replace("**", "*")))


def _written(glob: str) -> str:
    return glob.replace("*", _SOME)
