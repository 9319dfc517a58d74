"""One writer, many readers, newest value of each key only.

A reader that is slow finds fewer, newer values: its backlog is one value a key, never a
queue. Everything happens on one event loop, so nothing is locked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from trinity_core.errors import Reason, TrinityError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Subscription(Generic[K, V]):
    """One reader's pending values."""

    def __init__(self, keys: frozenset[K] | None) -> None:
        self._keys = keys
        self._pending: dict[K, V] = {}
        self._wake = asyncio.Event()
        self._closed = False
        self.skipped = 0
        """Values that a newer one replaced before they were taken, since the last `take`."""

    def put(self, key: K, value: V) -> None:
        """Set the newest value of a key; it moves to the end of the order."""
        if self._keys is not None and key not in self._keys:
            return
        if self._pending.pop(key, None) is not None:
            self.skipped += 1
        self._pending[key] = value
        if not self._wake.is_set():
            self._wake.set()

    def take(self) -> tuple[list[V], int]:
        """The pending values in the order of their last change, and how many were folded; both start anew."""
        values, skipped = list(self._pending.values()), self.skipped
        self._pending = {}
        self.skipped = 0
        if not self._closed:
            self._wake.clear()
        return values, skipped

    async def wait(self, timeout_s: float) -> bool:
        """Return True once something is pending or the subscription is closed, False after `timeout_s`."""
        if self._wake.is_set():
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    @property
    def closed(self) -> bool:
        """The writer ended; nothing more will come."""
        return self._closed

    def close(self) -> None:
        """Wake the reader for the last time."""
        self._closed = True
        self._wake.set()


class Fanout(Generic[K, V]):
    """Spreads values to its subscriptions; holds nothing itself."""

    def __init__(self, *, subscriptions_max: int) -> None:
        self._subscriptions: set[Subscription[K, V]] = set()
        self._subscriptions_max = subscriptions_max
        self.refused = 0
        """Readers that were one too many."""

    def __len__(self) -> int:
        return len(self._subscriptions)

    def subscribe(self, *, keys: frozenset[K] | None = None, initial: Iterable[tuple[K, V]] = ()) -> Subscription[K, V]:
        """A new reader of some keys (None: all) that finds `initial` pending.

        Raises TrinityError TOO_MANY_STREAMS when there are `subscriptions_max` already.
        """
        if len(self._subscriptions) >= self._subscriptions_max:
            self.refused += 1
            raise TrinityError(
                Reason.TOO_MANY_STREAMS,
                f"{self._subscriptions_max} streams are open already; close one or try again later",
                retry_after_ms=1_000,
            )
        subscription: Subscription[K, V] = Subscription(keys)
        for key, value in initial:
            subscription.put(key, value)
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription[K, V]) -> None:
        """Forget a reader; harmless when it is unknown."""
        self._subscriptions.discard(subscription)

    def publish(self, values: Iterable[tuple[K, V]]) -> None:
        """Hand the newest values to every reader."""
        if not self._subscriptions:
            return
        for key, value in values:
            for subscription in self._subscriptions:
                subscription.put(key, value)

    def close(self) -> None:
        """End every reader."""
        for subscription in tuple(self._subscriptions):
            subscription.close()
