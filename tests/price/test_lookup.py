"""Book, then mirror, then venue: each answers only what it can answer honestly."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from price.made import made_price
from price.small_price import SmallPrice
from price.valkey import ValkeyServer
from price.virtual_clock import until, until_moving
from trinity.price.v1 import price_pb2
from trinity_core.errors import Reason, TrinityError
from trinity_core.price_mirror import MemoryPriceMirror, MirroredPrice
from trinity_core.prices import Method
from trinity_core.venues import Venue
from trinity_price.lookup import Ask
from trinity_price.publication import Publication
from trinity_price.wall import AnchoredWall

S = 10**9


class Counted(MemoryPriceMirror):
    """The twin, counting reads; it fails or waits when told."""

    fails = False
    loads = 0
    gate: asyncio.Event | None = None

    async def load(self, assets: Sequence[str]) -> Mapping[str, MirroredPrice]:
        self.loads += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.fails:
            raise TrinityError(Reason.STORE_UNAVAILABLE, "down")
        return await super().load(assets)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
async def small(folder: Path) -> AsyncIterator[SmallPrice]:
    made = SmallPrice(folder)
    made.part.lookup._mirror = Counted(monotonic_ns=made.clock.monotonic_ns, ttl_ms=120_000)
    async with made.running():
        yield made


def mirror_of(small: SmallPrice) -> Counted:
    mirror = small.part.lookup._mirror
    assert isinstance(mirror, Counted)
    return mirror


async def left_by_an_earlier_run(small: SmallPrice, asset: str = "BTC", *, sandbox: bool = False) -> None:
    """A price of two venues, received now."""
    clock = small.clock
    publication = Publication(clock=clock, clock_id="gone", wall=AnchoredWall(clock=clock), epoch=7)
    if sandbox:
        publication.mark_sandbox()
    publication.put([made_price(asset, 3, at_ns=clock.monotonic_ns(), value="99")])
    found = publication.frame_of(asset)
    assert found is not None
    await mirror_of(small).store({asset: found[0] + publication.tail(sequence=3)})


async def test_the_mirror_answers_what_the_book_lacks(small: SmallPrice) -> None:
    await left_by_an_earlier_run(small)
    price = await small.part.lookup.find(Ask(asset="BTC"))
    assert (price.price, price.tier, price.state) == ("99", price_pb2.TIER_CACHE, price_pb2.STATE_FRESH)
    assert (price.epoch, price.sequence) == (7, 3)
    assert small.feed.fetches == []
    assert small.part.lookup.cached == 1


async def test_the_book_answers_before_the_mirror(small: SmallPrice) -> None:
    await left_by_an_earlier_run(small)
    await small.say([small.tick(Venue.KRAKEN, "BTC", "100")])
    price = await small.part.lookup.find(Ask(asset="BTC"))
    assert (price.price, price.tier) == ("100", price_pb2.TIER_LOCAL)
    assert mirror_of(small).loads == 0


async def test_a_mirrored_price_past_its_bounds_is_never_fresh(small: SmallPrice) -> None:
    await left_by_an_earlier_run(small)
    await small.clock.advance(10)
    price = await small.part.lookup.find(Ask(asset="BTC"))
    assert (price.tier, price.state) == (price_pb2.TIER_CACHE, price_pb2.STATE_DELAYED)
    await small.clock.advance(50)
    with pytest.raises(TrinityError) as raised:
        await small.part.lookup.find(Ask(asset="BTC"))
    assert raised.value.reason is Reason.NO_PRICE


@pytest.mark.parametrize(
    "ask",
    [
        Ask(asset="BTC", source=Venue.KRAKEN),
        Ask(asset="BTC", method=Method.VWAP),
        Ask(asset="BTC", min_sources=3),
        Ask(asset="BTC", max_age_ms=1_000),
        Ask(asset="ETH"),
    ],
    ids=lambda ask: str(ask),
)
async def test_the_mirror_does_not_answer_what_it_cannot(small: SmallPrice, ask: Ask) -> None:
    await left_by_an_earlier_run(small)
    await small.clock.advance(1.5)
    with pytest.raises(TrinityError):
        await small.part.lookup.find(ask)
    assert len(small.feed.fetches) == 1, "a venue was asked instead"


async def test_an_age_that_the_mirror_meets_is_answered_by_it(small: SmallPrice) -> None:
    await left_by_an_earlier_run(small)
    await small.clock.advance(1.5)
    price = await small.part.lookup.find(Ask(asset="BTC", max_age_ms=1_600, min_sources=2))
    assert price.tier == price_pb2.TIER_CACHE


async def test_a_simulated_price_left_behind_never_answers_for_a_real_one(small: SmallPrice) -> None:
    await left_by_an_earlier_run(small, sandbox=True)
    with pytest.raises(TrinityError):
        await small.part.lookup.find(Ask(asset="BTC"))


async def test_a_real_price_left_behind_never_answers_for_a_simulated_one(small: SmallPrice) -> None:
    await left_by_an_earlier_run(small)
    small.part.writer.mark_sandbox()
    with pytest.raises(TrinityError):
        await small.part.lookup.find(Ask(asset="BTC"))


async def test_callers_share_one_read_of_the_mirror(small: SmallPrice) -> None:
    await left_by_an_earlier_run(small)
    mirror = mirror_of(small)
    mirror.gate = asyncio.Event()
    callers = [asyncio.create_task(small.part.lookup.find(Ask(asset="BTC"))) for _ in range(500)]
    await until(lambda: mirror.loads)
    mirror.gate.set()
    prices = await asyncio.gather(*callers)
    assert {price.price for price in prices} == {"99"}
    assert mirror.loads == 1


async def test_a_mirror_that_fails_is_left_alone_for_a_while(small: SmallPrice) -> None:
    mirror = mirror_of(small)
    mirror.fails = True
    for _ in range(10):
        with pytest.raises(TrinityError):
            await small.part.lookup.find(Ask(asset="BTC"))
    assert mirror.loads == 1
    assert small.part.lookup.mirror_failures == 1
    await small.clock.advance(1)
    mirror.fails = False
    await left_by_an_earlier_run(small)
    assert (await small.part.lookup.find(Ask(asset="BTC"))).tier == price_pb2.TIER_CACHE


async def test_a_deadline_that_leaves_no_time_asks_no_venue(small: SmallPrice) -> None:
    with pytest.raises(TrinityError, match="no time to ask") as raised:
        await small.part.lookup.find(Ask(asset="BTC"), within_s=0.01)
    assert raised.value.reason is Reason.NO_PRICE
    assert small.feed.fetches == []


async def test_a_callers_deadline_bounds_its_wait_for_a_venue(small: SmallPrice) -> None:
    small.feed.gate.clear()
    caller = asyncio.create_task(small.part.lookup.find(Ask(asset="BTC"), within_s=0.5))
    await until(lambda: small.feed.fetches)
    await small.clock.advance(0.47)
    assert not caller.done()
    await small.clock.advance(0.02)
    with pytest.raises(TrinityError, match="deadline") as raised:
        await caller
    assert raised.value.reason is Reason.NO_PRICE


async def test_too_few_sources_is_not_mended_by_one_venue_more(small: SmallPrice) -> None:
    await small.say([small.tick(Venue.KRAKEN, "BTC", "100")])
    with pytest.raises(TrinityError) as raised:
        await small.part.lookup.find(Ask(asset="BTC", min_sources=2))
    assert raised.value.reason is Reason.TOO_FEW_SOURCES
    assert small.feed.fetches == []


async def test_a_price_outlives_the_service_in_a_real_valkey(folder: Path) -> None:
    with ValkeyServer() as server:
        settings = {"mirror": {"url": server.url, "timeout_ms": 5_000}}
        first = small_with_mirror(folder, settings)
        async with first.running():
            await first.say([first.tick(Venue.KRAKEN, "BTC", "100"), first.tick(Venue.COINBASE, "BTC", "100")])
            mirroring = first.part.mirroring
            assert mirroring is not None
            await until_moving(first.clock, lambda: mirroring.stored)
        second = small_with_mirror(folder, settings)
        second.clock.move(2)
        async with second.running(), second.client() as client:
            price = await client.get("BTC")
            assert (price.price, price.tier, price.state) == ("100", price_pb2.TIER_CACHE, price_pb2.STATE_FRESH)
            assert price.epoch == first.part.publication.epoch
            assert second.feed.fetches == []


async def test_a_dead_valkey_neither_delays_nor_fails_a_price(folder: Path) -> None:
    with ValkeyServer() as server:
        small = small_with_mirror(folder, {"mirror": {"url": server.url, "timeout_ms": 200}})
        async with small.running(), small.client() as client:
            mirroring = small.part.mirroring
            assert mirroring is not None
            server.kill()
            for number in range(20):
                await small.say([small.tick(Venue.KRAKEN, "BTC", str(100 + number))])
                assert (await client.get("BTC")).price == str(100 + number)
                await small.clock.advance(0.3)
            await until_moving(small.clock, lambda: mirroring.failures >= 2)
            assert mirroring.waiting == 1
            server.start()
            await until_moving(small.clock, lambda: mirroring.stored)
            assert mirroring.waiting == 0


def small_with_mirror(folder: Path, settings: dict[str, dict[str, object]]) -> SmallPrice:
    from trinity_price.config import MirrorConfig

    return SmallPrice(folder, mirror=MirrorConfig(**settings["mirror"]))  # type: ignore[arg-type]
