"""Rules about requests over the network.

    GET pypi.org/**                      methods, host, path
    GET,HEAD *.pypi.org/simple/*
    ANY http://localhost:8000,8001/**    a scheme and ports where they are not https and its own
    CONNECT git.example.org              a tunnel that nobody looks into

Where one restricts it is read generously (patterns.py): without a scheme it is about every scheme, without a port about
every port, with a star about every host; and it is about a tunnel to its host, since nobody can tell what goes through.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mulligan.policies.address import PORTS, Request, Unclear, host_of, is_address, request
from mulligan.policies.globs import host_covers, host_matches, path_covers, path_matches
from mulligan.policies.patterns import ANY, bounded

TUNNEL = frozenset({"CONNECT"})
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "TRACE")

_TARGET = re.compile(
    r"(?:(?P<scheme>[a-z]+)://)?(?P<host>\[[^\]/]*\]|[^/:\[\]\s]+)(?::(?P<ports>[^/]*))?(?P<path>/\S*)?"
)


@dataclass(frozen=True, slots=True)
class RequestPattern:
    """None means any. A tunnel has the method CONNECT alone, and no path."""

    methods: frozenset[str] | None
    scheme: str | None
    host: str
    ports: frozenset[int] | None
    path: str
    any_port: bool = False

    @classmethod
    def parse(cls, text: str) -> RequestPattern:
        words = bounded(text).split()
        if len(words) != 2:
            raise ValueError(f"{text!r} is not METHOD HOST/PATH: write such as GET pypi.org/**")
        methods = _methods(words[0])
        found = _TARGET.fullmatch(words[1])
        if found is None:
            raise ValueError(f"{words[1]!r} is not HOST/PATH: write such as pypi.org/** or localhost:8000/**")
        scheme, tunnel = found["scheme"], methods == TUNNEL
        if scheme is not None and (scheme not in PORTS or tunnel):
            raise ValueError(
                f"{scheme!r} is none of {', '.join(PORTS)}, or stands before a tunnel's host: write such as http://localhost:8000/**"
            )
        path = _path_glob(found["path"], words[1], tunnel)
        ports, any_port = _ports(found["ports"])
        return cls(methods, scheme, _host_glob(found["host"]), ports, path, any_port)

    @classmethod
    def subject(cls, text: str) -> Request:
        return parse_request(text)

    def matches(self, subject: object, *, generous: bool) -> bool:
        assert isinstance(subject, Request)
        return (
            self._method_matches(subject.method, generous)
            and self._end_matches(subject, generous)
            and self._path_matches(subject, generous)
        )

    def _method_matches(self, method: str, generous: bool) -> bool:
        if method == "CONNECT":
            return generous or self.methods == TUNNEL
        return self.methods is None or method in self.methods

    def _end_matches(self, subject: Request, generous: bool) -> bool:
        if generous and self.host == "*":
            host = True
        else:
            host = host_matches(self.host, subject.host, address=is_address(subject.host))
        if generous and self.ports is None and self.scheme is None:
            return host
        scheme = subject.method == "CONNECT" or subject.scheme == (self.scheme or "https")
        if generous and self.scheme is None:
            scheme = True
        return host and scheme and ((generous and self.ports is None) or self._allows_port(subject.port))

    def _allows_port(self, port: int) -> bool:
        return self.any_port or port in (self.ports or {PORTS[self.scheme or "https"]})

    def _path_matches(self, subject: Request, generous: bool) -> bool:
        if subject.method == "CONNECT" or not self.path:
            return True
        if not generous:
            return path_matches(self.path, subject.path)
        glob, path = self.path.casefold(), subject.path.casefold()
        bare = "/".join(segment.partition(";")[0] for segment in path.split("/"))
        return any(path_matches(glob, each) for each in {path, bare, path.rstrip("/") or "/"})

    def may_lead_to(self, host: str, port: int) -> bool:
        """Whether some request to there could match."""
        return host_matches(self.host, host, address=is_address(host)) and self._allows_port(port)

    def may_meet(self, asked: Request, path: str) -> bool:
        """Whether, read generously, it may be about a request like this one whose path is one of this glob's."""
        ours, theirs = _literal(self.path), _literal(path)
        meets = ours.startswith(theirs) or theirs.startswith(ours)
        return meets and self._method_matches(asked.method, True) and self._end_matches(asked, True)

    def covers(self, other: object) -> bool:
        assert isinstance(other, RequestPattern)
        return (
            (self.methods is None or (other.methods is not None and other.methods <= self.methods))
            and (self.methods == TUNNEL) == (other.methods == TUNNEL)
            and (self.scheme or "https") == (other.scheme or "https")
            and host_covers(self.host, other.host, address=is_address(other.host))
            and (self.any_port or (not other.any_port and other._own_ports() <= self._own_ports()))
            and (not self.path or path_covers(self.path, other.path))
        )

    def _own_ports(self) -> frozenset[int]:
        return self.ports or frozenset({PORTS[self.scheme or "https"]})


