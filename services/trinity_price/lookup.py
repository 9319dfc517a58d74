"""Where a price comes from: the book, then the mirror, then a venue's REST interface, in that order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import msgspec

from trinity.price.v1 import price_pb2
from trinity_core.errors import Reason, TrinityError
from trinity_core.price_mirror import PriceMirror
from trinity_core.prices import Method, Price, Tier
from trinity_core.venues import Venue
from trinity_mesh.clock import Clock
from trinity_mesh.wire import price_to_message, stamp
from trinity_price.cached import CachedPrice, judge_cached
from trinity_price.publication import Publication
from trinity_price.quotes import Quotes
from trinity_price.wall import AnchoredWall
from trinity_price.writer import Writer

_HELPED: Final = frozenset({Reason.NO_PRICE, Reason.STALE_PRICE})
"""What the book may lack and another source may have."""
_SPARE_S: Final = 0.02
"""Kept of a caller's deadline, to answer in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One price that a caller wants; see GetPriceRequest."""

    asset: str
    """Id, upper case."""
    method: Method = Method.MEDIAN
    source: Venue | None = None
    max_age_ms: int | None = None
    min_sources: int = 0


class Lookup:
    """Finds prices. Only the writer alters the book; this asks it to."""

    def __init__(
        self,
        *,
        writer: Writer,
        publication: Publication,
        wall: AnchoredWall,
        clock: Clock,
        clock_id: str,
        mirror: PriceMirror | None,
        mirror_pause_ms: int,
        quotes: Quotes,
        live_ms_max: int,
    ) -> None:
        """`mirror` may be absent; after it failed it is left alone for `mirror_pause_ms`.

        `live_ms_max` is the longest that a caller waits for a venue.
        """
        self._writer = writer
        self._publication = publication
        self._wall = wall
        self._clock = clock
        self._clock_id = clock_id
        self._mirror = mirror
        self._quotes = quotes
        self._mirror_pause_ns = mirror_pause_ms * 1_000_000
        self._mirror_rests_until_ns = 0
        self._live_s = live_ms_max / 1_000
        self._loading: dict[str, asyncio.Task[CachedPrice | None]] = {}
        self.local = 0
        """Prices answered from the book."""
        self.cached = 0
        """Prices answered from the mirror."""
        self.live = 0
        """Prices answered from a venue's REST interface."""
        self.missing = 0
        """Prices that were nowhere to be had."""
        self.mirror_failures = 0
        """Reads of the mirror that failed."""

    def in_book(self, ask: Ask) -> price_pb2.Price:
        """The price by the book alone. Raises TrinityError as `Book.price` does."""
        price = self._priced(ask)
        self.local += 1
        return self._message(price)

    async def find(self, ask: Ask, *, within_s: float | None = None) -> price_pb2.Price:
        """The price from wherever it is to be had first.

        `within_s` is what is left of the caller's deadline. Raises TrinityError as `Book.price`
        does; for NO_PRICE and STALE_PRICE its text says what the venues answered.
        """
        try:
            return self.in_book(ask)
        except TrinityError as error:
            if error.reason not in _HELPED:
                raise
            refusal = error
        cached = await self._in_mirror(ask)
        if cached is not None:
            self.cached += 1
            return cached
        wait_s = self._live_s if within_s is None else min(self._live_s, within_s - _SPARE_S)
        try:
            if wait_s <= 0:
                raise TrinityError(Reason.DEADLINE_EXCEEDED, "the call's deadline leaves no time to ask a venue")
            await self._quotes.refresh(ask.asset, ask.source, within_s=wait_s)
            price = self._priced(ask)
        except TrinityError as error:
            self.missing += 1
            raise _nowhere(refusal, error) from None
        self.live += 1
        return self._message(msgspec.structs.replace(price, tier=Tier.LIVE))

    def _priced(self, ask: Ask) -> Price:
        return self._writer.book.price(
            ask.asset,
            self._clock.monotonic_ns(),
            method=ask.method,
            source=ask.source,
            max_age_ms=ask.max_age_ms,
            min_sources=ask.min_sources,
        )

    def _message(self, price: Price) -> price_pb2.Price:
        message = price_to_message(
            price,
            epoch=self._publication.epoch,
            wall_offset_ns=self._wall.offset_ns,
            sandbox=self._publication.sandbox,
        )
        # By the anchored wall clock, like every time we show; the worker's own may be another host's.
        message.receive_time.CopyFrom(stamp(self._wall.unix_ns(price.receive_mono_ns)))
        return message

    async def _in_mirror(self, ask: Ask) -> price_pb2.Price | None:
        """The mirrored price when it is what the caller wants: a median of as many venues, as young as asked."""
        if (
            self._mirror is None
            or ask.source is not None
            or ask.method is not Method.MEDIAN
            or self._clock.monotonic_ns() < self._mirror_rests_until_ns
        ):
            return None
        task = self._loading.get(ask.asset)
        if task is None:
            task = self._loading[ask.asset] = asyncio.create_task(self._load(self._mirror, ask.asset))
            task.add_done_callback(lambda done: self._loading.pop(ask.asset, None) and None)
        found = await asyncio.shield(task)
        if (
            found is None
            or found.message.sandbox is not self._publication.sandbox
            or found.message.source_count < ask.min_sources
            or (ask.max_age_ms is not None and found.age_ms > ask.max_age_ms)
        ):
            return None
        return found.message

    async def _load(self, mirror: PriceMirror, asset: str) -> CachedPrice | None:
        try:
            stored = (await mirror.load([asset])).get(asset)
        except TrinityError:
            self.mirror_failures += 1
            self._mirror_rests_until_ns = self._clock.monotonic_ns() + self._mirror_pause_ns
            return None
        if stored is None:
            return None
        return judge_cached(
            asset,
            stored,
            now_mono_ns=self._clock.monotonic_ns(),
            now_unix_ns=self._clock.unix_ns(),
            wall_offset_ns=self._wall.offset_ns,
            clock_id=self._clock_id,
        )


def _nowhere(refusal: TrinityError, failure: TrinityError) -> TrinityError:
    """What the book says, with what came of asking a venue."""
    waits = [wait for wait in (refusal.retry_after_ms, failure.retry_after_ms) if wait is not None]
    return TrinityError(
        refusal.reason,
        f"{refusal.message}; asked a venue: {failure.message}",
        {**refusal.metadata, "venue_reason": failure.reason.value},
        max(waits, default=1_000),
    )
