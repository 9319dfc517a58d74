"""The price service by its RPCs, over real sockets, with a real feed server before it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc.aio
import pytest

from price.fake_feed import ASSETS
from price.small_price import SmallPrice
from price.virtual_clock import until, until_moving
from trinity.price.v1 import price_pb2, price_service_pb2_grpc
from trinity_core.errors import Reason, TrinityError
from trinity_core.prices import Method, State
from trinity_core.venues import Venue
from trinity_mesh.channels import open_channel
from trinity_mesh.wire import unstamp


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
async def small(folder: Path) -> AsyncIterator[SmallPrice]:
    made = SmallPrice(folder)
    async with made.running():
        yield made


async def three_quotes(small: SmallPrice) -> None:
    await small.say(
        [
            small.tick(Venue.COINBASE, "BTC", "100"),
            small.tick(Venue.KRAKEN, "BTC", "101"),
            small.tick(Venue.GEMINI, "BTC", "102"),
        ],
        alive=[Venue.COINBASE, Venue.KRAKEN, Venue.GEMINI],
    )


async def test_a_price_is_the_books(small: SmallPrice) -> None:
    await three_quotes(small)
    async with small.client() as client:
        price = await client.get("btc")
    assert (price.asset, price.quote, price.price) == ("BTC", "USD", "101")
    assert price.state == price_pb2.STATE_FRESH
    assert price.tier == price_pb2.TIER_LOCAL
    assert list(price.sources) == ["coinbase", "gemini", "kraken"]
    assert price.source_count == 3
    assert price.epoch == small.part.publication.epoch
    assert unstamp(price.receive_time) == small.clock.unix_ns(), "by our wall clock, not the worker's"
    assert not price.sandbox


async def test_a_caller_may_choose_source_method_age_and_number(small: SmallPrice) -> None:
    await three_quotes(small)
    async with small.client() as client:
        assert (await client.get("BTC", source="gemini")).price == "102"
        assert (await client.get("BTC", method=Method.PRIMARY)).price == "100"
        with pytest.raises(TrinityError) as raised:
            await client.get("BTC", min_sources=4)
        assert raised.value.reason is Reason.TOO_FEW_SOURCES
        with pytest.raises(TrinityError) as raised:
            await client.get("BTC", source="kraken", method=Method.VWAP)
        assert raised.value.violations[0].field == "method"
        with pytest.raises(TrinityError) as raised:
            await client.get("BTCC")
        assert raised.value.reason is Reason.UNKNOWN_ASSET
        assert "BTC" in raised.value.metadata["nearest"]


async def test_what_the_book_lacks_is_read_from_a_venue_once_for_a_thousand_callers(small: SmallPrice) -> None:
    small.feed.gate.clear()
    small.feed.quote = lambda request: small.tick(Venue.COINBASE, "BTC", "55.5", live=True)
    async with small.client() as client:
        calls = [asyncio.create_task(client.get("BTC")) for _ in range(1_000)]
        await until(lambda: small.feed.fetches)
        await until(lambda: small.part.quotes.shared == 999)
        small.feed.gate.set()
        prices = await asyncio.gather(*calls)
        assert {(price.price, price.tier) for price in prices} == {("55.5", price_pb2.TIER_LIVE)}
        assert len(small.feed.fetches) == 1
        assert (await client.get("BTC")).tier == price_pb2.TIER_LOCAL, "what was found is in the book"


async def test_a_price_that_is_nowhere_says_why_and_when_to_come_back(small: SmallPrice) -> None:
    small.feed.quote = lambda request: TrinityError(Reason.VENUE_RATE_LIMITED, "slowly", retry_after_ms=4_000)
    async with small.client() as client:
        with pytest.raises(TrinityError, match="slowly") as raised:
            await client.get("BTC")
    assert raised.value.reason is Reason.NO_PRICE
    assert raised.value.metadata["venue_reason"] == "VENUE_RATE_LIMITED"
    assert raised.value.retry_after_ms == 4_000


async def test_a_stale_price_is_never_answered_unless_such_an_age_is_asked_for(small: SmallPrice) -> None:
    await three_quotes(small)
    await small.clock.advance(1)
    async with small.client() as client:
        await small.clock.advance(10.5)
        assert (await client.get("BTC")).state == price_pb2.STATE_DELAYED
        await small.clock.advance(60)
        with pytest.raises(TrinityError) as raised:
            await client.get("BTC")
        assert raised.value.reason is Reason.STALE_PRICE
        assert (await client.get("BTC", max_age_ms=3_600_000)).state == price_pb2.STATE_STALE
        small.feed.quote = lambda request: small.tick(Venue.KRAKEN, "BTC", "103", live=True)
        await small.clock.advance(2)
        fresh = await client.get("BTC")
        assert (fresh.price, fresh.state, fresh.tier) == ("103", price_pb2.STATE_FRESH, price_pb2.TIER_LIVE)


async def test_an_age_that_the_book_cannot_meet_is_met_by_a_venue(small: SmallPrice) -> None:
    await three_quotes(small)
    await small.clock.advance(5)
    small.feed.quote = lambda request: small.tick(Venue.KRAKEN, "BTC", "101.5", live=True)
    async with small.client() as client:
        price = await client.get("BTC", max_age_ms=1_000)
        assert price.tier == price_pb2.TIER_LIVE
        assert list(price.sources) == ["kraken"]
        await small.clock.advance(2)
        small.feed.quote = lambda request: TrinityError(Reason.VENUE_UNAVAILABLE, "circuit open")
        with pytest.raises(TrinityError, match="circuit open") as raised:
            await client.get("BTC", max_age_ms=1_000)
        assert raised.value.reason is Reason.STALE_PRICE


async def test_a_batch_gives_each_asset_its_own_outcome_in_the_order_asked(small: SmallPrice) -> None:
    await three_quotes(small)
    async with small.client() as client:
        outcomes = await client.batch(["eth", "BTC", "NOPE", "btc"])
    first, second, third, fourth = outcomes
    assert isinstance(first, TrinityError)
    assert first.reason is Reason.NO_PRICE
    assert isinstance(third, TrinityError)
    assert third.reason is Reason.UNKNOWN_ASSET
    assert isinstance(second, price_pb2.Price)
    assert second == fourth


async def test_a_batch_whose_wishes_contradict_each_other_is_refused_whole(small: SmallPrice) -> None:
    async with small.client() as client:
        with pytest.raises(TrinityError) as raised:
            await client.batch(["BTC"], source="kraken", method=Method.MEDIAN)
    assert raised.value.reason is Reason.INVALID_FIELD


async def test_assets_are_listed_in_pages_with_their_states(small: SmallPrice) -> None:
    await three_quotes(small)
    async with small.client() as client:
        assets = [asset async for asset in client.assets(page_size=37)]
    assert [asset.asset for asset in assets] == list(ASSETS.ids)
    states = {asset.asset: asset.state for asset in assets}
    assert states["BTC"] == price_pb2.STATE_FRESH
    assert states["DOGE"] == price_pb2.STATE_HALTED
    btc = assets[0]
    assert (btc.name, btc.listings[0].venue, btc.listings[0].quote) == ("Bitcoin", "coinbase", "USD")


async def test_a_page_token_that_is_not_ours_is_refused(small: SmallPrice) -> None:
    async with open_channel(small.address) as channel:
        stub = price_service_pb2_grpc.PriceServiceStub(channel)
        page = await stub.ListAssets(price_pb2.ListAssetsRequest(page_size=50))
        assert page.total_size == len(ASSETS)
        again = await stub.ListAssets(price_pb2.ListAssetsRequest(page_size=3, page_token=page.next_page_token))
        assert again.assets[0].asset == ASSETS.ids[50]
        for token in (page.next_page_token[:-2], "NTA", "x" * 256):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await stub.ListAssets(price_pb2.ListAssetsRequest(page_token=token))
            assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_explanation_names_every_input(small: SmallPrice) -> None:
    await three_quotes(small)
    await small.clock.advance(2)
    async with small.client() as client:
        told = await client.explain("btc")
        never = await client.explain("DOGE")
    kept = {entry.venue: entry for entry in told.inputs if entry.kept}
    assert sorted(kept) == ["coinbase", "gemini", "kraken"]
    assert kept["kraken"].value_usd == "101"
    assert kept["kraken"].weight == "1"
    assert kept["kraken"].age_ms == 2_000
    assert unstamp(kept["kraken"].receive_time) == small.clock.unix_ns() - 2 * 10**9
    left_out = {entry.venue: entry for entry in told.inputs if not entry.kept}
    assert left_out["okx"].exclusion == price_pb2.EXCLUSION_NOT_FRESH
    assert left_out["okx"].conversion.currency == "USDT"
    assert (told.median, told.fresh_ms, told.stale_ms) == ("101", 10_000, 60_000)
    assert told.price.price == "101"
    assert not never.HasField("price")
    assert never.detail


async def test_a_replica_follows_the_book(small: SmallPrice) -> None:
    await three_quotes(small)
    async with small.book() as book:
        await book.ready()
        view = book.get("BTC")
        assert view is not None
        assert (str(view.price), view.state) == ("101", State.FRESH)
        await small.clock.advance(0.5)
        await small.say([small.tick(Venue.KRAKEN, "BTC", "101.4")])
        await until(lambda: str(book.views["BTC"].price) == "101.4")
        assert small.part.watching.streams == 1
    await until(lambda: small.part.watching.streams == 0)


async def test_a_replica_starts_anew_after_a_restart(folder: Path) -> None:
    small = SmallPrice(folder)
    async with small.running():
        await three_quotes(small)
        book = small.book()
        await book.__aenter__()
        await book.ready()
    assert not book.connection.connected
    assert book.get("BTC") is not None
    async with SmallPrice(folder).running() as other:
        await until_moving(small.clock, lambda: book.connection.replacements == 2)
        assert book.connection.epoch == other.part.publication.epoch
        assert book.get("BTC") is None, "the new run has no price yet, and says so"
    await book.__aexit__()


async def test_an_unknown_asset_opens_no_stream(small: SmallPrice) -> None:
    async with small.book(assets=["BTC", "NOPE"]) as book:
        with pytest.raises(TrinityError) as raised:
            await book.ready()
        assert raised.value.reason is Reason.UNKNOWN_ASSET


async def test_a_snapshot_waits_for_the_feeds_but_not_for_ever(folder: Path) -> None:
    small = SmallPrice(folder, ready_wait_ms=5_000)
    small.feed.hold_snapshot.clear()
    async with small.feed.server(folder), small.running(with_feed=False), small.book() as book:
        await until(lambda: book.connection.streams == 1)
        await small.clock.advance(2)
        assert not small.part.synced.is_set()
        assert book.connection.replacements == 0
        await small.clock.advance(3)
        await until_moving(small.clock, lambda: book.connection.connected)


async def test_every_answer_made_of_simulated_ticks_says_so(folder: Path) -> None:
    small = SmallPrice(folder, sandbox=True)
    async with small.running(), small.client() as client, small.book() as book:
        await three_quotes(small)
        small.feed.quote = lambda request: small.tick(Venue.COINBASE, "ETH", "5", live=True)
        assert (await client.get("BTC")).sandbox
        assert (await client.get("ETH")).sandbox
        outcomes = await client.batch(["BTC"])
        assert isinstance(outcomes[0], price_pb2.Price)
        assert outcomes[0].sandbox
        assert (await client.explain("BTC")).price.sandbox
        await book.ready()
        await until(lambda: book.get("BTC") is not None)
        assert book.views["BTC"].sandbox


async def test_a_wall_clock_that_is_stepped_changes_no_state_and_shows_new_times(small: SmallPrice) -> None:
    await three_quotes(small)
    async with small.client() as client, small.book() as book:
        await book.ready()
        small.clock.jump_wall(86_400)
        await small.clock.advance(1)
        price = await client.get("BTC")
        assert unstamp(price.receive_time) == small.clock.unix_ns() - 10**9
        assert price.state == price_pb2.STATE_FRESH
        assert book.views["BTC"].state is State.FRESH
        await small.clock.advance(1)
        await small.say([small.tick(Venue.KRAKEN, "BTC", "101.4")])
        await until(lambda: str(book.views["BTC"].price) == "101.4")
        left_ns = book.views["BTC"].fresh_until_ns - small.clock.monotonic_ns()
        assert left_ns == 10 * 10**9


async def test_a_lost_feed_worker_makes_prices_age(folder: Path) -> None:
    small = SmallPrice(folder)
    async with small.running(), small.client() as client:
        await three_quotes(small)
        for _ in range(30):
            await small.clock.advance(1)
            await small.say([], alive=[Venue.COINBASE, Venue.KRAKEN, Venue.GEMINI])
        assert (await client.get("BTC")).state == price_pb2.STATE_FRESH, "quiet on a live connection is fresh"
        for queue in list(small.feed.streams):
            queue.put_nowait("not a batch")  # type: ignore[arg-type]
        await until(lambda: not small.part.feeds[0].connected)
        small.feed.snapshot = None
        await small.clock.advance(2.9)
        await small.clock.advance(8)
        assert (await client.get("BTC")).state == price_pb2.STATE_DELAYED
