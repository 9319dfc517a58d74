"""The one writer: what changes by ticks, by signs of life and by time alone is published, in one order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from price.fake_feed import ASSETS, made_tick
from price.virtual_clock import VirtualClock, settle
from trinity_core.book import Book, BookSettings
from trinity_core.prices import Price, State
from trinity_core.ticks import Liveness
from trinity_core.venues import Venue
from trinity_price.publication import Publication
from trinity_price.wall import AnchoredWall
from trinity_price.writer import Writer


class Desk:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.wall = AnchoredWall(clock=self.clock)
        self.publication = Publication(clock=self.clock, clock_id="c", wall=self.wall, epoch=9)
        self.told: list[Price] = []
        self.writer = Writer(
            book=Book(assets=ASSETS, settings=BookSettings()),
            publication=self.publication,
            wall=self.wall,
            clock=self.clock,
            changed=self.changed,
        )

    def changed(self, prices: Sequence[Price]) -> None:
        assert self.publication.sequence == prices[-1].sequence, "published before it is told"
        self.told += prices

    def tick(self, venue: Venue, asset: str, value: str) -> None:
        self.writer.take([made_tick(venue, asset, value, at_ns=self.clock.monotonic_ns())])


async def test_what_changes_is_published_and_told_in_order() -> None:
    desk = Desk()
    desk.tick(Venue.KRAKEN, "BTC", "100")
    desk.tick(Venue.COINBASE, "ETH", "10")
    desk.tick(Venue.COINBASE, "BTC", "102")
    sequences = [price.sequence for price in desk.told]
    assert sequences == sorted(set(sequences))
    assert [entry.price.asset for entry in desk.publication.since(0)] == ["ETH", "BTC"]
    assert desk.writer.ticks == 3
    before = len(desk.told)
    desk.writer.take([])
    desk.tick(Venue.KRAKEN, "BTC", "-1")
    assert len(desk.told) == before, "nothing changed, nobody is told"


async def test_a_price_ages_by_time_alone() -> None:
    desk = Desk()
    desk.tick(Venue.KRAKEN, "BTC", "100")
    task = asyncio.create_task(desk.writer.run())
    await settle()
    assert desk.writer.state_of("BTC", desk.clock.monotonic_ns()) is State.FRESH
    await desk.clock.advance(10.2)
    assert desk.told[-1].state is State.DELAYED
    await desk.clock.advance(60)
    assert desk.told[-1].state is State.STALE
    assert desk.writer.state_of("BTC", desk.clock.monotonic_ns()) is State.STALE
    assert desk.writer.state_of("ETH", desk.clock.monotonic_ns()) is State.HALTED
    task.cancel()


async def test_a_quiet_price_on_a_live_connection_is_passed_on_anew_before_it_would_age() -> None:
    desk = Desk()
    desk.tick(Venue.KRAKEN, "BTC", "100")
    task = asyncio.create_task(desk.writer.run())
    for _ in range(40):
        desk.writer.hear([Liveness(Venue.KRAKEN, "w", desk.clock.monotonic_ns(), True)])
        await desk.clock.advance(1)
        assert desk.told[-1].state is State.FRESH
        assert desk.told[-1].fresh_until_mono_ns > desk.clock.monotonic_ns(), "a replica would see it age"
    task.cancel()


async def test_a_stepped_wall_clock_makes_every_frame_anew() -> None:
    desk = Desk()
    desk.tick(Venue.KRAKEN, "BTC", "100")
    task = asyncio.create_task(desk.writer.run())
    found = desk.publication.frame_of("BTC")
    desk.clock.jump_wall(60)
    await desk.clock.advance(0.05)
    assert desk.wall.moves == 1
    assert desk.publication.frame_of("BTC") != found
    task.cancel()


async def test_one_simulated_feed_marks_every_price_for_good() -> None:
    desk = Desk()
    desk.tick(Venue.KRAKEN, "BTC", "100")
    desk.writer.mark_sandbox()
    desk.writer.mark_sandbox()
    assert desk.publication.sandbox
