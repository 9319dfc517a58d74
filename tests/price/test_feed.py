"""Following a feed worker: true ages, ends of connections, reconnection, and quotes on demand."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from price.fake_feed import FakeFeed, Notebook, made_tick
from price.virtual_clock import VirtualClock, until, until_moving
from trinity_core.backoff import Backoff
from trinity_core.errors import Reason, TrinityError
from trinity_core.ticks import Liveness
from trinity_core.venues import Venue
from trinity_price.feed import Feed, by_reach

S = 10**9
CLOCK = "the-clock"


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@asynccontextmanager
async def following(folder: Path, clock: VirtualClock, sink: Notebook, *, clock_id: str = CLOCK) -> AsyncIterator[Feed]:
    feed = Feed(
        address=f"unix:{folder}/feed.sock",
        sink=sink,
        clock=clock,
        clock_id=clock_id,
        silence_ms=3_000,
        backoff=Backoff(first_ms=50),
    )
    task = asyncio.create_task(feed.run())
    try:
        yield feed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def alive(venue: Venue, at_ns: int, *, connected: bool = True, worker: str = "w1") -> Liveness:
    return Liveness(venue, worker, at_ns, connected)


async def test_ticks_and_signs_of_life_reach_the_sink(folder: Path) -> None:
    clock, sink, fake = VirtualClock(), Notebook(), FakeFeed()
    now = clock.monotonic_ns()
    ticks = [made_tick(Venue.KRAKEN, "BTC", "67000.10", at_ns=now - 5), made_tick(Venue.OKX, "ETH", "3000", at_ns=now)]
    async with fake.server(folder), following(folder, clock, sink) as feed:
        await until(lambda: fake.streams)
        fake.push(fake.batch(ticks, [alive(Venue.KRAKEN, now)], sent_ns=now, snapshot=True))
        await until(lambda: feed.connected)
        assert feed.synced.is_set()
        assert sink.ticks == ticks
        assert sink.signs == [alive(Venue.KRAKEN, now)]
        assert feed.venues == {Venue.KRAKEN}
        assert (feed.worker, feed.ticks, sink.sandbox) == ("w1", 2, False)


async def test_a_stalled_stream_delivers_its_backlog_at_its_true_age_between_hosts(folder: Path) -> None:
    clock, sink, fake = VirtualClock(), Notebook(), FakeFeed(clock_id="another host")
    now = clock.monotonic_ns()
    async with fake.server(folder), following(folder, clock, sink) as feed:
        await until(lambda: fake.streams)
        fake.push(fake.batch([made_tick(Venue.KRAKEN, "BTC", "1", at_ns=7 * S)], sent_ns=7 * S + 1, snapshot=True))
        await until(lambda: sink.ticks)
        assert sink.ticks[0].receive_mono_ns == now - 1
        clock.move(2.5)
        fake.push(fake.batch([made_tick(Venue.KRAKEN, "BTC", "2", at_ns=8 * S)], sent_ns=8 * S, snapshot=False))
        await until(lambda: len(sink.ticks) == 2)
        assert sink.ticks[1].receive_mono_ns == now + 1 * S - 1, "received 1 s after the first, told 2.5 s after it"
        assert feed.transit_ns == 1_500_000_001


async def test_a_tick_from_the_future_is_as_new_as_now(folder: Path) -> None:
    clock, sink, fake = VirtualClock(), Notebook(), FakeFeed()
    now = clock.monotonic_ns()
    async with fake.server(folder), following(folder, clock, sink):
        await until(lambda: fake.streams)
        late = made_tick(Venue.KRAKEN, "BTC", "1", at_ns=now + 5 * S)
        fake.push(fake.batch([late], [alive(Venue.KRAKEN, now + S)], sent_ns=now, snapshot=True))
        await until(lambda: sink.ticks)
        assert sink.ticks[0].receive_mono_ns == now
        assert sink.signs[0].alive_mono_ns == now


async def test_a_lost_worker_disconnects_its_venues_and_is_followed_again(folder: Path) -> None:
    clock, sink = VirtualClock(), Notebook()
    now = clock.monotonic_ns()
    async with following(folder, clock, sink) as feed:
        first = FakeFeed()
        async with first.server(folder):
            await until_moving(clock, lambda: first.streams)
            signs = [alive(Venue.KRAKEN, now), alive(Venue.OKX, now, connected=False)]
            first.push(first.batch([], signs, sent_ns=now, snapshot=True))
            await until(lambda: feed.connected)
            sink.signs.clear()
        await until(lambda: not feed.connected)
        assert sink.signs == [alive(Venue.KRAKEN, now, connected=False)], "what stood stands no more"
        second = FakeFeed(worker="w2")
        async with second.server(folder):
            await until_moving(clock, lambda: second.streams)
            later = clock.monotonic_ns()
            second.push(second.batch([], [alive(Venue.KRAKEN, later, worker="w2")], sent_ns=later, snapshot=True))
            await until(lambda: feed.worker == "w2")
            assert sink.signs[-1] == alive(Venue.KRAKEN, later, worker="w2")
            assert feed.streams >= 2


async def test_a_silent_worker_counts_as_lost(folder: Path) -> None:
    clock, sink, fake = VirtualClock(), Notebook(), FakeFeed()
    now = clock.monotonic_ns()
    async with fake.server(folder), following(folder, clock, sink) as feed:
        await until(lambda: fake.streams)
        fake.push(fake.batch([], [alive(Venue.KRAKEN, now)], sent_ns=now, snapshot=True))
        await until(lambda: feed.connected)
        await clock.advance(2.9)
        assert feed.connected
        await clock.advance(0.3)
        await until(lambda: not feed.connected)
        assert not sink.signs[-1].connected
        await until_moving(clock, lambda: feed.streams == 2)


async def test_a_worker_that_changes_under_the_stream_leaves_no_venue_behind(folder: Path) -> None:
    clock, sink, fake = VirtualClock(), Notebook(), FakeFeed()
    now = clock.monotonic_ns()
    async with fake.server(folder), following(folder, clock, sink):
        await until(lambda: fake.streams)
        fake.push(fake.batch([], [alive(Venue.KRAKEN, now)], sent_ns=now, snapshot=True))
        fake.worker = "w2"
        fake.push(fake.batch([], [alive(Venue.OKX, now, worker="w2")], sent_ns=now))
        await until(lambda: len(sink.signs) == 3)
        assert sink.signs[1] == alive(Venue.KRAKEN, now, connected=False)


async def test_what_cannot_be_read_is_counted_and_the_rest_goes_on(folder: Path) -> None:
    clock, sink, fake = VirtualClock(), Notebook(), FakeFeed()
    now = clock.monotonic_ns()
    async with fake.server(folder), following(folder, clock, sink) as feed:
        await until(lambda: fake.streams)
        batch = fake.batch([made_tick(Venue.KRAKEN, "BTC", "1", at_ns=now)] * 3, [alive(Venue.OKX, now)], sent_ns=now)
        batch.ticks[0].venue = "binance"
        batch.ticks[1].price = "1,5"
        batch.liveness.add(venue="mtgox", connected=True)
        fake.push(batch)
        await until(lambda: feed.connected)
        assert len(sink.ticks) == 1
        assert feed.ticks_invalid == 3


async def test_a_large_snapshot_is_applied_in_slices(folder: Path) -> None:
    clock, sink, fake = VirtualClock(), Notebook(), FakeFeed()
    now = clock.monotonic_ns()
    async with fake.server(folder), following(folder, clock, sink) as feed:
        await until(lambda: fake.streams)
        ticks = [made_tick(Venue.KRAKEN, "BTC", str(number + 1), at_ns=now + number - 200) for number in range(150)]
        fake.push(fake.batch(ticks, sent_ns=now, snapshot=True))
        await until(lambda: feed.connected)
        assert sink.ticks == ticks
        assert sink.slices == [64, 64, 22]


async def test_a_sink_that_fails_costs_one_stream_not_the_service(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, sink, fake = VirtualClock(), Notebook(), FakeFeed()
    now = clock.monotonic_ns()
    async with fake.server(folder), following(folder, clock, sink) as feed:
        await until(lambda: fake.streams)
        sink.raises = RuntimeError("no")
        fake.push(fake.batch([made_tick(Venue.KRAKEN, "BTC", "1", at_ns=now)], sent_ns=now))
        await until_moving(clock, lambda: feed.streams == 2 and fake.streams)
        fake.push(fake.batch([made_tick(Venue.KRAKEN, "BTC", "2", at_ns=now)], sent_ns=clock.monotonic_ns()))
        await until(lambda: sink.ticks)
    assert "unforeseen error" in caplog.text


async def test_simulated_ticks_mark_the_sink(folder: Path) -> None:
    clock, sink, fake = VirtualClock(), Notebook(), FakeFeed(sandbox=True)
    async with fake.server(folder), following(folder, clock, sink) as feed:
        await until(lambda: fake.streams)
        fake.push(fake.batch(sent_ns=clock.monotonic_ns(), snapshot=True))
        await until(lambda: feed.connected)
        assert sink.sandbox
        assert feed.sandbox


async def test_a_quote_comes_with_its_age(folder: Path) -> None:
    clock, sink, fake = VirtualClock(), Notebook(), FakeFeed()
    now = clock.monotonic_ns()
    fake.quote = lambda request: made_tick(Venue.KRAKEN, request.asset, "5", at_ns=now - 7, live=True)
    async with fake.server(folder), following(folder, clock, sink) as feed:
        tick = await feed.fetch("BTC", Venue.KRAKEN, timeout_s=20)
        assert tick == made_tick(Venue.KRAKEN, "BTC", "5", at_ns=now - 7, live=True)
        assert (fake.fetches[0].asset, fake.fetches[0].venue) == ("BTC", "kraken")


async def test_a_quote_from_an_unknown_clock_is_never_taken_for_younger_than_it_may_be(folder: Path) -> None:
    clock, sink, fake = VirtualClock(), Notebook(), FakeFeed(clock_id="another host")
    asked = clock.monotonic_ns()
    fake.gate.clear()
    fake.quote = lambda request: made_tick(Venue.KRAKEN, request.asset, "5", at_ns=3 * S, live=True)
    async with fake.server(folder), following(folder, clock, sink) as feed:
        fetching = asyncio.create_task(feed.fetch("BTC", None, timeout_s=20))
        await until(lambda: fake.fetches)
        clock.move(1.5)
        fake.gate.set()
        assert (await fetching).receive_mono_ns == asked


async def test_a_refused_quote_is_raised_as_the_worker_said_it(folder: Path) -> None:
    clock, sink, fake = VirtualClock(), Notebook(), FakeFeed()
    fake.quote = lambda request: TrinityError(Reason.VENUE_RATE_LIMITED, "slowly", retry_after_ms=700)
    async with fake.server(folder), following(folder, clock, sink) as feed:
        with pytest.raises(TrinityError, match="slowly") as raised:
            await feed.fetch("BTC", None, timeout_s=20)
        assert raised.value.retry_after_ms == 700


def test_the_worker_that_holds_the_best_venue_is_asked_first() -> None:
    def feed(name: str, *venues: Venue, connected: bool = True) -> Feed:
        made = Feed(
            address=name, sink=Notebook(), clock=VirtualClock(), clock_id="c", silence_ms=3_000, backoff=Backoff()
        )
        made.connected = connected
        made._signs = {venue: alive(venue, 1) for venue in venues}
        return made

    feeds = [feed("none"), feed("okx", Venue.OKX), feed("lost", Venue.KRAKEN, connected=False), feed("k", Venue.KRAKEN)]
    order = [item.address for item in by_reach(feeds, [Venue.COINBASE, Venue.KRAKEN, Venue.OKX])]
    assert order == ["k", "okx", "none", "lost"]
