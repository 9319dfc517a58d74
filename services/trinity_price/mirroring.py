"""Write-behind of prices into the mirror: what changed, newest only, some times a second, whatever the mirror does."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from trinity_core.backoff import Backoff
from trinity_core.errors import TrinityError
from trinity_core.price_mirror import PriceMirror
from trinity_core.prices import Price, State
from trinity_mesh.clock import Clock
from trinity_price.publication import Publication

log = logging.getLogger(__name__)

_KEPT = frozenset({State.FRESH, State.DIVERGENT, State.DELAYED})


class Mirroring:
    """Stores what changed; the book never waits for it.

    What waits is one name an asset. When the mirror fails, the names wait on and the next
    attempt comes later; a price that changed meanwhile is stored as it is then.
    """

    def __init__(
        self,
        *,
        mirror: PriceMirror,
        publication: Publication,
        clock: Clock,
        flush_ms: int,
        batch_max: int,
        backoff: Backoff,
    ) -> None:
        """`flush_ms` is the time between two stores, `batch_max` the most prices in one."""
        self._mirror = mirror
        self._publication = publication
        self._clock = clock
        self._flush_s = flush_ms / 1_000
        self._batch_max = batch_max
        self._backoff = backoff
        self._waiting: dict[str, None] = {}
        self.stored = 0
        """Prices stored since the start."""
        self.failures = 0
        """Stores that failed since the start."""

    @property
    def waiting(self) -> int:
        """Assets whose newest price is not stored yet; never more than there are assets."""
        return len(self._waiting)

    def changed(self, prices: Iterable[Price]) -> None:
        """Prices that are worth keeping have changed."""
        waiting = self._waiting
        for price in prices:
            if price.state in _KEPT:
                waiting[price.asset] = None

    async def run(self) -> None:
        """Store what waits, for as long as the service runs."""
        while True:
            await self._clock.sleep(self._flush_s)
            while self._waiting and await self._store():
                pass

    async def _store(self) -> bool:
        names = list(self._waiting)[: self._batch_max]
        for name in names:
            del self._waiting[name]
        tail = self._publication.tail(sequence=self._publication.sequence)
        values = {}
        for name in names:
            found = self._publication.frame_of(name)
            if found is not None and found[1].state in _KEPT:
                values[name] = found[0] + tail
        try:
            await self._mirror.store(values)
        except TrinityError as error:
            for name in names:
                self._waiting[name] = None
            self.failures += 1
            if self._backoff.failures == 0:
                log.warning("prices are not mirrored for now: %s", error.message)
            await self._clock.sleep(self._backoff.failed_s())
            return False
        if self._backoff.failures:
            log.info("prices are mirrored again")
        self._backoff.succeeded()
        self.stored += len(values)
        return True
