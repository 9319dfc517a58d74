"""Which addresses are called: a table of those that are not, whole networks at their edges, and no surprise."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trinity_core.webhook_addresses import REFUSED_V4, REFUSED_V6, AddressPolicy, is_loopback

POLICY = AddressPolicy()


def refused(text: str, policy: AddressPolicy = POLICY) -> str | None:
    return policy.why_refused(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        "8.8.8.8",
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "2001:4860:4860::8888",
        "2a00:1450::1",
        "2001:200::1",
        "2003::1",
    ],
)
def test_a_public_address_is_called(text: str) -> None:
    assert refused(text) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0.0.0.0", "this network"),
        ("10.0.0.1", "private"),
        ("100.64.0.1", "carriers"),
        ("127.0.0.1", "loopback"),
        ("169.254.169.254", "metadata"),
        ("172.16.0.1", "private"),
        ("192.0.0.170", "protocol"),
        ("192.0.2.1", "documentation"),
        ("192.88.99.1", "6to4"),
        ("192.168.1.1", "private"),
        ("198.18.0.1", "benchmarking"),
        ("224.0.0.1", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::ffff:10.0.0.1", "mapped"),
        ("::ffff:8.8.8.8", "mapped"),
        ("::7f00:1", "compatible"),
        ("64:ff9b::a00:1", "NAT64"),
        ("64:ff9b:1::1", "NAT64"),
        ("100::1", "discard"),
        ("2001::1", "Teredo"),
        ("2001:0:a00:1::1", "Teredo"),
        ("2001:2::1", "benchmarking"),
        ("2001:20::1", "ORCHID"),
        ("2001:db8::1", "documentation"),
        ("2002:a00:1::1", "6to4"),
        ("2002:808:808::1", "6to4"),
        ("2620:4f:8000::1", "AS112"),
        ("3ffe::1", "6bone"),
        ("3fff::1", "documentation"),
        ("2a00:1450::5efe:a00:1", "ISATAP"),
        ("2a00:1450::200:5efe:a00:1", "ISATAP"),
        ("4000::1", "outside"),
        ("5f00::1", "outside"),
        ("fc00::1", "unique local"),
        ("fe80::1", "link local"),
        ("fe80::1%eth0", "zone"),
        ("fec0::1", "site local"),
        ("ff02::1", "multicast"),
    ],
)
def test_an_address_that_leads_elsewhere_is_refused_with_why(text: str, why: str) -> None:
    assert why in (refused(text) or "")


@pytest.mark.parametrize("text", [text for text, _ in (*REFUSED_V4, *REFUSED_V6)])
def test_a_refused_network_is_refused_to_its_edges(text: str) -> None:
    network = ipaddress.ip_network(text)
    for address in (network.network_address, network.broadcast_address):
        assert POLICY.why_refused(address) is not None


@given(st.ip_addresses())
def test_what_python_takes_for_special_is_refused(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if not address.is_global or address.is_multicast:
        assert POLICY.why_refused(address) is not None


def test_a_sandbox_may_call_itself_and_nothing_else() -> None:
    sandbox = AddressPolicy(loopback=True)
    assert refused("127.3.2.1", sandbox) is None
    assert refused("::1", sandbox) is None
    assert refused("::ffff:127.0.0.1", sandbox) is not None
    assert refused("10.0.0.1", sandbox) is not None
    assert not is_loopback(ipaddress.ip_address("::1%lo"))


def test_networks_of_ones_own_are_refused_besides() -> None:
    policy = AddressPolicy(also_refused=[ipaddress.ip_network("9.9.9.0/24"), ipaddress.ip_network("2a00:1450::/32")])
    assert "settings" in (refused("9.9.9.9", policy) or "")
    assert "settings" in (refused("2a00:1450::1", policy) or "")
    assert refused("9.9.8.9", policy) is None
