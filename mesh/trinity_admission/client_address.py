"""Whose address a request comes from, when proxies that we trust stand before the gateway."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from trinity_admission.networks import Networks, address_of

_HEADER: Final = b"x-forwarded-for"
_HOPS_MAX: Final = 32


class ClientAddress:
    """Reads X-Forwarded-For from the right, as far as proxies that are trusted wrote it.

    Each proxy appends the address that it was called from. What stands left of the first address
    that is no trusted proxy's was written by the client, who may write anything.
    """

    def __init__(self, trusted: Iterable[str]) -> None:
        """`trusted` are networks in CIDR form. Raises ValueError for what is none."""
        networks = tuple(trusted)
        self._trusted = Networks(networks) if networks else None

    def __call__(self, peer: str, headers: Mapping[bytes, bytes]) -> str:
        """The client's address, of one that is connected from `peer`; empty where it cannot be told."""
        if self._trusted is None or not self._trusted.hold(peer):
            return peer
        client = peer
        for entry in reversed(headers.get(_HEADER, b"").rsplit(b",", _HOPS_MAX)):
            text = _without_port(entry.decode("latin-1").strip())
            if not text:
                return client
            if address_of(text) is None:
                return ""
            client = text
            if not self._trusted.hold(text):
                break
        return client


def _without_port(text: str) -> str:
    """An address without the port that some proxies write behind it: "192.0.2.1:80", "[2001:db8::1]:80"."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
