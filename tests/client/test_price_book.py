"""A PriceBook against a real server: it follows, ages, reconnects, resumes, and never hides a loss."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from client.batches import CLOCK, EPOCH, batch, price, snapshot
from client.scripted import ScriptedPrices, server
from price.virtual_clock import VirtualClock, until, until_moving
from trinity.price.v1 import price_pb2
from trinity_client import PriceBook, PriceView
from trinity_core.errors import Reason, TrinityError
from trinity_core.prices import State
from trinity_mesh.channels import open_channel


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
async def prices(folder: Path) -> AsyncIterator[ScriptedPrices]:
    servicer = ScriptedPrices()
    async with server(servicer, folder):
        yield servicer


def follow(folder: Path, clock: VirtualClock, **options: object) -> PriceBook:
    return PriceBook(f"unix:{folder}/price.sock", clock=clock, clock_name=CLOCK, **options)  # type: ignore[arg-type]


async def test_a_book_is_ready_with_the_first_whole_snapshot(folder: Path, prices: ScriptedPrices) -> None:
    clock = VirtualClock()
    now = clock.monotonic_ns()
    async with follow(folder, clock, assets=["btc", "ETH"], heartbeat_ms=500, interval_ms=20) as book:
        await until(lambda: prices.streams)
        request = prices.streams[0].request
        assert list(request.assets) == ["BTC", "ETH"]
        assert (request.heartbeat_ms, request.interval_ms, request.resume_epoch) == (500, 20, 0)
        assert book.get("BTC") is None
        assert not book.connection.connected
        prices.streams[0].say(snapshot([price("BTC", 1, at_ns=now, value="67000.10")], sequence=1, at_ns=now))
        await book.ready()
        view = book.get("btc")
        assert view is book.get("BTC")
        assert view is not None
        assert str(view.price) == "67000.10"
        assert view.state is State.FRESH
        assert book.message("BTC") is view.message
        assert book.message("ETH") is None
        assert view.sources == ("coinbase", "kraken")
        assert view.receive_time.timestamp() == clock.unix_ns() / 1e9
        assert view.venue_time is None
        assert book.connection.connected
        assert book.connection.sequence == 1


async def test_a_lost_stream_ages_every_price_and_is_resumed(folder: Path, prices: ScriptedPrices) -> None:
    clock = VirtualClock()
    now = clock.monotonic_ns()
    async with follow(folder, clock) as book:
        await until(lambda: prices.streams)
        prices.streams[0].say(snapshot([price("BTC", 5, at_ns=now)], sequence=6, at_ns=now))
        await book.ready()
        prices.streams[0].fail(TrinityError(Reason.STOPPING, "stopping"))
        await until(lambda: not book.connection.connected)
        assert "stopping" in book.connection.detail
        view = book.get("BTC")
        assert view is not None
        assert view.state is State.FRESH, "what is known is still known"
        clock.move(10)
        assert view.state is State.DELAYED, "and nothing stays fresh on a lost stream"
        await until_moving(clock, lambda: len(prices.streams) == 2)
        request = prices.streams[1].request
        assert (request.resume_epoch, request.resume_sequence) == (EPOCH, 6)
        later = clock.monotonic_ns()
        prices.streams[1].say(snapshot([price("BTC", 9, at_ns=later)], sequence=9, at_ns=later))
        await until(lambda: book.connection.connected)
        assert book.connection.streams == 2
        view = book.get("BTC")
        assert view is not None
        assert view.state is State.FRESH


async def test_a_silent_stream_is_cut_and_opened_again(folder: Path, prices: ScriptedPrices) -> None:
    clock = VirtualClock()
    now = clock.monotonic_ns()
    async with follow(folder, clock, heartbeat_ms=1_000) as book:
        await until(lambda: prices.streams)
        prices.streams[0].say(snapshot([], sequence=0, at_ns=now))
        await book.ready()
        await clock.advance(2.9)
        assert book.connection.connected
        await clock.advance(0.3)
        await until_moving(clock, lambda: len(prices.streams) == 2)
        assert book.connection.detail == "nothing came for 3 s"
        await until(lambda: prices.streams[0].closed)


async def test_a_service_that_still_collects_its_snapshot_is_waited_for_longer(
    folder: Path, prices: ScriptedPrices
) -> None:
    clock = VirtualClock()
    async with follow(folder, clock) as book:
        await until(lambda: prices.streams)
        await clock.advance(9.9)
        assert len(prices.streams) == 1
        await clock.advance(0.3)
        await until_moving(clock, lambda: len(prices.streams) == 2)
        assert book.connection.detail == "nothing came for 10 s"


async def test_a_server_that_comes_back_in_another_epoch_replaces_every_price(folder: Path) -> None:
    clock = VirtualClock()
    now = clock.monotonic_ns()
    seen: list[tuple[str, int]] = []

    def on_change(message: price_pb2.Price) -> None:
        seen.append((message.asset, message.state))

    async with follow(folder, clock, on_change=on_change) as book:
        first = ScriptedPrices()
        async with server(first, folder):
            await until_moving(clock, lambda: first.streams)
            news = [price("BTC", 900, at_ns=now), price("DOGE", 901, at_ns=now)]
            first.streams[0].say(snapshot(news, sequence=950, at_ns=now))
            await book.ready()
        await until(lambda: not book.connection.connected)
        again = ScriptedPrices()
        async with server(again, folder):
            await until_moving(clock, lambda: again.streams)
            assert again.streams[0].request.resume_epoch == EPOCH
            seen.clear()
            later = clock.monotonic_ns()
            again.streams[0].say(
                snapshot([price("BTC", 1, at_ns=later, value="5")], sequence=1, at_ns=later, epoch=EPOCH + 1)
            )
            await until(lambda: book.connection.replacements == 2)
            view = book.get("BTC")
            assert view is not None
            assert str(view.price) == "5"
            assert book.get("DOGE") is None
            assert ("DOGE", price_pb2.STATE_HALTED) in seen, "a price that is gone is told, not hidden"


async def test_a_stream_that_breaks_its_rules_is_replaced_whole(folder: Path, prices: ScriptedPrices) -> None:
    clock = VirtualClock()
    now = clock.monotonic_ns()
    async with follow(folder, clock) as book:
        await until(lambda: prices.streams)
        prices.streams[0].say(snapshot([price("BTC", 5, at_ns=now)], sequence=5, at_ns=now))
        prices.streams[0].say(batch([price("BTC", 4, at_ns=now)], sequence=6, at_ns=now))
        await until_moving(clock, lambda: len(prices.streams) == 2)
        assert prices.streams[1].request.resume_epoch == 0
        assert "sequence 4 came after 5" in book.connection.detail


async def test_a_refusal_is_raised_and_not_tried_again(folder: Path, prices: ScriptedPrices) -> None:
    clock = VirtualClock()
    async with follow(folder, clock, assets=["BTCC"]) as book:
        await until(lambda: prices.streams)
        changes = aiter(book.changes())
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        prices.streams[0].fail(TrinityError(Reason.UNKNOWN_ASSET, "no asset 'BTCC'", {"nearest": "BTC"}))
        with pytest.raises(TrinityError, match="BTCC") as raised:
            await book.ready()
        assert raised.value.metadata["nearest"] == "BTC"
        with pytest.raises(TrinityError, match="BTCC"):
            await waiting
        with pytest.raises(TrinityError, match="BTCC"):
            await anext(book.changes())
        await clock.advance(10)
        assert len(prices.streams) == 1


async def test_changes_give_what_is_there_then_the_newest_of_each(folder: Path, prices: ScriptedPrices) -> None:
    clock = VirtualClock()
    now = clock.monotonic_ns()
    async with follow(folder, clock) as book:
        await until(lambda: prices.streams)
        stream = prices.streams[0]
        stream.say(snapshot([price("BTC", 1, at_ns=now), price("ETH", 2, at_ns=now)], sequence=2, at_ns=now))
        await book.ready()
        changes = book.changes(assets=["btc", "SOL"])
        first = await anext(changes)
        assert (first.asset, first.sequence) == ("BTC", 1)
        for sequence in range(3, 50):
            stream.say(batch([price("BTC", sequence, at_ns=now)], sequence=sequence, at_ns=now))
        stream.say(batch([price("ETH", 50, at_ns=now), price("SOL", 51, at_ns=now)], sequence=51, at_ns=now))
        await until(lambda: book.connection.sequence == 51)
        got = [await anext(changes), await anext(changes)]
        assert [(view.asset, view.sequence) for view in got] == [("BTC", 49), ("SOL", 51)]
        await changes.aclose()


async def test_changes_end_with_the_book(folder: Path, prices: ScriptedPrices) -> None:
    clock = VirtualClock()
    book = follow(folder, clock)
    views: list[PriceView] = []

    async def read() -> None:
        async for view in book.changes():
            views.append(view)

    async with book:
        reader = asyncio.create_task(read())
        await until(lambda: prices.streams)
        prices.streams[0].say(
            snapshot([price("BTC", 1, at_ns=clock.monotonic_ns())], sequence=1, at_ns=clock.monotonic_ns())
        )
        await until(lambda: views)
    await reader
    assert [view.asset for view in views] == ["BTC"]
    assert [view async for view in book.changes()] == []


async def test_a_price_that_ages_is_told_to_the_hook_and_to_changes(folder: Path, prices: ScriptedPrices) -> None:
    clock = VirtualClock()
    now = clock.monotonic_ns()
    told: list[tuple[int, int]] = []

    def on_change(message: price_pb2.Price) -> None:
        told.append((message.sequence, message.state))

    async with follow(folder, clock, on_change=on_change, heartbeat_ms=60_000) as book:
        await until(lambda: prices.streams)
        prices.streams[0].say(snapshot([price("BTC", 1, at_ns=now)], sequence=1, at_ns=now))
        await book.ready()
        changes = book.changes()
        assert (await anext(changes)).state is State.FRESH
        await clock.advance(10.2)
        assert (await anext(changes)).message.state == price_pb2.STATE_DELAYED
        await clock.advance(50)
        assert (await anext(changes)).message.state == price_pb2.STATE_STALE
        await changes.aclose()
    states = [price_pb2.STATE_FRESH, price_pb2.STATE_DELAYED, price_pb2.STATE_STALE]
    assert told == [(1, state) for state in states]


async def test_a_hook_that_raises_harms_nobody(
    folder: Path, prices: ScriptedPrices, caplog: pytest.LogCaptureFixture
) -> None:
    clock = VirtualClock()
    now = clock.monotonic_ns()

    def on_change(message: price_pb2.Price) -> None:
        raise ValueError("no")

    async with follow(folder, clock, on_change=on_change) as book:
        await until(lambda: prices.streams)
        prices.streams[0].say(snapshot([price("BTC", 1, at_ns=now)], sequence=1, at_ns=now))
        await book.ready()
        assert book.get("BTC") is not None
        assert len(prices.streams) == 1
    assert "on_change raised for BTC" in caplog.text


async def test_a_callers_channel_stays_the_callers(folder: Path, prices: ScriptedPrices) -> None:
    clock = VirtualClock()
    now = clock.monotonic_ns()
    async with open_channel(f"unix:{folder}/price.sock") as channel:
        for count in (1, 2):
            async with PriceBook(channel, clock=clock, clock_name=CLOCK) as book:
                await until(lambda count=count: len(prices.streams) == count)
                prices.streams[-1].say(snapshot([], sequence=0, at_ns=now))
                await book.ready()


@pytest.mark.parametrize("options", [{"assets": []}, {"heartbeat_ms": 0}, {"interval_ms": 60_001}])
def test_a_book_that_cannot_work_is_refused_at_once(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="assets|heartbeat"):
        PriceBook("unix:/nowhere", **options)  # type: ignore[arg-type]
