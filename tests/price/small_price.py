"""A whole price service with one fake feed worker, on a virtual clock and real sockets."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from price.fake_feed import ASSETS, FakeFeed, made_tick
from price.virtual_clock import VirtualClock, until
from trinity_client import PriceBook, PriceClient
from trinity_core.ticks import Liveness, Tick
from trinity_core.venues import Venue
from trinity_price.config import PriceConfig
from trinity_price.main import PricePart

CLOCK = "the-clock"


class SmallPrice:
    """The service (`part`), its feed (`feed`) and callers of it, once `running` is entered."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.clock = VirtualClock()
        self.feed = FakeFeed(sandbox=settings.pop("sandbox", False))
        self.feed.snapshot = lambda: self.feed.batch(sent_ns=self.clock.monotonic_ns(), snapshot=True)
        config = PriceConfig(
            listen=f"unix:{folder}/price.sock", feeds=(f"unix:{folder}/feed.sock",), drain_ms=50, **settings
        )
        self.address = config.listen
        self.part = PricePart(config, clock=self.clock, assets=ASSETS, clock_name=CLOCK)

    @contextlib.asynccontextmanager
    async def running(self, *, with_feed: bool = True) -> AsyncIterator[SmallPrice]:
        async with contextlib.AsyncExitStack() as stack:
            if with_feed:
                await stack.enter_async_context(self.feed.server(self.folder))
            await stack.enter_async_context(self.part.serving())
            if with_feed:
                await until(self.part.synced.is_set)
            yield self

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[PriceClient]:
        async with PriceClient(self.address, timeout_ms=20_000) as client:
            yield client

    def book(self, **options: Any) -> PriceBook:
        return PriceBook(self.address, clock=self.clock, clock_name=CLOCK, **options)

    async def say(self, ticks: Iterable[Tick], *, alive: Iterable[Venue] = ()) -> None:
        """Push ticks and signs of life, and wait until they are in the book."""
        taken = list(ticks)
        venues = list(alive)
        now = self.clock.monotonic_ns()
        wanted = self.part.writer.ticks + len(taken)
        signs = [Liveness(venue, self.feed.worker, now, True) for venue in venues]
        self.feed.push(self.feed.batch(taken, signs, sent_ns=now))
        heard = self.part.feeds[0]._signs
        await until(
            lambda: (
                self.part.writer.ticks >= wanted
                and all(venue in heard and heard[venue].alive_mono_ns >= now for venue in venues)
            )
        )

    def tick(self, venue: Venue, asset: str, value: str, *, live: bool = False) -> Tick:
        return made_tick(venue, asset, value, at_ns=self.clock.monotonic_ns(), live=live)
