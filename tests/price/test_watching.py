"""Streams: snapshot, changes when they are due, heartbeats, resumption, and constant memory for the slow."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from price.made import made_price
from price.virtual_clock import VirtualClock, settle
from trinity.price.v1 import price_pb2
from trinity_core.errors import Reason, TrinityError
from trinity_core.prices import Price
from trinity_price.publication import Publication
from trinity_price.wall import AnchoredWall
from trinity_price.watching import Watch, Watching

EPOCH = 9


class Desk:
    """A publication with its streams, on a virtual clock."""

    def __init__(self, *, flush_ms: float = 5, streams_max: int = 10, chunk: int = 2) -> None:
        self.clock = VirtualClock()
        self.publication = Publication(clock=self.clock, clock_id="c", wall=AnchoredWall(clock=self.clock), epoch=EPOCH)
        self.watching = Watching(
            clock=self.clock,
            publication=self.publication,
            flush_ms=flush_ms,
            streams_max=streams_max,
            snapshot_prices_max=chunk,
        )
        self.sequence = 0

    def change(self, *assets: str) -> None:
        prices: list[Price] = []
        for asset in assets:
            self.sequence += 1
            prices.append(made_price(asset, self.sequence, at_ns=self.clock.monotonic_ns()))
        self.publication.put(prices)
        self.watching.changed()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.watching.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class Caller:
    """Reads one stream as fast as it comes, or only when asked."""

    def __init__(self, desk: Desk, watch: Watch) -> None:
        self.batches: list[price_pb2.WatchPricesResponse] = []
        self.error: TrinityError | None = None
        self._open = asyncio.Event()
        self._open.set()
        self.task = asyncio.create_task(self._read(desk, watch))

    async def _read(self, desk: Desk, watch: Watch) -> None:
        stream = desk.watching.stream(watch)
        try:
            async for data in stream:
                self.batches.append(price_pb2.WatchPricesResponse.FromString(data))
                await self._open.wait()
        except TrinityError as error:
            self.error = error
        finally:
            await stream.aclose()  # type: ignore[attr-defined]

    def stop_reading(self) -> None:
        self._open.clear()

    def read_on(self) -> None:
        self._open.set()

    def take(self) -> list[price_pb2.WatchPricesResponse]:
        taken, self.batches = self.batches, []
        return taken

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def assets_of(batch: price_pb2.WatchPricesResponse) -> list[str]:
    return [price.asset for price in batch.prices]


async def test_a_stream_opens_with_a_whole_snapshot_in_bounded_batches() -> None:
    desk = Desk(chunk=2)
    desk.change("A", "B", "C", "D", "E")
    caller = Caller(desk, Watch())
    await settle()
    batches = caller.take()
    assert [assets_of(batch) for batch in batches] == [["A", "B"], ["C", "D"], ["E"]]
    assert [(batch.snapshot, batch.snapshot_complete) for batch in batches] == [
        (True, False),
        (True, False),
        (True, True),
    ]
    assert all(batch.sequence == 5 and batch.epoch == EPOCH for batch in batches)
    await caller.close()
    assert desk.watching.streams == 0


async def test_an_empty_book_gives_an_empty_whole_snapshot() -> None:
    desk = Desk()
    caller = Caller(desk, Watch())
    await settle()
    (batch,) = caller.take()
    assert (batch.snapshot, batch.snapshot_complete, len(batch.prices)) == (True, True, 0)
    await caller.close()


async def test_a_change_after_a_rest_leaves_at_once_and_the_next_waits_for_the_flush() -> None:
    desk = Desk(flush_ms=5)
    caller = Caller(desk, Watch())
    async with desk.running():
        await settle()
        caller.take()
        desk.change("A")
        await settle()
        assert [assets_of(batch) for batch in caller.take()] == [["A"]]
        desk.change("A")
        desk.change("B", "A")
        await desk.clock.advance(0.0049)
        assert caller.take() == []
        await desk.clock.advance(0.0001)
        (batch,) = caller.take()
        assert assets_of(batch) == ["B", "A"]
        assert batch.sequence == 4
        assert batch.skipped == 1
    await caller.close()


async def test_silence_is_filled_with_heartbeats_only() -> None:
    desk = Desk()
    desk.change("A")
    caller = Caller(desk, Watch(heartbeat_ms=1_000))
    async with desk.running():
        await settle()
        caller.take()
        await desk.clock.advance(0.999)
        assert caller.take() == []
        await desk.clock.advance(3.001)
        batches = caller.take()
        assert len(batches) == 4
        assert all(not batch.prices and not batch.snapshot and batch.sequence == 1 for batch in batches)
        desk.change("A")
        await settle()
        assert [assets_of(batch) for batch in caller.take()] == [["A"]]
        await desk.clock.advance(0.999)
        assert caller.take() == [], "a batch moves the heartbeat on"
        await desk.clock.advance(0.001)
        assert len(caller.take()) == 1
    await caller.close()


async def test_a_caller_gets_only_its_assets_and_its_own_count_of_what_was_folded() -> None:
    desk = Desk(flush_ms=5)
    desk.change("A", "B", "C")
    caller = Caller(desk, Watch(assets=frozenset({"A", "C"})))
    async with desk.running():
        await settle()
        assert [assets_of(batch) for batch in caller.take()] == [["A", "C"]]
        desk.change("B")
        await desk.clock.advance(0.05)
        assert caller.take() == []
        desk.change("B", "A", "B", "A", "A", "C")
        await desk.clock.advance(0.05)
        (batch,) = caller.take()
        assert assets_of(batch) == ["A", "C"]
        assert batch.skipped == 2
        assert batch.sequence == desk.sequence
    await caller.close()


async def test_an_interval_is_the_shortest_time_between_two_batches() -> None:
    desk = Desk(flush_ms=5)
    caller = Caller(desk, Watch(interval_ms=250))
    async with desk.running():
        await settle()
        caller.take()
        for _ in range(100):
            desk.change("A", "B")
            await desk.clock.advance(0.01)
        batches = caller.take()
        times = [batch.sent_monotonic_ns for batch in batches]
        assert all(later - earlier >= 250_000_000 for earlier, later in itertools.pairwise(times))
        assert len(batches) == 4
        assert sum(len(batch.prices) + batch.skipped for batch in batches) == 200
    await caller.close()


async def test_a_slow_caller_gets_fewer_newer_prices_and_every_change_is_delivered_or_counted() -> None:
    desk = Desk(flush_ms=5)
    slow, quick = Caller(desk, Watch()), Caller(desk, Watch())
    async with desk.running():
        await settle()
        slow.take(), quick.take()
        slow.stop_reading()
        for _ in range(500):
            desk.change("A", "B", "C")
            await desk.clock.advance(0.005)
        assert len(slow.batches) == 1, "one batch is on its way, nothing queues behind it"
        slow.read_on()
        await desk.clock.advance(0.02)
        assert len(slow.batches) <= 3
        for caller in (slow, quick):
            batches = caller.take()
            assert sum(len(batch.prices) + batch.skipped for batch in batches) == 1_500
            assert {price.asset: price.sequence for batch in batches for price in batch.prices} == {
                "A": 1_498,
                "B": 1_499,
                "C": 1_500,
            }
    await slow.close()
    await quick.close()


async def test_a_resumed_stream_holds_only_what_is_newer() -> None:
    desk = Desk()
    desk.change("A", "B", "C")
    desk.change("B")
    caller = Caller(desk, Watch(resume_epoch=EPOCH, resume_sequence=2))
    await settle()
    (batch,) = caller.take()
    assert assets_of(batch) == ["C", "B"]
    assert batch.snapshot_complete
    assert batch.sequence == 4
    await caller.close()


@pytest.mark.parametrize(("epoch", "sequence"), [(EPOCH - 1, 2), (0, 2), (EPOCH, 0), (EPOCH, 4_000)])
async def test_a_resumption_that_does_not_fit_gets_everything(epoch: int, sequence: int) -> None:
    desk = Desk(chunk=10)
    desk.change("A", "B", "C")
    caller = Caller(desk, Watch(resume_epoch=epoch, resume_sequence=sequence))
    await settle()
    (batch,) = caller.take()
    assert assets_of(batch) == ["A", "B", "C"]
    await caller.close()


async def test_what_changes_during_a_snapshot_comes_after_it() -> None:
    desk = Desk(chunk=1)
    desk.change("A", "B")
    caller = Caller(desk, Watch())
    caller.stop_reading()
    async with desk.running():
        await settle()
        desk.change("B", "C")
        await settle()
        caller.read_on()
        await desk.clock.advance(0.01)
        batches = caller.take()
        assert [(assets_of(batch), batch.snapshot, batch.sequence) for batch in batches] == [
            (["A"], True, 2),
            (["B"], True, 2),
            (["B", "C"], False, 4),
        ]
        assert batches[1].prices[0].sequence == 2
    await caller.close()


async def test_streams_are_bounded() -> None:
    desk = Desk(streams_max=1)
    first, second = Caller(desk, Watch()), Caller(desk, Watch())
    await settle()
    assert second.error is not None
    assert second.error.reason is Reason.TOO_MANY_STREAMS
    assert second.error.retry_after_ms == 1_000
    await first.close()
    third = Caller(desk, Watch())
    await settle()
    assert third.error is None
    await third.close()


async def test_a_stopping_service_ends_every_stream_and_opens_none() -> None:
    desk = Desk()
    caller = Caller(desk, Watch())
    async with desk.running():
        await settle()
        desk.watching.close()
        await settle()
        late = Caller(desk, Watch())
        await settle()
        for ended in (caller, late):
            assert ended.error is not None
            assert ended.error.reason is Reason.STOPPING
    assert desk.watching.streams == 0
