"""Which addresses may be dialled. An address is judged by where its packets would go, however it is wrapped."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from enum import IntEnum

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Place(IntEnum):
    """From mild to strict: of several, the strictest counts."""

    PUBLIC = 0
    PRIVATE = 1  # this host, or a network that is not the internet
    NEVER = 2  # where clouds keep credentials, what is no single host, what no packet should go to


#: services beside a machine that hand out its credentials, or steer it, at addresses of all kinds
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        (
            *("169.254.169.254", "169.254.170.2", "169.254.169.253", "169.254.169.123"),
            *("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
        ),
    )
)
_SHARED = ipaddress.ip_network("100.64.0.0/10")
_OWN = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "fc00::/7"))
)
_NAT64 = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48")))
_COMPATIBLE = ipaddress.ip_network("::/96")
_SITE_LOCAL = ipaddress.ip_network("fec0::/10")


def place_of(text: str) -> Place:
    """ValueError for what is no address; one with a zone is none here."""
    return max(map(_place, _readings(ipaddress.ip_address(text))))


def _readings(address: Address) -> Iterator[Address]:
    """The address, and those that are carried in it."""
    yield address
    if isinstance(address, ipaddress.IPv4Address):
        return
    low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if any(address in network for network in _NAT64):
        yield low
    if (int(address) >> 32) & 0xFFFFFFFF in (0x00005EFE, 0x02005EFE):  # ISATAP
        yield low


def _place(address: Address) -> Place:
    if address in _METADATA or address.is_link_local or address.is_multicast or address.is_unspecified:
        return Place.NEVER
    if isinstance(address, ipaddress.IPv6Address):
        if address.is_loopback:
            return Place.PRIVATE
        if address.ipv4_mapped is not None or address in _NAT64[0]:
            return Place.PUBLIC  # as what it carries
        if address.scope_id or address in _COMPATIBLE or address in _SITE_LOCAL or address in _NAT64[1]:
            return Place.NEVER
        if address.sixtofour is not None or address.teredo is not None:
            return Place.PUBLIC  # likewise
    if address in _SHARED or any(address.version == each.version and address in each for each in _OWN):
        return Place.PRIVATE
    return Place.PUBLIC if address.is_global else Place.NEVER
