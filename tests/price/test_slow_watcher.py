"""A watcher that does not read, over a real socket: bounded buffers, then the newest of everything."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from typing import Any

from price.made import made_price
from price.virtual_clock import VirtualClock
from trinity.price.v1 import price_pb2, price_service_pb2, price_service_pb2_grpc
from trinity_core.assets import load_assets
from trinity_mesh.channels import open_channel
from trinity_mesh.server import MeshServer, ServerLimits, Service
from trinity_price.publication import Publication
from trinity_price.wall import AnchoredWall
from trinity_price.watching import Watch, Watching

ROUNDS = 1_500
IDS = load_assets().ids


async def test_a_watcher_that_does_not_read_costs_no_memory_and_misses_no_asset() -> None:
    clock = VirtualClock()
    publication = Publication(clock=clock, clock_id="c", wall=AnchoredWall(clock=clock), epoch=9)
    watching = Watching(clock=clock, publication=publication, flush_ms=0, streams_max=5, snapshot_prices_max=200)

    class Servicer(price_service_pb2_grpc.PriceServiceServicer):
        async def WatchPrices(self, request: Any, context: Any) -> AsyncIterator[bytes]:
            async for batch in watching.stream(Watch()):
                yield batch

    service = Service(
        descriptor=price_service_pb2.DESCRIPTOR.services_by_name["PriceService"],
        add=lambda server: price_service_pb2_grpc.add_PriceServiceServicer_to_server(Servicer(), server),
        raw_responses=frozenset({"WatchPrices"}),
    )
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{folder}/price.sock"
        limits = ServerLimits(drain_ms=50)
        async with MeshServer(address=address, services=[service], limits=limits), open_channel(address) as channel:
            waking = asyncio.create_task(watching.run())
            call = price_service_pb2_grpc.PriceServiceStub(channel).WatchPrices(price_pb2.WatchPricesRequest())
            assert (await call.read()).snapshot_complete
            for number in range(ROUNDS):
                first = number * len(IDS) + 1
                prices = [made_price(asset, first + place, at_ns=1) for place, asset in enumerate(IDS)]
                publication.put(prices)
                watching.changed()
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            sent = watching.batches
            assert sent < ROUNDS // 4, "most was folded while nobody read"
            newest: dict[str, int] = {}
            delivered = folded = batches = 0
            while not newest or min(newest.values()) <= (ROUNDS - 1) * len(IDS):
                batch = await call.read()
                newest.update((price.asset, price.sequence) for price in batch.prices)
                delivered += len(batch.prices)
                folded += batch.skipped
                batches += 1
            assert delivered + folded == ROUNDS * len(IDS), "every change was delivered or counted"
            assert batches <= sent + 1
            call.cancel()
            waking.cancel()
