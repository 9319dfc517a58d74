"""Allow-lists of networks: IPv4, IPv6, and IPv4 that comes mapped into IPv6."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trinity_admission.networks import Networks


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [
        ("203.0.113.0/24", "203.0.113.255", "203.0.114.0"),
        ("203.0.113.7", "203.0.113.7", "203.0.113.8"),
        ("203.0.113.9/24", "203.0.113.1", "203.0.112.1"),
        ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
        ("2001:db8::1", "2001:0db8:0:0::1", "2001:db8::2"),
        ("0.0.0.0/0", "8.8.8.8", "2001:db8::1"),
        ("::/0", "2001:db8::1", "8.8.8.8"),
        ("fe80::/10", "fe80::1%eth0", "fec0::1%eth0"),
    ],
)
def test_a_network_holds_its_addresses_and_no_others(network: str, inside: str, outside: str) -> None:
    networks = Networks([network])
    assert networks.hold(inside)
    assert not networks.hold(outside)


def test_an_ipv4_address_mapped_into_ipv6_is_the_ipv4_address() -> None:
    assert Networks(["203.0.113.0/24"]).hold("::ffff:203.0.113.9")
    assert Networks(["203.0.113.0/24"]).hold("::ffff:cb00:7109")
    assert not Networks(["203.0.113.0/24"]).hold("::ffff:203.0.114.9")
    assert Networks(["::ffff:203.0.113.0/120"]).hold("203.0.113.9")
    assert not Networks(["::ffff:203.0.113.0/120"]).hold("203.0.114.9")


def test_any_of_several_networks_will_do() -> None:
    networks = Networks(["192.0.2.0/24", "2001:db8::/32"])
    assert networks.hold("192.0.2.1")
    assert networks.hold("2001:db8::1")
    assert not networks.hold("198.51.100.1")


@pytest.mark.parametrize("host", ["", "localhost", "192.0.2", "192.0.2.1.1", "192.0.2.01", "%", "\0"])
def test_what_is_no_address_is_in_no_network(host: str) -> None:
    assert not Networks(["0.0.0.0/0", "::/0"]).hold(host)


@pytest.mark.parametrize("text", ["", "192.0.2.0/33", "2001:db8::/129", "192.0.2", "any", "192.0.2.0/24/24"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Networks([text])


@given(st.ip_addresses(), st.integers(0, 128))
def test_a_mapped_address_gets_the_verdict_of_the_address(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, bits: int
) -> None:
    bits = min(bits, address.max_prefixlen)
    networks = Networks([f"{address}/{bits}"])
    assert networks.hold(str(address)) or (address.version == 6 and address.ipv4_mapped is not None)
    if isinstance(address, ipaddress.IPv4Address):
        assert networks.hold(f"::ffff:{address}")


def test_verdicts_are_remembered_in_bounded_memory() -> None:
    networks = Networks(["10.0.0.0/8"])
    for number in range(2_000):
        assert networks.hold(f"10.0.{number // 256}.{number % 256}")
        assert not networks.hold(f"11.0.{number // 256}.{number % 256}")
    assert len(networks._verdicts) <= 256
