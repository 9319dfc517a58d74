"""Write-behind: newest only, in batches, bounded, and never in anybody's way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from price.made import made_price
from price.virtual_clock import VirtualClock, settle
from trinity.price.v1 import price_pb2
from trinity_core.backoff import Backoff
from trinity_core.errors import Reason, TrinityError
from trinity_core.price_mirror import MemoryPriceMirror, MirroredPrice
from trinity_core.prices import State
from trinity_price.mirroring import Mirroring
from trinity_price.publication import Publication
from trinity_price.wall import AnchoredWall


class Flaky(MemoryPriceMirror):
    """The twin, with failures on demand and a count of calls."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(monotonic_ns=clock.monotonic_ns, ttl_ms=60_000)
        self.fails = False
        self.calls: list[int] = []

    async def store(self, values: Mapping[str, bytes]) -> None:
        self.calls.append(len(values))
        if self.fails:
            raise TrinityError(Reason.STORE_UNAVAILABLE, "down")
        await super().store(values)

    async def load(self, assets: Sequence[str]) -> Mapping[str, MirroredPrice]:
        return await super().load(assets)


class Desk:
    def __init__(self, *, batch_max: int = 500) -> None:
        self.clock = VirtualClock()
        self.publication = Publication(clock=self.clock, clock_id="c", wall=AnchoredWall(clock=self.clock), epoch=9)
        self.mirror = Flaky(self.clock)
        self.mirroring = Mirroring(
            mirror=self.mirror,
            publication=self.publication,
            clock=self.clock,
            flush_ms=250,
            batch_max=batch_max,
            backoff=Backoff(first_ms=250, cap_ms=4_000, rng=random.Random(1)),
        )
        self.sequence = 0

    def change(self, *assets: str, state: State = State.FRESH) -> None:
        for asset in assets:
            self.sequence += 1
            price = made_price(asset, self.sequence, at_ns=self.clock.monotonic_ns(), state=state)
            self.publication.put([price])
            self.mirroring.changed([price])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.mirroring.run())
        await settle()
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def stored(self, *assets: str) -> dict[str, int]:
        found = await self.mirror.load(assets)
        return {
            asset: price_pb2.WatchPricesResponse.FromString(entry.value).prices[0].sequence
            for asset, entry in found.items()
        }


async def test_changes_are_stored_together_newest_only() -> None:
    desk = Desk()
    async with desk.running():
        desk.change("BTC", "ETH", "BTC")
        await desk.clock.advance(0.249)
        assert desk.mirror.calls == []
        desk.change("BTC")
        await desk.clock.advance(0.001)
        assert desk.mirror.calls == [2]
        assert await desk.stored("BTC", "ETH") == {"BTC": 4, "ETH": 2}
        await desk.clock.advance(5)
        assert desk.mirror.calls == [2], "nothing changed, nothing is stored"
        assert desk.mirroring.stored == 2


async def test_a_value_says_when_and_by_which_clock_it_was_made() -> None:
    desk = Desk()
    async with desk.running():
        desk.change("BTC")
        await desk.clock.advance(0.25)
        value = price_pb2.WatchPricesResponse.FromString((await desk.mirror.load(["BTC"]))["BTC"].value)
        assert value.sent_monotonic_ns == desk.clock.monotonic_ns()
        assert (value.clock_id, value.epoch, len(value.prices)) == ("c", 9, 1)


async def test_many_changes_go_in_bounded_batches() -> None:
    desk = Desk(batch_max=4)
    async with desk.running():
        desk.change(*(f"A{number}" for number in range(10)))
        await desk.clock.advance(0.25)
        assert desk.mirror.calls == [4, 4, 2]


async def test_a_dead_mirror_is_tried_less_and_less_and_costs_one_name_an_asset() -> None:
    desk = Desk()
    async with desk.running():
        desk.mirror.fails = True
        for _ in range(900):
            desk.change("BTC", "ETH")
            await desk.clock.advance(1)
        assert desk.mirroring.waiting == 2
        assert desk.mirroring.failures == len(desk.mirror.calls) < 900
        desk.mirror.fails = False
        await desk.clock.advance(5)
        assert desk.mirroring.waiting == 0
        assert await desk.stored("BTC", "ETH") == {"BTC": 1_799, "ETH": 1_800}


async def test_a_price_that_nobody_should_be_given_is_not_stored() -> None:
    desk = Desk()
    async with desk.running():
        desk.change("BTC", state=State.STALE)
        desk.change("ETH")
        desk.change("ETH", state=State.HALTED)
        await desk.clock.advance(0.25)
        assert await desk.stored("BTC", "ETH") == {}
