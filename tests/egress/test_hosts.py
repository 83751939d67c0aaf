"""Whatever its spelling, a host is one host, and an address is where its packets would go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulligan.sandbox.egress.addresses import Place, place_of
from mulligan.sandbox.egress.errors import Refused
from mulligan.sandbox.egress.hosts import host_of, split_authority
from mulligan.sandbox.egress.paths import readings


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("127.0.0.1.", "127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
        ("[::1]", "::1"),
        ("[0:0:0:0:0:FFFF:7f00:1]", "::ffff:7f00:1"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("_acme.example.com", "_acme.example.com"),
    ],
)
def test_every_spelling_becomes_one(text: str, host: str) -> None:
    assert host_of(text) == host


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "a..b", "example.com..", "ex ample.com", "example.com\0", "a/b", "a\\b", "bücher.example"),
        *(
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "017700000001",
            "127.1",
            "0",
            "0xA9FEA9FE",
            "0251.0376.0251.0376",
        ),
        *("1.2.3.4.5", "256.1.1.1", "0x100000000", "127.0.0.1%00", "[::1%lo]", "[::1", "::1", "a" * 254),
        *(
            "\uff11\uff12\uff17.0.0.1",
            "127\u30020\u30020\u30021",
            "-a.example",
            "a" * 64 + ".example",
            "[127.0.0.1]",
        ),
    ],
)
def test_what_can_be_read_in_two_ways_is_no_host(text: str) -> None:
    with pytest.raises(Refused):
        host_of(text)


@pytest.mark.parametrize(
    "text",
    ["a:0", "a:65536", "a:", "a:8 0", "a:-1", "a:+80", "user@a:80", "a@b", "a:b:80", "a:\uff10", "[::1]a:80"],
)
def test_an_authority_is_a_host_and_a_port(text: str) -> None:
    with pytest.raises(Refused):
        split_authority(text, 80)


def test_a_tunnel_names_its_port() -> None:
    assert split_authority("[::1]:443", None) == ("::1", 443)
    with pytest.raises(Refused):
        split_authority("example.com", None)


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("8.8.8.8", Place.PUBLIC),
        ("2606:4700::1111", Place.PUBLIC),
        ("127.0.0.1", Place.PRIVATE),
        ("127.8.8.8", Place.PRIVATE),
        ("10.1.2.3", Place.PRIVATE),
        ("172.31.0.1", Place.PRIVATE),
        ("192.168.1.1", Place.PRIVATE),
        ("100.64.0.1", Place.PRIVATE),
        ("::1", Place.PRIVATE),
        ("fd12::1", Place.PRIVATE),
        ("::ffff:127.0.0.1", Place.PRIVATE),
        ("::ffff:8.8.8.8", Place.PUBLIC),
        ("64:ff9b::7f00:1", Place.PRIVATE),
        ("64:ff9b::a9fe:a9fe", Place.NEVER),
        ("64:ff9b::808:808", Place.PUBLIC),
        ("64:ff9b:1::808:808", Place.NEVER),
        ("2002:7f00:1::", Place.PRIVATE),
        ("2002:a9fe:a9fe::1", Place.NEVER),
        ("2001:0:808:808::f7f7:f7f7", Place.PUBLIC),
        ("2001:0:808:808::80ff:fffe", Place.PRIVATE),
        ("2001:0:7f00:1::f7f7:f7f7", Place.PRIVATE),
        ("fe80::5efe:169.254.169.254", Place.NEVER),
        ("2600::5efe:127.0.0.1", Place.PRIVATE),
        ("::7f00:1", Place.NEVER),
        ("0.0.0.0", Place.NEVER),
        ("0.1.2.3", Place.NEVER),
        ("::", Place.NEVER),
        ("169.254.169.254", Place.NEVER),
        ("fd00:ec2::254", Place.NEVER),
        ("168.63.129.16", Place.NEVER),
        ("100.100.100.200", Place.NEVER),
        ("fe80::1", Place.NEVER),
        ("224.0.0.1", Place.NEVER),
        ("ff02::1", Place.NEVER),
        ("255.255.255.255", Place.NEVER),
        ("240.0.0.1", Place.NEVER),
        ("192.0.2.1", Place.NEVER),
        ("198.18.0.1", Place.NEVER),
        ("fec0::1", Place.NEVER),
    ],
)
def test_an_address_is_where_its_packets_go(address: str, place: Place) -> None:
    assert place_of(address) is place


@given(st.ip_addresses(v=4))
def test_wrapping_an_address_makes_it_no_milder(address: object) -> None:
    plain = place_of(str(address))
    low = "".join(f"{int(part):02x}" for part in str(address).split("."))
    for wrapped in (f"::ffff:{address}", f"64:ff9b::{address}", f"2002:{low[:4]}:{low[4:]}::1"):
        assert place_of(wrapped) >= plain


@pytest.mark.parametrize(
    ("path", "also"),
    [
        ("/public/../admin", "/admin"),
        ("/public/%2e%2e/admin", "/admin"),
        ("/public/..%2fadmin", "/admin"),
        ("/public/%252e%252e%252fadmin", "/admin"),
        ("/public/..;/admin", "/admin"),
        ("/public\\..\\admin", "/admin"),
        ("/public/%5c..%5cadmin", "/admin"),
        ("//admin", "/admin"),
        ("/./admin", "/admin"),
        ("/%61dmin", "/admin"),
    ],
)
def test_every_way_to_read_a_path_is_judged(path: str, also: str) -> None:
    found = readings(path)
    assert found[0] == path
    assert also in found


@pytest.mark.parametrize("path", ["", "admin", "/a%00b", "/a%0d%0aSet-Cookie:x", "/%25252525252541"])
def test_paths_that_nobody_should_send_are_refused(path: str) -> None:
    with pytest.raises(Refused):
        readings(path)


def test_a_plain_path_has_one_reading() -> None:
    assert readings("/simple/pip/index.html") == ("/simple/pip/index.html",)


@given(st.text(max_size=60))
def test_no_text_breaks_the_readers(text: str) -> None:
    for reader in (host_of, lambda text: split_authority(text, 80), readings):
        try:
            reader(text)
        except Refused:
            continue


@given(st.text(alphabet="./%2eEfFcC5;\\abc", max_size=30))
def test_the_plainest_reading_of_a_path_has_no_detour_left(text: str) -> None:
    try:
        found = readings("/" + text)
    except Refused:
        return
    if len(found) > 1:
        assert any(".." not in each.split("/") for each in found[1:])
