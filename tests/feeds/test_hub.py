"""The hub: snapshot first, newest wins, heartbeats in time, bytes that read like the message they stand for."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jumping_time import START_MONO_NS, JumpingClock, run_jumping
from trinity.feed.v1 import feed_pb2
from trinity_core.assets import load_assets
from trinity_core.errors import Reason, TrinityError
from trinity_core.ticks import Liveness, Tick
from trinity_core.venues import Venue
from trinity_feeds.hub import Hub, TickStream
from trinity_mesh.clock import Clock
from trinity_mesh.wire import liveness_to_message, tick_to_message

ASSETS = load_assets()
MS = 1_000_000


def hub(clock: Clock | None = None, **changes: Any) -> Hub:
    settings: dict[str, Any] = {
        "clock": clock or JumpingClock(),
        "clock_id": "clock-1",
        "worker": "feeds-1",
        "sandbox": False,
        "venues": tuple(Venue),
        "assets": ASSETS,
        "flush_ms": 5,
        "heartbeat_ms": 1_000,
        "streams_max": 3,
    }
    return Hub(**(settings | changes))


def tick(
    asset: str = "BTC", venue: Venue = Venue.KRAKEN, *, price: str = "100", number: int = 0, **changes: Any
) -> Tick:
    fields: dict[str, Any] = {
        "venue": venue,
        "asset": asset,
        "symbol": f"{asset}/USD",
        "quote": "USD",
        "price": Decimal(price),
        "bid": Decimal("99.5"),
        "ask": None,
        "volume_24h": Decimal("1E+3"),
        "venue_time_ns": 1_700_000_000_123_456_789,
        "sequence": number,
        "receive_time_ns": 1_700_000_000_200_000_000 + number,
        "receive_mono_ns": 5_000 + number,
    }
    return Tick(**(fields | changes))


def read(batch: bytes) -> feed_pb2.StreamTicksResponse:
    return feed_pb2.StreamTicksResponse.FromString(batch)


def in_jumping_time(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        run_jumping(test())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def opened(of: Hub, *venues: Venue) -> TickStream:
    """A stream whose snapshot was taken."""
    stream = of.stream(venues or tuple(Venue))
    await stream.next()
    return stream


@in_jumping_time
async def test_the_first_batch_is_a_snapshot_of_the_newest_tick_of_every_asset_and_venue() -> None:
    of = hub()
    of.publish([tick("BTC", price="1"), tick("ETH", price="2")])
    of.publish([tick("BTC", Venue.COINBASE, price="3"), tick("BTC", price="4")])
    batch = read(await of.stream(tuple(Venue)).next())
    assert batch.snapshot
    assert [(t.venue, t.asset, t.price) for t in batch.ticks] == [
        ("kraken", "ETH", "2"),
        ("coinbase", "BTC", "3"),
        ("kraken", "BTC", "4"),
    ], "in the order of receipt"
    assert [life.venue for life in batch.liveness] == sorted(Venue)
    assert (batch.worker, batch.clock_id, batch.sandbox) == ("feeds-1", "clock-1", False)
    assert batch.sent_monotonic_ns == START_MONO_NS


@in_jumping_time
async def test_a_batch_reads_like_the_message_built_field_by_field() -> None:
    clock = JumpingClock()
    of = hub(clock, sandbox=True)
    ticks = [
        tick("BTC", price="0.000000000000000000001"),
        tick("ETH", venue_time_ns=None, sequence=None, price="1" * 60),
        tick("SOL", price="7", sequence=2**64 - 1, receive_mono_ns=2**62, live=True),
        tick("XRP", symbol="X" * 300),
    ]
    stream = of.stream(tuple(Venue))
    of.publish(ticks)
    of.alive(Venue.KRAKEN, 2**62 + 5)
    of.connected(Venue.KRAKEN, connected=True)
    batch = await stream.next()
    expected = feed_pb2.StreamTicksResponse(
        ticks=[tick_to_message(each) for each in ticks],
        liveness=[
            liveness_to_message(
                Liveness(venue, "feeds-1", 2**62 + 5, True)
                if venue is Venue.KRAKEN
                else Liveness(venue, "feeds-1", 0, False)
            )
            for venue in sorted(Venue)
        ],
        sent_monotonic_ns=clock.monotonic_ns(),
        clock_id="clock-1",
        worker="feeds-1",
        sandbox=True,
        snapshot=True,
    )
    assert read(batch) == expected
    assert len(batch) == expected.ByteSize()


@in_jumping_time
async def test_later_batches_hold_only_what_changed_and_leave_no_sooner_than_flush_ms() -> None:
    clock = JumpingClock()
    of = hub(clock)
    stream = await opened(of)
    await clock.sleep(0.1)
    of.publish([tick("BTC", price="1")])
    first = read(await stream.next())
    assert first.sent_monotonic_ns == clock.monotonic_ns(), "news after a pause leave at once"
    of.publish([tick("BTC", price="2")])
    waiting = asyncio.create_task(stream.next())
    await clock.sleep(0.002)
    of.publish([tick("BTC", price="3"), tick("ETH", price="4")])
    second = read(await waiting)
    assert [(t.asset, t.price) for t in second.ticks] == [("BTC", "3"), ("ETH", "4")]
    assert second.sent_monotonic_ns - first.sent_monotonic_ns == 5 * MS
    assert not first.snapshot
    assert not second.snapshot


@in_jumping_time
async def test_beside_ticks_a_sign_of_life_waits_until_it_is_worth_telling_and_never_for_ever() -> None:
    clock = JumpingClock()
    of = hub(clock)
    stream = await opened(of)
    told: list[int] = []
    for alive_ns in (200 * MS, 201 * MS, 299 * MS, 300 * MS, 399 * MS):
        of.alive(Venue.OKX, alive_ns)
        of.publish([tick("BTC")])
        batch = read(await stream.next())
        assert batch.ticks
        told += [life.alive_monotonic_ns for life in batch.liveness]
    assert told == [200 * MS, 300 * MS]
    batch = read(await stream.next())
    assert [life.alive_monotonic_ns for life in batch.liveness] == [399 * MS], "a heartbeat leaves nothing untold"
    of.alive(Venue.OKX, 400 * MS)
    of.connected(Venue.OKX, connected=True)
    of.publish([tick("BTC")])
    batch = read(await stream.next())
    assert [(life.alive_monotonic_ns, life.connected) for life in batch.liveness] == [(400 * MS, True)]


@in_jumping_time
async def test_a_quiet_stream_carries_a_heartbeat_with_liveness_at_least_once_a_second() -> None:
    clock = JumpingClock()
    of = hub(clock)
    stream = await opened(of)
    previous = clock.monotonic_ns()
    for beat in range(5):
        of.alive(Venue.OKX, 1_000 + beat)
        batch = read(await stream.next())
        assert not batch.ticks
        assert [(life.venue, life.alive_monotonic_ns) for life in batch.liveness] == [("okx", 1_000 + beat)]
        assert 0 < batch.sent_monotonic_ns - previous <= 1_000 * MS
        previous = batch.sent_monotonic_ns
    assert not read(await stream.next()).liveness, "no frame came since the last batch"


@in_jumping_time
async def test_a_lost_connection_is_told_at_once_and_not_with_the_next_heartbeat() -> None:
    clock = JumpingClock()
    of = hub(clock)
    of.connected(Venue.GEMINI, connected=True)
    stream = await opened(of)
    await clock.sleep(0.01)
    of.connected(Venue.GEMINI, connected=False)
    batch = read(await stream.next())
    assert batch.sent_monotonic_ns == clock.monotonic_ns() == START_MONO_NS + 10 * MS
    assert [(life.venue, life.connected) for life in batch.liveness] == [("gemini", False)]


@in_jumping_time
async def test_a_connection_that_drops_and_returns_between_two_batches_is_told_as_it_is_now() -> None:
    of = hub()
    of.connected(Venue.GEMINI, connected=True)
    stream = await opened(of)
    of.connected(Venue.GEMINI, connected=False)
    of.connected(Venue.GEMINI, connected=True)
    batch = read(await stream.next())
    assert [(life.venue, life.connected) for life in batch.liveness] == [("gemini", True)]


@in_jumping_time
async def test_a_stream_of_some_venues_is_neither_shown_nor_woken_by_others() -> None:
    clock = JumpingClock()
    of = hub(clock)
    of.publish([tick("BTC", Venue.COINBASE), tick("BTC", Venue.KRAKEN)])
    stream = of.stream([Venue.KRAKEN])
    snapshot = read(await stream.next())
    assert [t.venue for t in snapshot.ticks] == ["kraken"]
    assert [life.venue for life in snapshot.liveness] == ["kraken"]
    of.publish([tick("BTC", Venue.COINBASE)])
    of.connected(Venue.COINBASE, connected=True)
    batch = read(await stream.next())
    assert not batch.ticks
    assert not batch.liveness
    assert batch.sent_monotonic_ns - snapshot.sent_monotonic_ns == 750 * MS


@in_jumping_time
async def test_a_stream_nobody_reads_holds_one_tick_an_asset_and_then_shows_the_newest() -> None:
    of = hub()
    stream = await opened(of)
    for number in range(20_000):
        of.publish([tick(("BTC", "ETH", "SOL")[number % 3], price=str(number + 1), number=number)])
    assert len(stream._subscription._pending) == 3
    batch = read(await stream.next())
    assert [t.price for t in batch.ticks] == ["19998", "19999", "20000"]


@in_jumping_time
async def test_a_tick_is_serialised_once_for_all_streams_and_never_when_it_was_replaced() -> None:
    of = hub()
    streams = [await opened(of) for _ in range(3)]
    of.publish([tick("BTC", price="1")])
    replaced = of._latest[Venue.KRAKEN, "BTC"]
    of.publish([tick("BTC", price="2")])
    kept = of._latest[Venue.KRAKEN, "BTC"]
    assert kept._bytes is None, "not before somebody takes it"
    await streams[0].next()
    made = kept._bytes
    assert made is not None
    for stream in streams[1:]:
        assert made in await stream.next()
    assert kept._bytes is made
    assert replaced._bytes is None


def test_streams_are_counted_and_bounded_and_a_closed_one_makes_room() -> None:
    async def main() -> None:
        of = hub(streams_max=2)
        first, _ = of.stream(tuple(Venue)), of.stream(tuple(Venue))
        with pytest.raises(TrinityError) as caught:
            of.stream(tuple(Venue))
        assert caught.value.reason is Reason.TOO_MANY_STREAMS
        first.close()
        first.close()
        assert of.streams == 1
        of.stream(tuple(Venue))

    run_jumping(main())


@in_jumping_time
async def test_closing_the_hub_ends_every_stream_and_lets_none_open() -> None:
    of = hub()
    stream = await opened(of)
    waiting = asyncio.create_task(stream.next())
    await asyncio.sleep(0)
    of.close()
    with pytest.raises(TrinityError) as caught:
        await waiting
    assert caught.value.reason is Reason.STOPPING
    with pytest.raises(TrinityError, match="stopping"):
        of.stream(tuple(Venue))


@given(seed=st.integers(0, 2**32), flush_ms=st.sampled_from([1.0, 5.0, 50.0]))
def test_whatever_the_pace_of_a_reader_it_ends_with_the_newest_tick_of_everything(seed: int, flush_ms: float) -> None:
    """Each reader naps at random; in the end all agree with the writer, and nobody saw a tick go back."""
    rng = random.Random(seed)

    async def main() -> None:
        clock = JumpingClock()
        of = hub(clock, flush_ms=flush_ms)
        newest: dict[tuple[str, str], int] = {}
        done = asyncio.Event()

        async def write() -> None:
            for number in range(1, 120):
                asset, venue = rng.choice(("BTC", "ETH", "SOL", "XRP")), rng.choice((Venue.KRAKEN, Venue.COINBASE))
                of.publish([tick(asset, venue, number=number)])
                newest[venue, asset] = number
                if rng.random() < 0.5:
                    await clock.sleep(rng.random() * 0.02)
            done.set()

        async def read_all(naps_s: float) -> None:
            stream, seen = of.stream(tuple(Venue)), dict[tuple[str, str], int]()
            finished = False
            while True:
                batch = read(await stream.next())
                keys = [(t.venue, t.asset) for t in batch.ticks]
                assert len(set(keys)) == len(keys), "at most one an asset and venue"
                assert [t.sequence for t in batch.ticks] == sorted(t.sequence for t in batch.ticks), "order of receipt"
                for t in batch.ticks:
                    assert t.sequence > seen.get((t.venue, t.asset), 0), "never older, never twice"
                    seen[t.venue, t.asset] = t.sequence
                if finished:
                    break
                finished = done.is_set()
                await clock.sleep(rng.random() * naps_s)
            assert seen == newest

        await asyncio.gather(write(), read_all(0), read_all(0.05), read_all(0.5))

    run_jumping(main())
