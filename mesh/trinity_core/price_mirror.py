"""Where the price service leaves its prices for the next run: the port, and its twin in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from trinity_core.errors import Reason, TrinityError

VALUE_BYTES_MAX = 4_096
"""Longest value that is stored or loaded; a price takes about 250 bytes."""


@dataclass(frozen=True, slots=True)
class MirroredPrice:
    """One value as the store gave it back."""

    value: bytes
    stored_ms_ago: int
    """Time since the store took the value, milliseconds, told by the store's own clock."""


class PriceMirror(Protocol):
    """A cache of one value an asset, shared by processes. Losing it loses nothing.

    Every failure MUST be raised as TrinityError STORE_UNAVAILABLE, and every call MUST return
    or raise within the bound that the adapter was made with, whatever the store does.
    """

    async def store(self, values: Mapping[str, bytes]) -> None:
        """Replace the values of these assets.

        Each value MUST be gone after the adapter's time to live, unless it is stored again.
        A value longer than VALUE_BYTES_MAX MUST be left out. When this raises, any part of
        the values may have been stored.
        """
        ...

    async def load(self, assets: Sequence[str]) -> Mapping[str, MirroredPrice]:
        """The values of these assets; those that have none MUST be absent.

        `stored_ms_ago` MUST NOT be less than the time since the value was taken by the store,
        and it MUST belong to the value it comes with. A value longer than VALUE_BYTES_MAX
        MUST be absent.
        """
        ...

    async def close(self) -> None:
        """Let go of the store. Calls after it MUST raise."""
        ...


class MemoryPriceMirror:
    """The twin: a mirror within one process."""

    def __init__(self, *, monotonic_ns: Callable[[], int], ttl_ms: int) -> None:
        """`monotonic_ns` is the clock that values age by; each lives for `ttl_ms`."""
        self._now_ns = monotonic_ns
        self._ttl_ns = ttl_ms * 1_000_000
        self._values: dict[str, tuple[bytes, int]] = {}
        self._closed = False

    async def store(self, values: Mapping[str, bytes]) -> None:
        """See PriceMirror."""
        self._open()
        now_ns = self._now_ns()
        for asset, value in values.items():
            if len(value) <= VALUE_BYTES_MAX:
                self._values[asset] = (value, now_ns)

    async def load(self, assets: Sequence[str]) -> Mapping[str, MirroredPrice]:
        """See PriceMirror."""
        self._open()
        now_ns = self._now_ns()
        found = {}
        for asset in assets:
            value, stored_ns = self._values.get(asset, (b"", 0))
            if value and now_ns - stored_ns < self._ttl_ns:
                found[asset] = MirroredPrice(value, -(-(now_ns - stored_ns) // 1_000_000))
        return found

    async def close(self) -> None:
        """See PriceMirror."""
        self._closed = True

    def _open(self) -> None:
        if self._closed:
            raise TrinityError(Reason.STORE_UNAVAILABLE, "the mirror is closed")
