"""Which addresses a key may be used from: networks made ready once, addresses judged as they come. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final, TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_VERDICTS_MAX: Final = 256
_MAPPED_BITS: Final = 96
"""Bits before the IPv4 address in an IPv6 address that carries one (::ffff:192.0.2.1; RFC 4291, section 2.5.5.2)."""


class Networks:
    """A list of networks, with the verdicts on addresses that were seen lately."""

    __slots__ = ("_networks", "_verdicts")

    def __init__(self, texts: Iterable[str]) -> None:
        """`texts` in CIDR form, or single addresses. Raises ValueError for anything else."""
        self._networks = tuple(network_of(text) for text in texts)
        self._verdicts: dict[str, bool] = {}

    def hold(self, host: str) -> bool:
        """Whether the address is in one of the networks; False for what is no address."""
        verdict = self._verdicts.get(host)
        if verdict is None:
            address = address_of(host)
            verdict = address is not None and any(address in network for network in self._networks)
            if len(self._verdicts) >= _VERDICTS_MAX:
                self._verdicts.clear()
            self._verdicts[host] = verdict
        return verdict


def network_of(text: str) -> Network:
    """A network as it is written; one of IPv4 addresses mapped into IPv6 counts as IPv4. Raises ValueError."""
    network = ipaddress.ip_network(text, strict=False)
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network


def address_of(host: str) -> Address | None:
    """The address that a socket names; one mapped into IPv6 counts as IPv4, a zone ("%eth0") does not count."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
