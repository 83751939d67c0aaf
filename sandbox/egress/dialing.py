"""Resolves a host once, checks what came back, and dials that very address: a name cannot mean another one then."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence

from mulligan.sandbox.egress.addresses import Place, place_of
from mulligan.sandbox.egress.errors import Denied, Failed
from mulligan.sandbox.egress.hosts import is_address
from mulligan.sandbox.egress.judgement import Asked, Judgement
from mulligan.sandbox.egress.tls import TlsSocket

Resolve = Callable[[str, int], Sequence[str]]

#: seconds that one address may take
CONNECTING = 10.0
#: addresses of one name that are tried
_TRIED = 4


def resolve(host: str, port: int) -> Sequence[str]:
    """Every address of a name, as the system finds them. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def dial(asked: Asked, judgement: Judgement, resolve: Resolve) -> socket.socket:
    """A connection to whom the request names. Raises Denied where that lies out of bounds, Failed where nobody
    answers."""
    literal = is_address(asked.host)
    addresses = [asked.host] if literal else _resolved(asked, resolve)
    for address in addresses:
        if objection := _objection(address, judgement, literal):
            raise Denied(asked, _forbidden(asked, objection))
    return _connect(asked, addresses[:_TRIED])


def _resolved(asked: Asked, resolve: Resolve) -> Sequence[str]:
    try:
        found = resolve(asked.host, asked.port)
    except (OSError, UnicodeError) as error:
        raise Failed(f"the name {asked.host} cannot be resolved: {_said(error)}") from error
    if not found:
        raise Failed(f"the name {asked.host} has no address")
    return found


def _objection(address: str, judgement: Judgement, literal: bool) -> str:
    """What is wrong with it, in words; "" if it may be dialled."""
    try:
        place = place_of(address)
    except ValueError:
        return "is no address that can be checked"
    if place is Place.PUBLIC or (judgement.private and (literal or place is Place.PRIVATE)):
        return ""
    return "is not on the internet" if place is Place.PRIVATE else "is one that no name may lead to"


def _forbidden(asked: Asked, objection: str) -> Judgement:
    """It does not name the address that was found: what a private network looks like is not for the sandbox."""
    return Judgement(
        allowed=False,
        rule="network.addresses",
        reason=f"{asked.host} leads to an address that {objection}, and no rule that allows it spells it out",
        instead="a public host; or have the policy spell this one out in a rule",
    )


def _connect(asked: Asked, addresses: Sequence[str]) -> socket.socket:
    why = ""
    for address in addresses:
        try:
            sock = socket.create_connection((address, asked.port), timeout=CONNECTING)
        except OSError as error:
            why = _said(error)
            continue
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    raise Failed(f"{asked.host}:{asked.port} does not answer: {why}")


def secure(sock: socket.socket, asked: Asked, context: ssl.SSLContext) -> TlsSocket:
    """TLS with whoever answered, verified to be the host that was asked for."""
    try:
        secured = TlsSocket(sock, context, server=False, host=asked.host)
        secured.do_handshake()
        return secured
    except (OSError, ValueError) as error:  # ValueError: a name that no certificate can have
        sock.close()
        raise Failed(f"no TLS with {asked.host}:{asked.port}: {_said(error)}") from error


def _said(error: Exception) -> str:
    return str(getattr(error, "verify_message", "") or getattr(error, "strerror", "") or error)[:200]
