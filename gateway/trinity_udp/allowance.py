"""How often one network prefix may ask without a session: a token bucket each, in bounded memory.

A source address can be forged, so the table must hold under a million of them: two
generations of at most half of `prefixes_max` entries each. When the young one is full it
becomes the old one and what was old is forgotten, which costs nothing a datagram. A prefix
that is forgotten starts with a full bucket again; the bound of bytes a datagram holds
whatever the table forgets.
"""

from __future__ import annotations

import socket
from typing import Final

_V4_IN_V6: Final = b"\0" * 10 + b"\xff\xff"


def source_of(host: str) -> bytes:
    """An address, packed: 4 or 16 bytes.

    `host` is as the socket gives it; an IPv4 address mapped into IPv6 counts as IPv4.
    """
    if ":" not in host:
        return socket.inet_aton(host)
    packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    return packed[12:] if packed.startswith(_V4_IN_V6) else packed


def host_of(source: bytes) -> str:
    """The address as people write it."""
    return socket.inet_ntop(socket.AF_INET if len(source) == 4 else socket.AF_INET6, source)


def prefix_of(source: bytes) -> bytes:
    """The /24 of an IPv4 address or the /56 of an IPv6 address (packed), as the key of its bucket."""
    return source[:3] if len(source) == 4 else source[:7]


class Allowance:
    """Token buckets by prefix (GCRA: one number a bucket, the time at which it is full again)."""

    def __init__(self, *, per_s: float, burst: int, prefixes_max: int) -> None:
        """`per_s` tokens a second flow into each bucket, which holds `burst`."""
        self._token_ns = int(1e9 / per_s)
        self._burst_ns = self._token_ns * burst
        self._generation_max = max(1, prefixes_max // 2)
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def take(self, prefix: bytes, *, now_ns: int, count: int = 1) -> bool:
        """Take `count` tokens out of the prefix's bucket; False, and none taken, when it holds fewer.

        `now_ns` is monotonic time.
        """
        young = self._young
        full_at = young.get(prefix)
        if full_at is None:
            full_at = self._old.get(prefix, now_ns)
            if len(young) >= self._generation_max:
                self._old, self._young = young, {}
                young = self._young
        after = max(full_at, now_ns) + count * self._token_ns
        granted = after - now_ns <= self._burst_ns
        # A refusal is written too: whoever keeps asking must not be forgotten for it.
        young[prefix] = after if granted else full_at
        return granted

    def put_back(self, prefix: bytes, count: int) -> None:
        """Undo a `take` that was granted just now."""
        self._young[prefix] -= count * self._token_ns
