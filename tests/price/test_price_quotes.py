"""Quotes on demand: one for a thousand callers, failures remembered for a moment, deadlines kept."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from price.fake_feed import ASSETS, FakeFeed, Notebook, made_tick
from price.virtual_clock import VirtualClock, settle, until
from trinity_core.backoff import Backoff
from trinity_core.errors import Reason, TrinityError
from trinity_core.ticks import Tick
from trinity_core.venues import Venue
from trinity_price.feed import Feed
from trinity_price.quotes import Quotes


class Desk:
    def __init__(self, folder: Path, *, names: Sequence[str] = ("feed",), remembered_max: int = 100) -> None:
        self.clock = VirtualClock()
        self.applied: list[Tick] = []
        self.feeds = [
            Feed(
                address=f"unix:{folder}/{name}.sock",
                sink=Notebook(),
                clock=self.clock,
                clock_id="the-clock",
                silence_ms=3_000,
                backoff=Backoff(),
            )
            for name in names
        ]
        self.quotes = Quotes(
            feeds=self.feeds,
            assets=ASSETS,
            apply=self.applied.extend,
            clock=self.clock,
            timeout_ms=3_000,
            again_after_ms=1_000,
            remembered_max=remembered_max,
        )

    async def refresh(self, asset: str = "BTC", venue: Venue | None = None, within_s: float = 2.5) -> None:
        await self.quotes.refresh(asset, venue, within_s=within_s)

    async def close(self) -> None:
        await self.quotes.close()
        for feed in self.feeds:
            if feed._channel is not None:
                await feed._channel.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
async def fake(folder: Path) -> AsyncIterator[FakeFeed]:
    feed = FakeFeed()
    async with feed.server(folder):
        yield feed


@pytest.fixture
async def desk(folder: Path, fake: FakeFeed) -> AsyncIterator[Desk]:
    made = Desk(folder)
    fake.quote = lambda request: made_tick(
        Venue(request.venue or "coinbase"), request.asset, "100", at_ns=made.clock.monotonic_ns(), live=True
    )
    yield made
    await made.close()


async def test_a_thousand_callers_cost_one_quote(desk: Desk, fake: FakeFeed) -> None:
    fake.gate.clear()
    callers = [asyncio.create_task(desk.refresh()) for _ in range(1_000)]
    await until(lambda: fake.fetches)
    await settle()
    fake.gate.set()
    await asyncio.gather(*callers)
    assert len(fake.fetches) == 1
    assert len(desk.applied) == 1
    assert (desk.quotes.fetched, desk.quotes.shared) == (1, 999)


async def test_venues_and_assets_are_apart(desk: Desk, fake: FakeFeed) -> None:
    await asyncio.gather(
        desk.refresh("BTC"), desk.refresh("BTC", Venue.KRAKEN), desk.refresh("ETH"), desk.refresh("BTC")
    )
    asked = sorted((request.asset, request.venue) for request in fake.fetches)
    assert asked == [("BTC", ""), ("BTC", "kraken"), ("ETH", "")]


async def test_a_success_stands_for_a_moment_and_then_no_more(desk: Desk, fake: FakeFeed) -> None:
    await desk.refresh()
    await desk.clock.advance(0.999)
    await desk.refresh()
    assert len(fake.fetches) == 1
    await desk.clock.advance(0.001)
    await desk.refresh()
    assert len(fake.fetches) == 2


async def test_a_failure_is_shared_remembered_and_says_when_to_come_back(desk: Desk, fake: FakeFeed) -> None:
    fake.quote = lambda request: TrinityError(Reason.VENUE_UNAVAILABLE, "circuit open")
    callers = [asyncio.create_task(desk.refresh()) for _ in range(50)]
    errors = await asyncio.gather(*callers, return_exceptions=True)
    assert len(fake.fetches) == 1
    assert all(isinstance(error, TrinityError) and error.reason is Reason.VENUE_UNAVAILABLE for error in errors)
    assert len({id(error) for error in errors}) == 50, "each caller raises an error of its own"
    await desk.clock.advance(0.4)
    with pytest.raises(TrinityError, match="circuit open") as raised:
        await desk.refresh()
    assert raised.value.retry_after_ms == 600
    assert len(fake.fetches) == 1
    await desk.clock.advance(0.6)
    with pytest.raises(TrinityError):
        await desk.refresh()
    assert len(fake.fetches) == 2


async def test_a_callers_deadline_ends_its_wait_and_not_the_attempt(desk: Desk, fake: FakeFeed) -> None:
    fake.gate.clear()
    hurried = asyncio.create_task(desk.refresh(within_s=0.1))
    patient = asyncio.create_task(desk.refresh(within_s=2))
    await until(lambda: fake.fetches)
    await desk.clock.advance(0.1)
    with pytest.raises(TrinityError) as raised:
        await hurried
    assert raised.value.reason is Reason.DEADLINE_EXCEEDED
    fake.gate.set()
    await patient
    assert len(fake.fetches) == 1


async def test_callers_who_leave_do_not_end_the_attempt(desk: Desk, fake: FakeFeed) -> None:
    fake.gate.clear()
    caller = asyncio.create_task(desk.refresh())
    await until(lambda: fake.fetches)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    fake.gate.set()
    await until(lambda: desk.applied)
    assert desk.quotes.fetched == 1


async def test_an_attempt_has_a_bound_of_its_own(desk: Desk, fake: FakeFeed) -> None:
    fake.gate.clear()
    caller = asyncio.create_task(desk.refresh(within_s=60))
    await until(lambda: fake.fetches)
    await desk.clock.advance(3)
    with pytest.raises(TrinityError, match="no venue answered within 3 s"):
        await caller


async def test_what_is_remembered_is_bounded(folder: Path, fake: FakeFeed) -> None:
    desk = Desk(folder, remembered_max=3)
    for asset in ("BTC", "ETH", "SOL", "DOGE", "ADA"):
        with pytest.raises(TrinityError):
            await desk.refresh(asset)
    assert len(desk.quotes._outcomes) == 3
    with pytest.raises(TrinityError):
        await desk.refresh("BTC")
    assert len(fake.fetches) == 6, "the oldest was forgotten"
    await desk.close()


async def test_the_next_worker_is_asked_when_one_cannot_help(folder: Path) -> None:
    first, second = FakeFeed(worker="a"), FakeFeed(worker="b")
    async with first.server(folder, "a"), second.server(folder, "b"):
        desk = Desk(folder, names=["a", "b"])
        first.quote = lambda request: TrinityError(Reason.UNKNOWN_VENUE, "not here")
        second.quote = lambda request: made_tick(
            Venue.OKX, request.asset, "100", at_ns=desk.clock.monotonic_ns(), live=True
        )
        await desk.refresh("BTC", Venue.OKX)
        assert [tick.venue for tick in desk.applied] == [Venue.OKX]
        await desk.clock.advance(2)
        second.quote = lambda request: TrinityError(Reason.VENUE_RATE_LIMITED, "slowly", retry_after_ms=5_000)
        with pytest.raises(TrinityError, match="slowly") as raised:
            await desk.refresh("BTC", Venue.OKX)
        assert raised.value.retry_after_ms == 5_000
        await desk.close()


async def test_no_worker_at_all_is_a_failure_like_any_other(folder: Path) -> None:
    desk = Desk(folder, names=["nobody"])
    with pytest.raises(TrinityError) as raised:
        await desk.refresh()
    assert raised.value.reason is Reason.BACKEND_UNAVAILABLE
    await desk.close()
