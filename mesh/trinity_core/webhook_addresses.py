"""Which addresses customers' endpoints may have: global unicast, and nothing that leads elsewhere. Pure.

A table of our own, because `ipaddress.is_global` takes 6to4, NAT64 and Teredo addresses whose
inner address is private, and its answers differ between versions of Python. Sources, by IANA:

- IPv4 Special-Purpose Address Registry (RFC 6890), iana.org/assignments/iana-ipv4-special-registry
- IPv4 Multicast Address Space Registry; class E (RFC 1112)
- IPv6 Special-Purpose Address Registry (RFC 6890), iana.org/assignments/iana-ipv6-special-registry
- IPv6 Global Unicast Address Assignments, iana.org/assignments/ipv6-unicast-address-assignments:
  all of it lies in 2000::/3, so everything outside is refused without a list

An address is judged when a connection to it is about to be made, and the connection goes to that
very address: a name that leads elsewhere the next time leads nowhere.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

REFUSED_V4: Final[tuple[tuple[str, str], ...]] = (
    ("0.0.0.0/8", "this network (RFC 791)"),
    ("10.0.0.0/8", "private use (RFC 1918)"),
    ("100.64.0.0/10", "shared address space of carriers (RFC 6598)"),
    ("127.0.0.0/8", "loopback (RFC 1122)"),
    ("169.254.0.0/16", "link local, cloud metadata (RFC 3927)"),
    ("172.16.0.0/12", "private use (RFC 1918)"),
    ("192.0.0.0/24", "IETF protocol assignments (RFC 6890)"),
    ("192.0.2.0/24", "documentation (RFC 5737)"),
    ("192.31.196.0/24", "AS112 (RFC 7535)"),
    ("192.52.193.0/24", "AMT relays (RFC 7450)"),
    ("192.88.99.0/24", "6to4 relays, deprecated (RFC 7526)"),
    ("192.168.0.0/16", "private use (RFC 1918)"),
    ("192.175.48.0/24", "AS112 (RFC 7534)"),
    ("198.18.0.0/15", "benchmarking (RFC 2544)"),
    ("198.51.100.0/24", "documentation (RFC 5737)"),
    ("203.0.113.0/24", "documentation (RFC 5737)"),
    ("224.0.0.0/4", "multicast (RFC 5771)"),
    ("240.0.0.0/4", "reserved, and limited broadcast (RFC 1112, RFC 8190)"),
)
"""Networks of IPv4 that are refused, each with why."""

GLOBAL_V6: Final = "2000::/3"
"""The global unicast space of IPv6 (RFC 4291)."""

REFUSED_V6: Final[tuple[tuple[str, str], ...]] = (
    ("2001::/23", "IETF protocol assignments: Teredo, benchmarking, ORCHID, AMT, AS112 (RFC 2928)"),
    ("2001:db8::/32", "documentation (RFC 3849)"),
    ("2002::/16", "6to4 (RFC 3056)"),
    ("2620:4f:8000::/48", "AS112 (RFC 7534)"),
    ("3ffe::/16", "6bone, returned (RFC 3701)"),
    ("3fff::/20", "documentation (RFC 9637)"),
)
"""Networks within 2000::/3 that are refused, each with why."""

_OUTSIDE_V6: Final[tuple[tuple[str, str], ...]] = (
    ("::1/128", "loopback (RFC 4291)"),
    ("::/128", "unspecified (RFC 4291)"),
    ("::ffff:0:0/96", "IPv4-mapped (RFC 4291)"),
    ("::/96", "IPv4-compatible, deprecated (RFC 4291)"),
    ("64:ff9b::/96", "NAT64 (RFC 6052)"),
    ("64:ff9b:1::/48", "NAT64 of one's own (RFC 8215)"),
    ("100::/64", "discard only (RFC 6666)"),
    ("fc00::/7", "unique local (RFC 4193)"),
    ("fe80::/10", "link local (RFC 4291)"),
    ("fec0::/10", "site local, deprecated (RFC 3879)"),
    ("ff00::/8", "multicast (RFC 4291)"),
)
"""Names for what lies outside of 2000::/3; the rest of it is refused too."""

_ISATAP: Final = frozenset({0x0000_5EFE, 0x0200_5EFE})


def _table(rows: Iterable[tuple[str, str]]) -> tuple[tuple[int, int, str], ...]:
    networks = [(ipaddress.ip_network(text), why) for text, why in rows]
    return tuple((int(net.network_address), int(net.broadcast_address), f"{net}: {why}") for net, why in networks)


_V4: Final = _table(REFUSED_V4)
_V6: Final = _table(REFUSED_V6)
_OUTSIDE: Final = _table(_OUTSIDE_V6)
_GLOBAL: Final = ipaddress.IPv6Network(GLOBAL_V6)


class AddressPolicy:
    """Which addresses may be called."""

    def __init__(self, *, loopback: bool = False, also_refused: Iterable[Network] = ()) -> None:
        """`loopback` allows 127.0.0.0/8 and ::1, for a sandbox; `also_refused` are networks of one's own."""
        self._loopback = loopback
        self._also = tuple(also_refused)

    def why_refused(self, address: Address) -> str | None:
        """Why an address is never called; None for one that may be."""
        if self._loopback and is_loopback(address):
            return None
        for network in self._also:
            if address.version == network.version and address in network:
                return f"{network}: refused by the settings"
        return _why_v4(address) if isinstance(address, ipaddress.IPv4Address) else _why_v6(address)


def is_loopback(address: Address) -> bool:
    """Whether an address is this machine's own, in its plain form: a mapped one is not taken for it."""
    if isinstance(address, ipaddress.IPv4Address):
        return int(address) >> 24 == 127  # 127.0.0.0/8
    return int(address) == 1 and address.scope_id is None


def _why_v4(address: ipaddress.IPv4Address) -> str | None:
    number = int(address)
    return next((why for first, last, why in _V4 if first <= number <= last), None)


def _why_v6(address: ipaddress.IPv6Address) -> str | None:
    if address.scope_id is not None:
        return "an address with a zone is of one link only (RFC 4007)"
    number = int(address)
    if address not in _GLOBAL:
        named = next((why for first, last, why in _OUTSIDE if first <= number <= last), None)
        return named or f"outside of {GLOBAL_V6}, the global unicast space (RFC 4291)"
    if number >> 32 & 0xFFFF_FFFF in _ISATAP:
        return "ISATAP: it holds an IPv4 address of its site (RFC 5214)"
    return next((why for first, last, why in _V6 if first <= number <= last), None)
