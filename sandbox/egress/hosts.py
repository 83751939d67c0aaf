"""One spelling for each host, before anything is judged, resolved or compared.

An IPv4 address that is written in decimal, octal, hexadecimal or with fewer than four parts (inet_aton) is refused:
no rule knows it so, and what else it would be called is said. A name that is neither an address nor plain ASCII
labels is refused: what two programs could read as two hosts is none.
"""

from __future__ import annotations

import ipaddress
import re
import socket

from mulligan.sandbox.egress.errors import Refused

_NAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")
_PORT = re.compile(r"[0-9]{1,5}")


def host_of(text: str) -> str:
    """The one spelling of a host as it stands in a URL, IPv6 in brackets; without them in the result."""
    if text.startswith("[") and text.endswith("]"):
        return _six(text[1:-1])
    name = text.lower().removesuffix(".")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return _four(name)
    if not _NAME.fullmatch(name):
        raise Refused(f"{text[:100]!r} is not a host")
    return name


def split_authority(text: str, default: int | None) -> tuple[str, int]:
    """Host and port of "host", "host:port" or "[v6]:port". No default: there must be a port."""
    if "@" in text:
        raise Refused("an authority may name no user: send an Authorization header")
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, ""
    if not port and (default is None or (colon and not text.endswith("]"))):
        raise Refused(f"{text[:100]!r} names no port")
    if port and not (_PORT.fullmatch(port) and 0 < int(port) < 65536):
        raise Refused(f"{port[:20]!r} is not a port")
    return host_of(host), int(port) if port else default or 0


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _four(name: str) -> str:
    parts = name.split(".")
    try:
        if not all(_NUMBER.fullmatch(part) for part in parts):
            raise OSError
        usual = socket.inet_ntoa(socket.inet_aton(name))
    except OSError as error:
        raise Refused(f"{name[:100]!r} is neither a name nor an address") from error
    if usual != name:
        raise Refused(f"{name[:100]!r} is an address in an odd spelling: write {usual}")
    return usual


def _six(text: str) -> str:
    try:
        if "%" in text:
            raise ValueError
        return str(ipaddress.IPv6Address(text))
    except ValueError as error:
        raise Refused(f"{text[:100]!r} is not an IPv6 address") from error
