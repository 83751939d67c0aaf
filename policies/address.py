"""The parts of a request in one spelling each, so that a rule is not passed by in another.

Hosts: lower case, without a trailing dot, international names as IDNA has them (UTS 46). An address in numbers is one
in its usual spelling alone; 0x7f.1, 2130706433, 0177.0.0.1 and what else a resolver would take for one is no name and
no address here, and is refused. Paths: percent-decoded once. A path that could mean two things to two servers (`..`, an
encoded or a backward slash, `//`, a percent sign that is still there after decoding, control characters) is refused.

What is refused raises `Unclear`: nothing that is unclear is ever allowed.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

import idna

PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_LONGEST = 8192


class Unclear(ValueError):
    """A part of a request that cannot be read in one way only. The text says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request in its one spelling. `path` is decoded and begins with a slash; of a tunnel (CONNECT) it is empty, and
    so is `scheme`."""

    method: str
    scheme: str
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        shown = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if PORTS.get(self.scheme) == self.port else f":{self.port}"
        return f"{self.method} {self.scheme and self.scheme + '://'}{shown}{port}{self.path}"


def request(method: str, scheme: str, host: str, port: int | None, path: str) -> Request:
    """Raises Unclear. `path` is as it stands in the request line, a query included or not; CONNECT has neither path nor
    scheme."""
    if not _METHOD.fullmatch(method):
        raise Unclear(f"{method[:40]!r} is no method")
    if method == "CONNECT":
        if port is None:
            raise Unclear("a tunnel without a port")
        return Request(method, "", host_of(host), port_of(port), "")
    scheme = scheme.lower()
    if scheme not in PORTS:
        raise Unclear(f"{scheme[:40]!r} is not one of {', '.join(PORTS)}")
    return Request(
        method, scheme, host_of(host), port_of(PORTS[scheme] if port is None else port), path_of(path)
    )


def port_of(port: int) -> int:
    if not 0 < port < 65536:
        raise Unclear(f"{port!r} is no port")
    return port


def host_of(host: str) -> str:
    """A name in lower case, or an address as the standard spells it (without brackets)."""
    if host.startswith("[") and host.endswith("]"):
        return _address(host[1:-1], 6)
    if ":" in host:
        return _address(host, 6)
    name = host if host.isascii() else _idna(host)
    name = name.lower().removesuffix(".")
    labels = name.split(".")
    if _NUMERIC.fullmatch(labels[-1]):
        return _address(name, 4)
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise Unclear(f"{host[:80]!r} is no name of a host")
    return name


def _address(text: str, version: int) -> str:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        found = None
    if found is None or found.version != version or "%" in text:
        raise Unclear(f"{text[:80]!r} is an address in a spelling that is not allowed")
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    if mapped is not None:
        raise Unclear(f"{text[:80]!r} is an address in a spelling that is not allowed")
    return str(found)


def _idna(host: str) -> str:
    try:
        return idna.encode(host, uts46=True, std3_rules=True).decode()
    except (idna.IDNAError, UnicodeError) as error:
        raise Unclear(f"{host[:80]!r} is no name of a host") from error


def is_address(host: str) -> bool:
    """Whether a host that `host_of` gave is an address and no name."""
    return ":" in host or host.rpartition(".")[2].isdigit()


def path_of(path: str) -> str:
    """Without its query."""
    raw = path.partition("?")[0]
    if not raw.startswith("/") or len(raw) > _LONGEST or "#" in raw:
        raise Unclear("a path that does not begin with /, is too long or has a #")
    if "%" in _ESCAPE.sub("", raw):
        raise Unclear("a % in a path that begins no escape")
    if any(ord(letter) <= 32 or ord(letter) >= 127 for letter in raw):
        raise Unclear("a path with characters that have to be escaped")
    decoded = _decoded(raw)
    if any(mark in decoded for mark in ("%", "\\", "//")) or re.search(r"%2f", raw, re.IGNORECASE):
        raise Unclear("a path with an encoded or doubled slash, a backslash, or escapes inside of escapes")
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in decoded):
        raise Unclear("a path with control characters")
    if any(segment.partition(";")[0].strip() in (".", "..") for segment in decoded.split("/")):
        raise Unclear("a path with . or .. in it")
    return decoded


def _decoded(raw: str) -> str:
    try:
        return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), raw).encode("latin-1").decode()
    except UnicodeDecodeError as error:
        raise Unclear("a path whose escapes are not UTF-8") from error