def _literal(glob: str) -> str:
    """What every path that the glob matches begins with, where it is read generously."""
    segments = glob.partition("*")[0].casefold().split("/")
    return "/".join(segment.partition(";")[0] for segment in segments).rstrip("/")


def parse_request(text: str) -> Request:
    """`POST https://example.org/v1/x`, or without the scheme, which is https then. Raises ValueError."""
    words = text.split()
    if len(words) != 2:
        raise ValueError(f"{text!r} is not METHOD URL: write such as 'GET https://pypi.org/simple/'")
    found = _TARGET.fullmatch(words[1].partition("?")[0])
    if found is None:
        raise ValueError(f"{words[1]!r} is no URL: write such as https://pypi.org/simple/")
    ports = found["ports"]
    if ports is not None and not (ports.isascii() and ports.isdigit() and len(ports) < 6):
        raise ValueError(f"{ports!r} is no port")
    port = int(ports) if ports is not None else 443 if words[0] == "CONNECT" else None
    try:
        return request(words[0], found["scheme"] or "https", found["host"], port, found["path"] or "/")
    except Unclear as error:
        raise ValueError(str(error)) from error


def _methods(word: str) -> frozenset[str] | None:
    if word == ANY:
        return None
    names = frozenset(word.split(","))
    for name in names:
        if name not in METHODS:
            meant = (
                f"write {name.upper()}" if name.upper() in METHODS else f"write {', '.join(METHODS)} or {ANY}"
            )
            raise ValueError(f"{name!r} is no method: {meant}, several with commas and no spaces")
    if "CONNECT" in names and len(names) > 1:
        raise ValueError("CONNECT is a tunnel that nobody looks into: write a rule of its own for it")
    return names


def _host_glob(host: str) -> str:
    if "*" not in host:
        try:
            return host_of(host)
        except Unclear as error:
            raise ValueError(
                f"{error}: write a name such as pypi.org, or an address as 127.0.0.1 or [::1]"
            ) from error
    if host == "*":
        return host
    if not host.startswith("*.") or "*" in host[1:]:
        raise ValueError(f"{host!r}: a star is the whole host, or its beginning: write such as *.pypi.org")
    name = _host_glob(host[2:])
    if is_address(name):
        raise ValueError(f"{host!r}: no star matches an address: write the address itself")
    return f"*.{name}"


def _ports(text: str | None) -> tuple[frozenset[int] | None, bool]:
    if text is None or text == "*":
        return None, text == "*"
    ports = text.split(",")
    if not all(each.isascii() and each.isdigit() and 0 < int(each[:6]) < 65536 for each in ports):
        raise ValueError(f"{text!r} is no port: write a number from 1 to 65535, several with commas, or *")
    return frozenset(map(int, ports)), False


def _path_glob(path: str | None, target: str, tunnel: bool) -> str:
    if tunnel:
        if path not in (None, "/**"):
            raise ValueError(
                "CONNECT is a tunnel that nobody looks into: it has no path: write such as CONNECT git.example.org"
            )
        return ""
    if path is None:
        raise ValueError(f"{target!r} names no path: write {target}/** for all that is there")
    if any(mark in path for mark in "?#"):
        raise ValueError(
            f"{path!r}: rules see the path without its query: write it without what begins with ? or #"
        )
    if "%" in path or "\\" in path or "//" in path or {".", ".."} & set(path.split("/")):
        raise ValueError(
            f"{path!r} is the path of no request that is let through: write it decoded, without . or .. or //"
        )
    if any("**" in segment and segment != "**" for segment in path.split("/")):
        raise ValueError(f"{path!r}: two stars stand alone between slashes: write such as /data/**")
    return path
