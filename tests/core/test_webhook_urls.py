"""URLs of endpoints: one form of each is taken, and no other spelling of an address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trinity_core.errors import Reason, TrinityError
from trinity_core.webhook_addresses import AddressPolicy
from trinity_core.webhook_urls import Kind, read_url


def read(url: str, *, loopback: bool = False) -> str:
    return read_url(url, policy=AddressPolicy(loopback=loopback), loopback=loopback).url


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("https://hooks.acme.example", "https://hooks.acme.example/"),
        ("HTTPS://Hooks.ACME.example:443/A?b=%2F&c", "https://hooks.acme.example/A?b=%2F&c"),
        ("https://hooks.acme.example:8443?x", "https://hooks.acme.example:8443/?x"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://[2606:4700:0::1111]/", "https://[2606:4700::1111]/"),
        ("https://xn--mnchen-3ya.example/", "https://xn--mnchen-3ya.example/"),
        ("udp://feed.acme.example:7001", "udp://feed.acme.example:7001"),
        ("udp://[2606:4700::1111]:7001/", "udp://[2606:4700::1111]:7001"),
    ],
)
def test_a_url_is_taken_in_its_one_form(url: str, form: str) -> None:
    assert read(url) == form
    assert read(form) == form


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "no URL"),
        ("hooks.acme.example", "no URL"),
        ("https:hooks.acme.example", "no URL"),
        ("https://", "malformed"),
        ("https:///path", "malformed"),
        ("gopher://hooks.acme.example/", "scheme"),
        ("http://hooks.acme.example/", "use https"),
        ("https://hooks.acme.example/#part", "fragment"),
        ("https://hooks.acme.example#", "fragment"),
        ("https://user@hooks.acme.example/", "user or password"),
        ("https://hooks.acme.example@10.0.0.1/", "user or password"),
        ("https://hooks.acme.example:0/", "no port"),
        ("https://hooks.acme.example:65536/", "no port"),
        ("https://hooks.acme.example:/", "malformed"),
        ("https://hooks.acme.example:25/", "another service"),
        ("https://hooks.acme.example:80/", "another service"),
        ("https://hooks.acme.example./", "end in a dot"),
        ("https://hooks..acme.example/", "parts of 1 to 63"),
        ("https://-a.acme.example/", "parts of 1 to 63"),
        ("https://a_b.acme.example/", "parts of 1 to 63"),
        (f"https://{'a' * 64}.example/", "parts of 1 to 63"),
        (f"https://{'a.' * 127}example/", "at most 253"),
        ("https://intra/", "no full name"),
        ("https://printer.local/", "network of its own"),
        ("https://x.localhost/", "network of its own"),
        ("https://router.home.arpa/", "network of its own"),
        ("https://x.onion/", "network of its own"),
        ("https://localhost/", "this machine"),
        ("https://127.0.0.1/", "this machine"),
        ("https://[::1]/", "this machine"),
        ("https://münchen.example/", "xn--"),
        ("https://hooks.acme.example/a b", "printable ASCII"),
        ("https://hooks.acme.example/\n", "printable ASCII"),
        ("https://hooks.acme.example\\@10.0.0.1/", "printable ASCII"),
        ("https://hooks.acme.example/%zz", "%XX"),
        ("https://hooks.acme.example/<", "%XX"),
        ("https://hooks.acme.example/" + "a" * 2048, "longer than 2048"),
        ("https://127.1/", "plain IPv4"),
        ("https://0177.0.0.1/", "plain IPv4"),
        ("https://0x7f.0.0.1/", "plain IPv4"),
        ("https://0x7f000001/", "plain IPv4"),
        ("https://2130706433/", "plain IPv4"),
        ("https://017700000001/", "plain IPv4"),
        ("https://127.0.0.1./", "plain IPv4"),
        ("https://08.8.8.8/", "plain IPv4"),
        ("https://8.8.8.256/", "plain IPv4"),
        ("https://8.8.8/", "plain IPv4"),
        ("https://8.8.8.8.8/", "plain IPv4"),
        ("https://a.0x7f/", "plain IPv4"),
        ("https://10.0.0.1/", "private"),
        ("https://169.254.169.254/latest/meta-data", "metadata"),
        ("https://[::ffff:127.0.0.1]/", "mapped"),
        ("https://[64:ff9b::7f00:1]/", "NAT64"),
        ("https://[2002:7f00:1::]/", "6to4"),
        ("https://[2001:0:1::]/", "Teredo"),
        ("https://[fe80::1%25eth0]/", "malformed"),
        ("https://[::1/", "malformed"),
        ("https://[1:2]/", "no IPv6"),
        ("udp://feed.acme.example", "port is needed"),
        ("udp://feed.acme.example:7001/x", "no path"),
        ("udp://feed.acme.example:53", "another service"),
        ("udp://feed.acme.example:11211", "another service"),
        ("udp://10.0.0.1:7001", "private"),
    ],
)
def test_any_other_url_is_refused_with_why(url: str, why: str) -> None:
    with pytest.raises(TrinityError) as caught:
        read(url)
    assert caught.value.reason is Reason.INVALID_FIELD
    assert caught.value.metadata["field"] == "url"
    assert why in caught.value.message


def test_a_sandbox_takes_http_on_this_machine_alone() -> None:
    assert read("http://127.0.0.1:8099/x", loopback=True) == "http://127.0.0.1:8099/x"
    assert read("http://localhost", loopback=True) == "http://localhost/"
    assert read("http://[::1]:81/", loopback=True) == "http://[::1]:81/"
    assert read("udp://127.0.0.1:9", loopback=True) == "udp://127.0.0.1:9"
    for url in ("http://hooks.acme.example/", "https://10.0.0.1/", "http://127.1/", "https://[::ffff:127.0.0.1]/"):
        with pytest.raises(TrinityError):
            read(url, loopback=True)


def test_a_target_says_where_to_connect() -> None:
    target = read_url("https://[2606:4700::1111]:8443/a?b", policy=AddressPolicy())
    assert (target.kind, target.host, target.port, target.path, target.secure) == (
        Kind.HTTP,
        "2606:4700::1111",
        8443,
        "/a?b",
        True,
    )
    assert str(target.address) == "2606:4700::1111"
    assert read_url("udp://a.example:7001", policy=AddressPolicy()).address is None


@given(st.text(max_size=60) | st.from_regex(r"(https|udp)://[ -~]{0,40}", fullmatch=True))
def test_whatever_is_given_is_taken_or_refused_in_our_words(url: str) -> None:
    try:
        form = read(url)
    except TrinityError as error:
        assert error.reason is Reason.INVALID_FIELD
    else:
        assert read(form) == form
