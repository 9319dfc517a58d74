"""FeedService as a caller sees it: a whole worker behind a real socket, fed by a real venue server."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import grpc.aio
import pytest

from feeds.plain_venue import PlainSession, PlainVenue, plain_venue
from feeds.test_hub import ASSETS, hub, tick
from feeds.test_quotes import Exchange, answer, exchange
from price.virtual_clock import until
from trinity.feed.v1 import feed_pb2, feed_service_pb2_grpc
from trinity_core.assets import Asset, AssetTable, Listing
from trinity_core.errors import Reason, TrinityError
from trinity_core.venues import Venue
from trinity_feeds.config import FeedsConfig, Mode
from trinity_feeds.connection import Connection
from trinity_feeds.link import SocketSettings
from trinity_feeds.quotes import Quotes
from trinity_feeds.servicer import FeedServicer
from trinity_feeds.session import Session
from trinity_feeds.worker import Worker
from trinity_mesh.channels import call, open_channel, stream
from trinity_mesh.clock import SystemClock
from trinity_mesh.server import MeshServer

PATIENCE_S = 20
TABLE = AssetTable(
    [
        Asset(asset, asset, (Listing(Venue.KRAKEN, asset, "USD"), Listing(Venue.OKX, asset, "USD")))
        for asset in ("BTC", "ETH")
    ]
    + [Asset("CRO", "Cronos", (Listing(Venue.CRYPTOCOM, "CRO_USD", "USD"),))]
)
SESSIONS: dict[Venue, type[Session]] = {
    Venue.KRAKEN: PlainSession,
    Venue.OKX: type("OtherSession", (PlainSession,), {"venue": Venue.OKX}),
}


class Scene:
    """A worker of two venues, their servers, and a caller."""

    def __init__(self, *, worker: Worker, kraken: PlainVenue, okx: PlainVenue, rest: Exchange, stub: Any) -> None:
        self.worker = worker
        self.kraken = kraken
        self.okx = okx
        self.rest = rest
        self.stub = stub

    def stream(self, *venues: str) -> Stream:
        return Stream(self.stub.StreamTicks(feed_pb2.StreamTicksRequest(venues=venues)))

    async def venue(self, name: str) -> feed_pb2.VenueStatus:
        answer = await call(self.stub.ListVenues(feed_pb2.ListVenuesRequest()))
        return {status.venue: status for status in answer.venues}[name]


class Stream:
    """A call of StreamTicks, read until something shows."""

    def __init__(self, responses: Any) -> None:
        self.call = responses
        self._batches = stream(responses)

    async def next(self) -> feed_pb2.StreamTicksResponse:
        return await asyncio.wait_for(anext(self._batches), PATIENCE_S)

    async def prices(self, *expected: tuple[str, str, str]) -> None:
        """Read until these (venue, asset, price) were seen."""
        missing = set(expected)
        async with asyncio.timeout(PATIENCE_S):
            while missing:
                missing -= {(tick.venue, tick.asset, tick.price) for tick in (await self.next()).ticks}


@asynccontextmanager
async def scene(folder: Path, **changes: Any) -> AsyncIterator[Scene]:
    async with plain_venue() as kraken, plain_venue() as okx, exchange() as rest:
        config = FeedsConfig(
            **{
                "listen": f"unix:{folder}/feeds.sock",
                "mode": Mode.SANDBOX,
                "venues": (Venue.OKX, Venue.KRAKEN),
                "ws_urls": {Venue.KRAKEN: kraken.url, Venue.OKX: okx.url},
                "rest_urls": {Venue.KRAKEN: rest.url, Venue.OKX: rest.url},
                "stagger_ms": 0,
                "heartbeat_ms": 100,
                "socket": SocketSettings(close_timeout_ms=200),
            }
            | changes
        )
        worker = Worker(
            config=config,
            worker="feeds-1",
            clock=SystemClock(),
            clock_id="clock-1",
            assets=TABLE,
            sessions=SESSIONS,
            random_source=random.Random(1),
        )
        running = asyncio.create_task(worker.run())
        try:
            async with (
                worker.quotes,
                MeshServer(address=config.listen, services=[worker.servicer.service()]) as server,
                open_channel(server.address) as channel,
            ):
                yield Scene(
                    worker=worker,
                    kraken=kraken,
                    okx=okx,
                    rest=rest,
                    stub=feed_service_pb2_grpc.FeedServiceStub(channel),
                )
                worker.hub.close()
        finally:
            running.cancel()
            await asyncio.wait([running])


@pytest.fixture
async def of(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as made:
        yield made


async def refused(awaitable: Any) -> TrinityError:
    with pytest.raises(TrinityError) as caught:
        await awaitable
    return caught.value


async def test_what_a_venue_sends_reaches_every_stream_and_a_late_one_begins_with_it(of: Scene) -> None:
    early = of.stream()
    first = await early.next()
    assert first.snapshot
    assert not first.ticks
    assert [(life.venue, life.connected) for life in first.liveness] == [("kraken", False), ("okx", False)]
    kraken = await asyncio.wait_for(of.kraken.arrivals.get(), PATIENCE_S)
    okx = await asyncio.wait_for(of.okx.arrivals.get(), PATIENCE_S)
    await kraken.send("tick BTC 1.50 1")
    await okx.send("tick ETH 2.5 1")
    await early.prices(("kraken", "BTC", "1.50"), ("okx", "ETH", "2.5"))
    snapshot = await of.stream().next()
    assert snapshot.snapshot
    assert {(tick.venue, tick.asset, tick.price) for tick in snapshot.ticks} == {
        ("kraken", "BTC", "1.50"),
        ("okx", "ETH", "2.5"),
    }
    assert [(life.venue, life.connected) for life in snapshot.liveness] == [("kraken", True), ("okx", True)]
    assert (snapshot.worker, snapshot.clock_id, snapshot.sandbox) == ("feeds-1", "clock-1", True)
    tick = next(tick for tick in snapshot.ticks if tick.venue == "kraken")
    assert 0 < tick.receive_monotonic_ns <= snapshot.sent_monotonic_ns
    alive = next(life for life in snapshot.liveness if life.venue == "kraken").alive_monotonic_ns
    assert tick.receive_monotonic_ns <= alive <= snapshot.sent_monotonic_ns
    again = await early.next()
    assert not again.snapshot
    assert not again.ticks, "a heartbeat"


async def test_a_lost_venue_shows_in_the_stream_and_the_others_go_on(of: Scene) -> None:
    kraken = await asyncio.wait_for(of.kraken.arrivals.get(), PATIENCE_S)
    okx = await asyncio.wait_for(of.okx.arrivals.get(), PATIENCE_S)
    await kraken.send("tick BTC 1 1")
    reading = of.stream()
    await reading.prices(("kraken", "BTC", "1"))
    kraken.transport.abort()
    async with asyncio.timeout(PATIENCE_S):
        while ("kraken", False) not in [(life.venue, life.connected) for life in (await reading.next()).liveness]:
            pass
    await okx.send("tick BTC 2 1")
    await reading.prices(("okx", "BTC", "2"))


async def test_a_stream_of_named_venues_shows_no_others(of: Scene) -> None:
    kraken = await asyncio.wait_for(of.kraken.arrivals.get(), PATIENCE_S)
    okx = await asyncio.wait_for(of.okx.arrivals.get(), PATIENCE_S)
    reading = of.stream("okx", "nyse")
    assert [life.venue for life in (await reading.next()).liveness] == ["okx"]
    await kraken.send("tick BTC 1 1")
    await okx.send("tick BTC 2 1")
    seen: set[str] = set()
    async with asyncio.timeout(PATIENCE_S):
        while not seen:
            seen |= {tick.venue for tick in (await reading.next()).ticks}
    assert seen == {"okx"}


async def test_a_stream_of_nothing_held_is_refused(of: Scene) -> None:
    error = await refused(of.stream("gemini").next())
    assert (error.reason, error.metadata["held"]) == (Reason.UNKNOWN_VENUE, "kraken, okx")


@pytest.mark.parametrize("venues", [["OKX"], ["okx", "okx"], ["okx"] * 17, ["o"]])
async def test_a_request_that_breaks_the_contract_is_refused(of: Scene, venues: list[str]) -> None:
    error = await refused(of.stream(*venues).next())
    assert error.reason is Reason.INVALID_FIELD
    assert error.metadata["field"].startswith("venues")


async def test_streams_are_bounded_and_a_caller_that_leaves_makes_room(tmp_path: Path) -> None:
    async with scene(tmp_path, streams_max=2) as of:
        first, second = of.stream(), of.stream()
        await first.next()
        await second.next()
        assert (await refused(of.stream().next())).reason is Reason.TOO_MANY_STREAMS
        first.call.cancel()
        await until(lambda: of.worker.hub.streams == 1)
        await of.stream().next()


async def test_a_caller_that_leaves_while_it_does_not_read_makes_room_too(tmp_path: Path) -> None:
    async with scene(tmp_path, streams_max=1) as of:
        reading = of.stream()
        await reading.next()
        await asyncio.sleep(0)
        reading.call.cancel()
        await until(lambda: of.worker.hub.streams == 0)


async def test_a_stopping_worker_ends_its_streams_with_stopping(of: Scene) -> None:
    reading = of.stream()
    await reading.next()
    of.worker.hub.close()

    async def to_the_end() -> None:
        while True:
            await reading.next()

    assert (await refused(to_the_end())).reason is Reason.STOPPING
    assert (await refused(of.stream().next())).reason is Reason.STOPPING


async def test_a_quote_is_fetched_and_marked_as_live_and_simulated(of: Scene) -> None:
    response = await call(of.stub.FetchQuote(feed_pb2.FetchQuoteRequest(asset="btc", venue="okx")))
    assert (response.tick.venue, response.tick.asset, response.tick.price) == ("okx", "BTC", "100.5")
    assert response.tick.live
    assert response.sandbox
    assert response.clock_id == "clock-1"
    assert 0 < response.tick.receive_monotonic_ns <= response.sent_monotonic_ns
    status = await of.venue("okx")
    assert (status.quotes_fetched, status.quotes_failed, status.circuit) == (1, 0, feed_pb2.CIRCUIT_STATE_CLOSED)


@pytest.mark.parametrize(
    ("asset", "venue", "reason"),
    [
        ("", "", Reason.INVALID_FIELD),
        ("B!", "", Reason.INVALID_FIELD),
        ("BTC", "OKX", Reason.INVALID_FIELD),
        ("BTX", "", Reason.UNKNOWN_ASSET),
        ("BTC", "gemini", Reason.UNKNOWN_VENUE),
        ("BTC", "nyse", Reason.UNKNOWN_VENUE),
        ("CRO", "", Reason.NOT_LISTED),
        ("CRO", "okx", Reason.NOT_LISTED),
    ],
)
async def test_a_quote_that_cannot_be_asked_for_is_refused_with_its_reason(
    of: Scene, asset: str, venue: str, reason: Reason
) -> None:
    error = await refused(call(of.stub.FetchQuote(feed_pb2.FetchQuoteRequest(asset=asset, venue=venue))))
    assert error.reason is reason
    assert of.rest.asked == []


async def test_a_venues_rate_limit_reaches_the_caller_with_the_time_to_wait(of: Scene) -> None:
    of.rest.answers = [answer("", "429 Too Many Requests", **{"Retry-After": "7"})]
    error = await refused(call(of.stub.FetchQuote(feed_pb2.FetchQuoteRequest(asset="BTC", venue="okx"))))
    assert (error.reason, error.retry_after_ms) == (Reason.VENUE_RATE_LIMITED, 7_000)


async def test_a_quote_ends_with_the_callers_deadline_and_with_the_workers_own(tmp_path: Path) -> None:
    async with scene(tmp_path, call_ms=50) as of:
        of.rest.open.clear()
        error = await refused(call(of.stub.FetchQuote(feed_pb2.FetchQuoteRequest(asset="BTC"), timeout=60)))
        assert error.reason is Reason.DEADLINE_EXCEEDED
        error = await refused(call(of.stub.FetchQuote(feed_pb2.FetchQuoteRequest(asset="ETH"), timeout=0.02)))
        assert error.reason is Reason.DEADLINE_EXCEEDED


async def test_the_list_of_venues_tells_how_each_fares(of: Scene) -> None:
    kraken = await asyncio.wait_for(of.kraken.arrivals.get(), PATIENCE_S)
    await asyncio.wait_for(of.okx.arrivals.get(), PATIENCE_S)
    await kraken.send("tick BTC 1 1")
    await kraken.send("what")
    await kraken.send("tick NOPE 1 1")
    await until(lambda: of.worker.connections[Venue.KRAKEN].counts.frames == 3)
    answer = await call(of.stub.ListVenues(feed_pb2.ListVenuesRequest()))
    assert [status.venue for status in answer.venues] == ["kraken", "okx"]
    first, second = answer.venues
    assert first.state == feed_pb2.CONNECTION_STATE_LIVE
    assert second.state == feed_pb2.CONNECTION_STATE_SUBSCRIBING
    assert (first.worker, first.url, first.sandbox) == ("feeds-1", of.kraken.url, True)
    assert (first.symbols_wanted, first.symbols_subscribed, first.symbols_fresh) == (2, 1, 1)
    assert (first.frames, first.ticks, first.frames_unknown, first.frames_invalid) == (3, 1, 1, 1)
    assert first.HasField("last_frame_time")
    assert first.last_frame_time.seconds > 1_700_000_000
    assert first.reconnects == 0
    kraken.transport.abort()
    await asyncio.wait_for(of.kraken.arrivals.get(), PATIENCE_S)
    again = await of.venue("kraken")
    assert again.reconnects == 1
    assert "lost" in again.detail


async def test_a_caller_that_does_not_read_costs_a_board_and_then_finds_the_newest(tmp_path: Path) -> None:
    """One caller reads every round of all assets, another none: it skips the rounds its connection did not hold."""
    rounds = 60
    board = [(asset, venue) for venue in Venue for asset, _ in ASSETS.symbols(venue).values()]
    of = hub(SystemClock(), flush_ms=0.1)
    servicer = FeedServicer(
        worker="feeds-1",
        sandbox=False,
        clock=SystemClock(),
        clock_id="clock-1",
        hub=of,
        quotes=Quotes(assets=ASSETS, venues={}),
        connections=dict.fromkeys(Venue, cast("Connection", None)),
        call_ms=1_000,
    )
    async with (
        MeshServer(address=f"unix:{tmp_path}/feeds.sock", services=[servicer.service()]) as server,
        open_channel(server.address) as first,
        grpc.aio.insecure_channel(server.address, options=[("grpc.http2.bdp_probe", 0)]) as second,
    ):
        eager = Stream(feed_service_pb2_grpc.FeedServiceStub(first).StreamTicks(feed_pb2.StreamTicksRequest()))
        lazy = Stream(feed_service_pb2_grpc.FeedServiceStub(second).StreamTicks(feed_pb2.StreamTicksRequest()))
        await eager.next()
        await lazy.next()
        for number in range(1, rounds + 1):
            of.publish([tick(asset, venue, number=number) for asset, venue in board])
            while (await eager.next()).ticks[-1].sequence < number:
                pass
        assert max(len(each._pending) for each in of._fanout._subscriptions) == len(board), "one tick an asset"
        seen = [(await lazy.next()).ticks[-1].sequence]
        while seen[-1] < rounds:
            seen.append((await lazy.next()).ticks[-1].sequence)
        assert len(seen) < rounds / 2
        assert seen == sorted(seen)
        of.close()
